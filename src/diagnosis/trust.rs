//! Items about trust: every presenter before every verifier.

use jiff::Timestamp;

use super::check::{Check, Group};
use super::ledger::{Ledger, Subject};
use super::{Sight, Verdict};
use crate::inspection::{Edge, Evidence, InspectRow, edges};
use crate::rotation::matrix::{EdgeState, Matrix, Verifier};

/// Files of authorities that the trust matrix leaves out, for a rotation does not replace them.
const OTHER_AUTHORITIES: [&str; 3] = ["/pki/etcd/", "/pki/front-proxy-", "/pki/apiserver-etcd-client."];

/// What to do where a CA is not trusted that should be.
const DIFFER: &str = "see the groups `authorities` and `objects` for who holds another CA; `certctl status` says whether a rotation stands half-way";
/// The same, for processes whose memory nobody sees.
const LONG_AGO: &str = "restart the pods that run since before the last rotation, then end the older CA with `certctl rotate-ca finalize`; \
                        a control-plane node that joined since then serves no chain for them";

pub(super) fn judge(
    evidence: &Evidence,
    sight: Option<&Result<Sight, String>>,
    now: Timestamp,
    ledger: &mut Ledger<'_>,
) {
    match sight {
        None => by_files(&evidence.rows, ledger),
        Some(sight) => {
            match sight {
                Ok(sight) => by_matrix(sight, now, ledger),
                Err(why) => ledger.add(
                    &Subject::new(Group::Trust, "cluster"),
                    Check::Seen,
                    Verdict::Unknown,
                    why,
                    super::cluster::LOOK,
                ),
            }
            let others = |row: &&InspectRow| OTHER_AUTHORITIES.iter().any(|part| row.certificate.path.contains(part));
            let rows: Vec<InspectRow> = evidence.rows.iter().filter(others).cloned().collect();
            by_files(&rows, ledger);
        }
    }
}

/// With what is loaded, by path validation.
fn by_matrix(sight: &Sight, now: Timestamp, ledger: &mut Ledger<'_>) {
    let Some(force) = &sight.force else {
        let subject = Subject::new(Group::Trust, "cluster");
        let remedy =
            "find out which CA signs the present certificates, until ca.crt holds one CA on every control-plane node";
        return ledger.add(&subject, Check::Seen, Verdict::Unknown, &sight.no_force, remedy);
    };
    for edge in Matrix::new(&force.materials, now).edges(&sight.inventory, &force.goal) {
        verified(&edge, ledger);
    }
    for node in sight.silent.keys().filter(|node| sight.inventory.nodes.contains_key(*node)) {
        // Why is said of the node itself.
        ledger.satisfied(&Subject::on(Group::Trust, node, "what it presents and trusts"), Check::Verified, "");
    }
}

fn verified(edge: &EdgeState, ledger: &mut Ledger<'_>) {
    let subject = Subject::new(Group::Trust, format!("{} to {}", edge.presenter.name(), edge.verifier.name()));
    if edge.violations.is_empty() {
        let pairs = if edge.pairs == 1 { "one pair".to_owned() } else { format!("{} different pairs", edge.pairs) };
        return ledger.satisfied(&subject, Check::Verified, format!("{pairs} verified"));
    }
    let long_ago = edge.verifier == Verifier::LongRunning;
    let (verdict, remedy) = if long_ago { (Verdict::Warning, LONG_AGO) } else { (Verdict::Failed, DIFFER) };
    for violation in &edge.violations {
        ledger.add(&subject, Check::Verified, verdict, violation.to_string(), remedy);
    }
}

/// By who signed which file, and what stands in the verifier's.
fn by_files(rows: &[InspectRow], ledger: &mut Ledger<'_>) {
    for edge in edges(rows) {
        let Edge { node, certificate, side, checked_by, against, trusted, .. } = &edge;
        let Some(trusted) = trusted else { continue };
        let group = if certificate.contains("etcd") { Group::Etcd } else { Group::Trust };
        let object = format!("{certificate} ({side}) to {checked_by}");
        let subject = Subject::on(group, node.as_deref().unwrap_or_default(), object);
        if *trusted {
            ledger.satisfied(&subject, Check::Verified, format!("its signer is in {against}"));
        } else {
            let message = format!("{checked_by} would refuse it: its signer is not in {against}");
            let remedy = format!(
                "find out which CA is right; then `certctl renew {certificate}` with it, or put it into {against}"
            );
            ledger.add(&subject, Check::Verified, Verdict::Failed, message, remedy);
        }
    }
}
