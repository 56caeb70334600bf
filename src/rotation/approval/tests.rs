//! Every refusal, with a request that differs from a good one in that point only.

use rcgen::{CertificateParams, DnType, SanType};
use rstest::rstest;

use super::*;
use crate::pki::{KeyAlgorithm, PrivateKey, certificate_request};

/// A request as another library writes it.
fn asked(node: &str, names: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.subject_alt_names = names;
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

/// A request of our own for this subject, without names: the subject is looked at first.
fn for_subject(user: &str, groups: &[&str]) -> String {
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    certificate_request(user, &groups, &PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

fn good() -> String {
    asked("w-1", vec![dns("w-1"), ip("10.0.0.7")])
}

fn changing() -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([("w-1".to_owned(), vec!["w-1".to_owned(), "10.0.0.7".to_owned(), "fd00::7".to_owned()])])
}

fn decide(username: &str, groups: &[&str], usages: &[&str], request: &str) -> Result<String, Refusal> {
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
    let asked = ServingRequest { username, groups: &groups, usages: &usages, request: request.as_bytes() };
    may_approve(&asked, &changing())
}

const GROUPS: [&str; 2] = ["system:nodes", "system:authenticated"];
const ECDSA: [&str; 2] = ["digital signature", "server auth"];

fn of_the_node(request: &str) -> Result<String, Refusal> {
    decide("system:node:w-1", &GROUPS, &ECDSA, request)
}

#[test]
fn what_the_node_itself_asks_for_its_own_names_is_approved() {
    assert_eq!(of_the_node(&good()), Ok("w-1".to_owned()));
    let rsa = ["server auth", "key encipherment", "digital signature"];
    assert_eq!(decide("system:node:w-1", &GROUPS, &rsa, &good()), Ok("w-1".to_owned()));
    let one = asked("w-1", vec![dns("W-1"), ip("fd00:0::7")]);
    assert_eq!(of_the_node(&one), Ok("w-1".to_owned()), "names are compared as names, addresses as numbers");
}

#[rstest]
#[case("kubernetes-admin")]
#[case("system:node:")]
#[case("system:serviceaccount:kube-system:w-1")]
fn only_nodes_are_answered(#[case] user: &str) {
    assert_eq!(decide(user, &GROUPS, &ECDSA, &good()), Err(Refusal::Requester(user.to_owned())));
}

#[test]
fn a_node_that_is_not_being_changed_is_not_answered() {
    let request = asked("w-2", vec![dns("w-2")]);
    let refused = decide("system:node:w-2", &GROUPS, &ECDSA, &request);
    assert_eq!(refused, Err(Refusal::NotChanging("w-2".to_owned())));
}

#[test]
fn a_requester_outside_the_group_of_nodes_is_refused() {
    assert_eq!(decide("system:node:w-1", &["system:authenticated"], &ECDSA, &good()), Err(Refusal::Group));
}

#[rstest]
#[case("")]
#[case("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")]
fn what_cannot_be_read_is_refused(#[case] request: &str) {
    assert!(matches!(of_the_node(request), Err(Refusal::Unreadable(_))));
}

/// The signer reads the first block: a second one is an attempt to have one thing read and another signed.
#[test]
fn a_second_block_and_another_kind_of_block_are_refused() {
    let two = format!("{}{}", good(), good());
    assert!(of_the_node(&two).unwrap_err().to_string().contains("2 PEM blocks"));
    let named = good().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    assert!(matches!(of_the_node(&named), Err(Refusal::Unreadable(_))));
}

#[test]
fn a_request_with_another_key_in_it_than_signed_it_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let body: String = good().lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = STANDARD.decode(body).unwrap();
    // The host name stands in the signed part.
    let at = der.windows(3).position(|window| window == b"w-1").unwrap();
    der[at + 2] = b'9';
    let request =
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der));
    assert_eq!(of_the_node(&request), Err(Refusal::Signature));
}

#[rstest]
#[case("system:node:cp-1", &["system:nodes"])]
#[case("kubernetes-admin", &["system:nodes"])]
#[case("system:node:w-1", &[])]
#[case("system:node:w-1", &["system:masters"])]
#[case("system:node:w-1", &["system:nodes", "system:masters"])]
fn the_subject_is_the_requester_and_nothing_else(#[case] user: &str, #[case] groups: &[&str]) {
    let refused = of_the_node(&for_subject(user, groups)).unwrap_err();
    assert!(
        matches!(&refused, Refusal::Subject { wanted, .. } if wanted == "CN=system:node:w-1,O=system:nodes"),
        "{refused}"
    );
}

#[rstest]
#[case(&["digital signature", "client auth"])]
#[case(&["digital signature", "server auth", "client auth"])]
#[case(&["server auth"])]
#[case(&[])]
fn the_usages_are_those_of_a_server(#[case] usages: &[&str]) {
    let refused = decide("system:node:w-1", &GROUPS, usages, &good());
    assert_eq!(refused, Err(Refusal::Usages(usages.join(", "))));
}

#[test]
fn no_name_at_all_is_refused() {
    assert_eq!(of_the_node(&asked("w-1", Vec::new())), Err(Refusal::NoName));
    assert_eq!(of_the_node(&for_subject("system:node:w-1", &["system:nodes"])), Err(Refusal::NoName));
}

#[rstest]
#[case(SanType::URI("spiffe://cluster/admin".try_into().unwrap()))]
#[case(SanType::Rfc822Name("root@w-1".try_into().unwrap()))]
fn a_name_of_another_kind_is_refused(#[case] other: SanType) {
    assert_eq!(of_the_node(&asked("w-1", vec![dns("w-1"), other])), Err(Refusal::OtherName));
}

#[rstest]
#[case(vec![dns("w-1"), dns("kubernetes.default")], "kubernetes.default")]
#[case(vec![dns("w-1"), ip("10.96.0.1")], "10.96.0.1")]
#[case(vec![dns("w-11")], "w-11")]
fn every_name_must_be_an_address_of_the_node(#[case] names: Vec<SanType>, #[case] strange: &str) {
    let refused = Refusal::Name { name: strange.to_owned(), node: "w-1".to_owned() };
    assert_eq!(of_the_node(&asked("w-1", names)), Err(refused));
}
