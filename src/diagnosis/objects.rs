//! Items about objects of the API: who hands out a CA, who asks for a certificate.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::check::{Check, Group};
use super::ledger::{Ledger, Subject};
use super::{Sight, Verdict};
use crate::inspection::{Evidence, FindingId, InspectRow};
use crate::plan::CertificateKind;
use crate::rotation::{Blocker, Topic};

const VALIDITY: &[FindingId] =
    &[FindingId::Expired, FindingId::Expiring, FindingId::NotYetValid, FindingId::OutlivesCa, FindingId::Unreadable];
const USAGE: &[FindingId] =
    &[FindingId::CaWithoutCaBit, FindingId::AmbiguousCa, FindingId::WeakKey, FindingId::WeakSignature];

/// As they stand in errors of reading them.
const ROOT_CAS: &str = "configmaps named kube-root-ca.crt";
const REQUESTS: &str = "certificatesigningrequests";
const TOKENS: &str = "bootstrap tokens";

pub(super) fn judge(
    evidence: &Evidence,
    sight: &Result<Sight, String>,
    blockers: &[Blocker],
    now: Timestamp,
    ledger: &mut Ledger<'_>,
) {
    let mut objects: BTreeMap<&str, Vec<&InspectRow>> = BTreeMap::new();
    for row in evidence.rows.iter().filter(|row| row.certificate.kind == CertificateKind::Trust) {
        objects.entry(row.certificate.path.as_str()).or_default().push(row);
    }
    for (path, rows) in &objects {
        object(path, rows, blockers, ledger);
    }
    if let Ok(sight) = sight {
        everywhere(&objects, &sight.namespaces, ledger);
    }
    requests(evidence, ledger);
    tokens(evidence, now, ledger);
}

/// One item for each object with this content; of those that every namespace can have, one for all.
fn object(path: &str, rows: &[&InspectRow], blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    let Some(first) = rows.first() else { return };
    let mut many: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in std::iter::once(path).chain(first.also.iter().map(String::as_str)) {
        let class = if name.ends_with("/kube-root-ca.crt") || name.starts_with("secret/") {
            name.split('/').next().unwrap_or_default()
        } else {
            name
        };
        many.entry(class).or_default().push(name);
    }
    for names in many.values() {
        let Some(name) = names.first() else { continue };
        let more = names.len() - 1;
        let shown = if more == 0 { (*name).to_owned() } else { format!("{name} (+{more} more)") };
        let subject = Subject::new(Group::Objects, shown).at(rows.iter().map(|row| row.place().1));
        content(name, &subject, rows, blockers, ledger);
    }
}

fn content(name: &str, subject: &Subject, rows: &[&InspectRow], blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    // A rotation names the whole object, a row the webhook of it.
    let unreadable = || rows.iter().any(|row| row.certificate.problem.is_some());
    let within = |object: &str| name.strip_prefix(object).is_some_and(|rest| rest.starts_with('/'));
    let about = |object: &str| object == name || (within(object) && unreadable());
    let broken = blockers.iter().find(|blocker| blocker.topic == Topic::CaBundle && about(&blocker.object));
    if let Some(broken) = broken {
        ledger.take(subject, &[FindingId::Unreadable]);
        ledger.add(subject, Check::Validity, Verdict::Failed, &broken.problem, &broken.remedy);
    }
    let end = rows.iter().map(|row| &row.certificate).min_by_key(|certificate| certificate.not_after_seconds);
    let seen = end.map(|end| format!("valid until {}", end.not_after)).unwrap_or_default();
    ledger.judge(subject, Check::Validity, VALIDITY, seen);
    ledger.judge(subject, Check::Usage, USAGE, "");
    if crate::inspection::follows_the_cluster(name) {
        let cas = rows.iter().filter_map(|row| row.certificate.ca_id.as_ref());
        let cas: Vec<&str> = cas.map(|ca| ca.short()).collect();
        let ids = [FindingId::TrustDiffers, FindingId::LeftoverBundle];
        ledger.judge(subject, Check::Trusts, &ids, format!("CA {}", cas.join(" ")));
    }
}

/// kube-root-ca.crt in every namespace: without it no new pod starts there.
fn everywhere(objects: &BTreeMap<&str, Vec<&InspectRow>>, namespaces: &[String], ledger: &mut Ledger<'_>) {
    if ledger.unseen(ROOT_CAS) {
        return;
    }
    let whole = Subject::new(Group::Objects, "kube-root-ca.crt");
    if namespaces.is_empty() {
        let remedy = "ask with rights to list namespaces";
        return ledger.add(&whole, Check::Everywhere, Verdict::Unknown, "the namespaces could not be listed", remedy);
    }
    let all = objects.iter().flat_map(|(path, rows)| {
        let also = rows.iter().flat_map(|row| row.also.iter().map(String::as_str));
        std::iter::once(*path).chain(also)
    });
    let there: Vec<&str> =
        all.filter_map(|path| path.strip_prefix("configmap/")?.strip_suffix("/kube-root-ca.crt")).collect();
    let missing: Vec<&String> = namespaces.iter().filter(|name| !there.contains(&name.as_str())).collect();
    if missing.is_empty() {
        let seen = format!("in {} namespaces", namespaces.len());
        return ledger.satisfied(&whole, Check::Everywhere, seen);
    }
    for namespace in missing {
        let subject = Subject::new(Group::Objects, format!("configmap/{namespace}/kube-root-ca.crt"));
        let remedy =
            "look whether a kube-controller-manager leads and runs its root-ca-certificate-publisher-controller";
        ledger.add(
            &subject,
            Check::Everywhere,
            Verdict::Failed,
            "it is not there, so no new pod starts in this namespace",
            remedy,
        );
    }
}

/// What waits or failed has a finding of its own.
fn requests(evidence: &Evidence, ledger: &mut Ledger<'_>) {
    let ids = [FindingId::RequestPending, FindingId::RequestFailed];
    let mut open = 0;
    for request in &evidence.requests {
        let subject = Subject::new(Group::Requests, format!("csr/{}", request.name));
        if ledger.against(&subject, &ids) {
            open += 1;
            ledger.judge(&subject, Check::Answered, &ids, "");
        }
    }
    if open == 0 && !ledger.unseen(REQUESTS) {
        let seen = format!("{} requests, none waits or failed", evidence.requests.len());
        ledger.satisfied(&Subject::new(Group::Requests, REQUESTS), Check::Answered, seen);
    }
}

fn tokens(evidence: &Evidence, now: Timestamp, ledger: &mut Ledger<'_>) {
    for token in &evidence.tokens {
        let subject = Subject::new(Group::Requests, format!("secret/kube-system/bootstrap-token-{}", token.id));
        let end = token.expires.as_ref().filter(|end| end.parse::<Timestamp>().is_ok_and(|end| end >= now));
        let seen = end.map(|end| format!("until {end}")).unwrap_or_default();
        ledger.judge(&subject, Check::Expiry, &[FindingId::TokenForever, FindingId::TokenExpired], seen);
    }
    if evidence.tokens.is_empty() && !ledger.unseen(TOKENS) {
        ledger.satisfied(&Subject::new(Group::Requests, TOKENS), Check::Expiry, "there is none");
    }
}
