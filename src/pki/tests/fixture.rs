//! What the tests have in common: a fixed time, CAs in kubeadm's form, the openssl command.
#![expect(clippy::disallowed_methods, reason = "the openssl command works on files")]

use std::path::Path;
use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::pki::{Certificate, CertificateAuthority, KeyAlgorithm, PrivateKey};

pub(super) const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
pub(super) const DECADE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// A time far from today: a test that asked the real clock would fail.
pub(super) fn now() -> Timestamp {
    "2031-05-06T07:08:09Z".parse().unwrap()
}

pub(super) fn kubernetes_ca(algorithm: KeyAlgorithm) -> CertificateAuthority {
    CertificateAuthority::generate("kubernetes", algorithm, DECADE, now()).unwrap()
}

pub(super) fn p256() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

/// A folder in which openssl runs.
pub(super) struct OpenSsl(TempDir);

impl OpenSsl {
    pub(super) fn new() -> Self {
        let openssl = Self(TempDir::new().unwrap());
        // Its own configuration: the machine's would add extensions of its own.
        openssl.write("openssl.cnf", "[req]\ndistinguished_name = dn\n[dn]\n");
        openssl
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What openssl prints after the `=` of a single line, for `-serial`, `-fingerprint` and the like.
    pub(super) fn value(&self, arguments: &str) -> String {
        let text = self.ok(arguments);
        text.trim().rsplit_once('=').map_or(text.trim(), |(_, value)| value).trim().to_owned()
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    pub(super) fn bundle(&self, name: &str, certificates: &[&Certificate]) {
        self.write(name, certificates.iter().map(|certificate| certificate.to_pem()).collect::<String>());
    }

    pub(super) fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.path()).env("OPENSSL_CONF", "openssl.cnf");
        command.output().unwrap()
    }

    /// Standard output of a call that must succeed.
    pub(super) fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A self-signed certificate made by openssl: key by `-newkey` words, extensions as configuration lines. Its key is `NAME.key`.
    pub(super) fn certificate(&self, name: &str, key: &str, subject: &str, extensions: &str) -> Certificate {
        self.write(&format!("{name}.cnf"), format!("[req]\ndistinguished_name = dn\n[dn]\n[v3]\n{extensions}\n"));
        self.ok(&format!(
            "req -x509 -config {name}.cnf -extensions v3 -newkey {key} -nodes -days 36500 -keyout {name}.key -out {name}.crt \
             -multivalue-rdn -utf8 -subj {subject}"
        ));
        Certificate::first_from_pem(&self.read(&format!("{name}.crt"))).unwrap()
    }

    /// `openssl verify` of a leaf against roots, with what the presenter sends behind the leaf, by the strict rules of RFC 5280.
    pub(super) fn verifies(
        &self,
        roots: &[&Certificate],
        sent: &[&Certificate],
        leaf: &Certificate,
        purpose: &str,
    ) -> bool {
        self.accepts(roots, sent, leaf, purpose, "-x509_strict")
    }

    pub(super) fn accepts(
        &self,
        roots: &[&Certificate],
        sent: &[&Certificate],
        leaf: &Certificate,
        purpose: &str,
        rules: &str,
    ) -> bool {
        self.bundle("roots.pem", roots);
        self.bundle("sent.pem", sent);
        self.bundle("leaf.pem", &[leaf]);
        let sent = if sent.is_empty() { "" } else { "-untrusted sent.pem" };
        let at = now().as_second();
        let trust = "-no-CApath -no-CAstore -CAfile roots.pem";
        self.run(&format!("verify {rules} -attime {at} -purpose {purpose} {trust} {sent} leaf.pem")).status.success()
    }
}
