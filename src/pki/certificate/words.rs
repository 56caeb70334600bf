//! What a certificate says in words, taken out of it.

use std::sync::Arc;

use super::Certificate;

/// The texts of a certificate that is not needed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// As [`Certificate::subject`].
    pub subject: String,
    /// As [`Certificate::issuer_subject`].
    pub issuer: String,
    /// As [`Certificate::serial_hex`].
    pub serial_hex: String,
    /// As [`Certificate::dns_names`].
    pub dns_names: Vec<String>,
}

impl Certificate {
    /// Its texts: copied where somebody else holds the certificate too, else taken out. Among ten thousand, copies are a tenth of the work.
    #[must_use]
    pub fn into_words(self) -> Words {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Words {
                subject: inner.subject,
                issuer: inner.issuer,
                serial_hex: inner.serial_hex,
                dns_names: inner.details.dns_names,
            },
            Err(shared) => Words {
                subject: shared.subject.clone(),
                issuer: shared.issuer.clone(),
                serial_hex: shared.serial_hex.clone(),
                dns_names: shared.details.dns_names.clone(),
            },
        }
    }
}
