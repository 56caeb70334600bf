//! What the tests have in common: a fixed time, CAs in kubeadm's form, the openssl command.

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
        Self(TempDir::new().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
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
        command.args(arguments.split_whitespace()).current_dir(self.path()).env("OPENSSL_CONF", "/dev/null");
        command.output().unwrap()
    }

    /// Standard output of a call that must succeed.
    pub(super) fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `openssl verify` of a leaf against roots, with what the presenter sends behind the leaf.
    pub(super) fn verifies(&self, roots: &[&Certificate], sent: &[&Certificate], leaf: &Certificate, purpose: &str) -> bool {
        self.bundle("roots.pem", roots);
        self.bundle("sent.pem", sent);
        self.bundle("leaf.pem", &[leaf]);
        let sent = if sent.is_empty() { "" } else { "-untrusted sent.pem" };
        let at = now().as_second();
        let call = format!("verify -x509_strict -attime {at} -purpose {purpose} -no-CApath -CAfile roots.pem {sent} leaf.pem");
        self.run(&call).status.success()
    }
}
