//! Tests of the whole module, with the `openssl` command as referee: it must be installed.

mod authority;
mod certificate;
mod chain;
mod csr;
mod fixture;
mod kubeconfig;
mod login;
mod private_key;
mod seal;
mod specimen;
