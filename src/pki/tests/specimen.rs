//! Models and specimens stand in for edges that do not exist yet.

use super::fixture::{kubernetes_ca, now};
use crate::pki::{CaId, Certificate, KeyAlgorithm, Material, Usage, verify};

fn accepts(trust: &[&Material], leaf: &Certificate, sent: Option<&Certificate>, usage: Usage) -> bool {
    let chain: Vec<_> = [Some(leaf), sent].into_iter().flatten().map(Certificate::rustls_der).collect();
    let roots: Vec<Certificate> = trust.iter().map(|material| material.ca.clone()).collect();
    verify(&chain, &roots, usage, now()).is_ok()
}

fn cross_by<'a>(material: &'a Material, signer: &CaId) -> Option<&'a Certificate> {
    material.crosses.iter().find(|(by, _)| by == signer).map(|(_, certificate)| certificate)
}

#[test]
fn a_planned_pair_behaves_like_two_generations() {
    let real = Material::from_authority(&kubernetes_ca(KeyAlgorithm::EcdsaP384), Vec::new(), now()).unwrap();
    let (old, new) = Material::planned_pair("kubernetes", Some(&real), now()).unwrap();
    assert_eq!(old.ca.subject_der(), real.ca.subject_der());
    assert!(old.ca.ca_id() != new.ca.ca_id() && old.ca.ca_id() != real.ca.ca_id());
    let server = new.specimen_server.as_ref().unwrap();
    let client = new.specimen_client.as_ref().unwrap();
    let cross = cross_by(&new, &old.ca.ca_id());
    assert!(accepts(&[&old], server, cross, Usage::Server) && accepts(&[&old], client, cross, Usage::Client));
    assert!(!accepts(&[&old], server, None, Usage::Server) && !accepts(&[&real], server, cross, Usage::Server));
    assert!(accepts(&[&new], server, None, Usage::Server) && !accepts(&[&new], server, None, Usage::Client));
    let back = cross_by(&old, &new.ca.ca_id());
    assert!(accepts(&[&new], old.specimen_client.as_ref().unwrap(), back, Usage::Client));
    assert!(cross_by(&new, &real.ca.ca_id()).is_none());
}

#[test]
fn a_planned_ca_needs_no_example() {
    let planned = Material::planned("kubernetes", None, now()).unwrap();
    assert_eq!(planned.ca.subject(), "CN=kubernetes");
    assert!(planned.crosses.is_empty());
    assert!(accepts(&[&planned], planned.specimen_server.as_ref().unwrap(), None, Usage::Server));
}
