//! What was handed out, in words and as a document.

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::engine::credentials::{Issued, Place, Subject, Written};
use crate::error::Error;
use crate::pki::BACKDATE;
use crate::pki::{CaId, Certificate, Login};
use crate::ui::{Format, Table, View};

/// Signers round: a lifetime that differs by less than this is the one asked for.
const ROUNDED: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);
/// From this lifetime on kube-controller-manager takes what it dates the beginning back by off the end, too (`PermissiveSigningPolicy` in
/// `pkg/controller/certificates/authority/policies.go`).
const LONG: jiff::SignedDuration = jiff::SignedDuration::from_hours(8);

/// One run's outcome.
pub(super) struct Outcome<'a> {
    pub(super) subject: &'a Subject,
    pub(super) place: &'a Place,
    pub(super) issued: &'a Issued,
    pub(super) login: &'a Login,
    pub(super) written: &'a Written,
    /// Certificate and key are in the cache folder, not in the kubeconfig.
    pub(super) exec: bool,
    /// The file of `-f`, which kubectl does not look into by itself.
    pub(super) file: Option<&'a Path>,
}

/// A credential that was handed out. It holds no key.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct Credential {
    /// The user (CN).
    user: String,
    /// The groups (O), in order.
    groups: Vec<String>,
    /// Its end, RFC 3339.
    #[schemars(with = "String")]
    not_after: Timestamp,
    /// Serial number, hex.
    serial: String,
    /// SHA-256 of the DER, hex.
    fingerprint: String,
    /// The CA whose key signed it; null: none of those that the cluster publishes.
    issuer: Option<CaId>,
    /// The CAs that the entry trusts.
    trust: Vec<CaId>,
    /// Name of the context in the kubeconfig.
    context: String,
    /// Name of the cluster's entry in the kubeconfig.
    cluster: String,
    /// The files that were written.
    files: Vec<String>,
    /// True when the context is the current one.
    current: bool,
    /// True for an entry that renews itself: certificate and key are in the cache folder, not in the kubeconfig.
    exec: bool,
}

impl View for Credential {
    const KIND: &'static str = "Credential";

    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(&["USER", "GROUPS", "EXPIRES", "CONTEXT", "FILE"]);
        let (groups, files) = (self.groups.join(","), self.files.join(","));
        table.row([self.user.clone(), groups, self.not_after.to_string(), self.context.clone(), files]);
        table
    }
}

/// Says what was done: on stdout for programs, else on stderr.
pub(super) fn tell(context: &Context, outcome: &Outcome<'_>) -> Result<(), Error> {
    warnings(outcome, context.now).iter().for_each(|warning| context.ui.warn(warning));
    match &context.global.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            Ok(context.ui.show(&outcome.document(), format.clone(), context.now)?)
        }
        _ => {
            outcome.sentences().iter().for_each(|line| context.ui.note(line));
            Ok(())
        }
    }
}

impl Outcome<'_> {
    fn issuer(&self) -> Option<&Certificate> {
        self.place.cas.iter().find(|ca| self.issued.certificate.signed_by(ca))
    }

    fn document(&self) -> Credential {
        let certificate = &self.issued.certificate;
        let names = self.login.names();
        Credential {
            user: certificate.common_name().unwrap_or_default().to_owned(),
            groups: certificate.organizations().to_vec(),
            not_after: certificate.not_after(),
            serial: certificate.serial_hex(),
            fingerprint: certificate.fingerprint(),
            issuer: self.issuer().map(Certificate::ca_id),
            trust: self.place.cas.iter().map(Certificate::ca_id).collect(),
            context: names.context.clone(),
            cluster: names.cluster.clone(),
            files: self.written.files.iter().map(|path| path.display().to_string()).collect(),
            current: self.written.is_current,
            exec: self.exec,
        }
    }

    /// What names the file to kubectl.
    fn flag(&self) -> String {
        self.file.map(|file| format!(" --kubeconfig {}", file.display())).unwrap_or_default()
    }

    fn sentences(&self) -> Vec<String> {
        let certificate = &self.issued.certificate;
        let by = self.issuer().map_or_else(String::new, |ca| format!(", of CA {}", ca.ca_id().short()));
        let mut lines = vec![format!("`{}` until {}{by}", certificate.subject(), certificate.not_after())];
        if self.exec {
            lines.push("certctl renews it before it expires, whenever a client uses it".to_owned());
        }
        let context = &self.login.names().context;
        let files: Vec<String> = self.written.files.iter().map(|path| path.display().to_string()).collect();
        if !files.is_empty() {
            lines.push(format!("context `{context}` is in {}", files.join(" and ")));
            lines.push(match self.written.is_current {
                true => match self.flag() {
                    flag if flag.is_empty() => "it is the current one".to_owned(),
                    flag => format!("it is the current one: use it with `kubectl{flag}`"),
                },
                false => format!("use it with `kubectl{} --context {context}`", self.flag()),
            });
        }
        lines
    }
}

fn warnings(outcome: &Outcome<'_>, now: Timestamp) -> Vec<String> {
    let Outcome { subject, place, issued, written, .. } = outcome;
    let certificate = &issued.certificate;
    let mut warnings = Vec::new();
    let lasts = certificate.not_after().duration_since(now);
    let taken_off = if subject.lifetime >= LONG { BACKDATE } else { jiff::SignedDuration::ZERO };
    if lasts + taken_off + ROUNDED < subject.lifetime {
        warnings.push(format!(
            "it is valid for {lasts:#} only, not for {:#}: the signer's limit (--cluster-signing-duration), or the CA ends then",
            subject.lifetime
        ));
    }
    if subject.lifetime + ROUNDED < lasts {
        warnings.push(format!(
            "it is valid for {lasts:#}, longer than {:#}: the CSR API signs for no less",
            subject.lifetime
        ));
    }
    if (certificate.common_name(), certificate.organizations()) != (Some(subject.user.as_str()), &subject.groups[..]) {
        warnings.push(format!("the signer has changed the names: they are `{}`", certificate.subject()));
    }
    match outcome.issuer() {
        None if !place.cas.is_empty() => {
            warnings.push(
                "the certificate is of none of the CAs that the cluster publishes: try it before you hand it on".into(),
            );
        }
        Some(issuer) if place.cas.len() > 1 && place.staying.as_ref() != Some(&issuer.ca_id()) => {
            warnings.push(format!(
                "a rotation is under way, and the certificate is of CA {}: get it again when that CA is dropped",
                issuer.ca_id().short()
            ))
        }
        _ => {}
    }
    for path in &written.reformatted {
        let path = path.display();
        warnings.push(format!("{path} was not written line by line: its comments are lost, and its keys are sorted"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::pki::{CertificateAuthority, KeyAlgorithm, LoginNames, PrivateKey};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    struct World {
        now: Timestamp,
        ca: CertificateAuthority,
        subject: Subject,
        login: Login,
    }

    impl World {
        fn new() -> Self {
            let now = "2026-11-22T12:00:00Z".parse().unwrap();
            let names = LoginNames { context: "jane@k".into(), cluster: "k".into(), user: "jane@k".into() };
            Self {
                now,
                ca: CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, DAY * 9, now).unwrap(),
                subject: Subject { user: "jane".into(), groups: vec!["dev".into()], lifetime: DAY },
                login: Login::new(names, serde_json::json!({})),
            }
        }

        fn warned(&self, user: &str, lasts: SignedDuration, place: &Place) -> String {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let certificate =
                self.ca.issue_client(user, &self.subject.groups, key.spki_der(), lasts, self.now).unwrap();
            let (issued, written) = (Issued { certificate, key }, Written::default());
            let Self { subject, login, .. } = self;
            let outcome =
                Outcome { subject, place, issued: &issued, login, written: &written, exec: false, file: None };
            warnings(&outcome, self.now).join("\n")
        }
    }

    #[test]
    fn what_is_printed_as_json_fits_the_schema() {
        let world = World::new();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let certificate = world.ca.issue_client("jane", &[], key.spki_der(), DAY, world.now).unwrap();
        let (issued, written) = (Issued { certificate, key }, Written::default());
        let place = Place { cas: vec![world.ca.certificate().clone()], ..Place::default() };
        let World { subject, login, .. } = &world;
        let outcome =
            Outcome { subject, place: &place, issued: &issued, login, written: &written, exec: false, file: None };
        let known = outcome.document();
        assert!(known.issuer.is_some());
        crate::ui::fits(&known);
        crate::ui::fits(&Credential { issuer: None, ..known });
    }

    #[test]
    fn what_is_not_as_it_was_asked_for_is_said() {
        let world = World::new();
        let ours = Place { cas: vec![world.ca.certificate().clone()], ..Place::default() };
        assert_eq!(world.warned("jane", DAY, &ours), "");
        assert_eq!(world.warned("jane", DAY - BACKDATE, &ours), "", "as kube-controller-manager signs it");
        assert!(world.warned("jane", DAY - BACKDATE * 2, &ours).starts_with("it is valid for 23h 50m only"));
        assert!(world.warned("jane", DAY / 2, &ours).starts_with("it is valid for 12h only, not for 24h: "));
        assert!(world.warned("jane", DAY * 2, &ours).starts_with("it is valid for 48h, longer than 24h: "));
        assert!(world.warned("june", DAY, &ours).contains("CN=june,O=dev"));
        let others = Place { cas: vec![World::new().ca.certificate().clone()], ..Place::default() };
        assert!(world.warned("jane", DAY, &others).contains("none of the CAs"));
    }

    #[test]
    fn while_a_rotation_runs_a_certificate_of_the_ca_that_goes_is_named() {
        let world = World::new();
        let (old, new) = (world.ca.certificate().clone(), World::new().ca.certificate().clone());
        let place = |staying: &Certificate| Place {
            cas: vec![new.clone(), old.clone()],
            staying: Some(staying.ca_id()),
            ..Place::default()
        };
        let told = world.warned("jane", DAY, &place(&new));
        assert!(told.contains(&format!("of CA {}: get it again", old.ca_id().short())), "{told}");
        assert_eq!(world.warned("jane", DAY, &place(&old)), "");
    }
}
