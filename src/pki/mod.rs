//! PURE: what a cluster PKI is. No IO, no clock; the one impurity is entropy, in `private_key` and `authority`.

mod ca_id;

pub use ca_id::CaId;
