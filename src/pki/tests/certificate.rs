//! Reading certificates that openssl made, and files that are partly broken.

use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;

use super::fixture::{OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{Certificate, CertificateAuthority, KeyAlgorithm, PkiError, PrivateKey};

const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn what_openssl_says_of_a_certificate_is_what_we_say() {
    let openssl = OpenSsl::new();
    let extensions = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\n\
                      subjectAltName=DNS:kubernetes,DNS:cp-1,IP:10.96.0.1,IP:fd00::1";
    let leaf = openssl.certificate("leaf", EC, "/O=dev/O=ops/O=dev/CN=alice", extensions);
    assert_eq!(leaf.subject(), "CN=alice,O=dev,O=ops,O=dev");
    assert_eq!(leaf.common_name(), Some("alice"));
    assert_eq!(leaf.organizations(), ["dev", "ops", "dev"]);
    assert_eq!(leaf.dns_names(), ["kubernetes", "cp-1"]);
    assert_eq!(leaf.ip_addresses(), ["10.96.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    assert!(leaf.server_auth() && !leaf.client_auth() && !leaf.is_ca() && leaf.is_self_signed());
    assert_eq!(
        leaf.serial_hex(),
        openssl.value("x509 -in leaf.crt -noout -serial").to_lowercase().trim_start_matches("00")
    );
    let fingerprint = openssl.value("x509 -in leaf.crt -noout -fingerprint -sha256").replace(':', "").to_lowercase();
    assert_eq!(leaf.fingerprint(), fingerprint);
    let dates = openssl.ok("x509 -in leaf.crt -noout -dates -dateopt iso_8601").replace(' ', "T");
    let printed = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(dates, format!("notBefore={}\nnotAfter={}\n", printed(leaf.not_before()), printed(leaf.not_after())));
    assert_eq!(leaf.to_pem().into_bytes(), openssl.read("leaf.crt"));
    assert_eq!(Certificate::from_der(leaf.der()).unwrap(), leaf);
}

/// The value that `kubeadm join --discovery-token-ca-cert-hash` pins, by the recipe of kubeadm's documentation.
#[test]
fn the_id_of_a_ca_is_the_hash_that_kubeadm_join_pins() {
    let openssl = OpenSsl::new();
    for key in ["rsa:2048", EC] {
        let ca = openssl.certificate("ca", key, "/CN=kubernetes", "basicConstraints=critical,CA:TRUE");
        openssl.ok("x509 -in ca.crt -noout -pubkey -out public.pem");
        openssl.ok("pkey -pubin -in public.pem -outform der -out public.der");
        assert_eq!(ca.ca_id().as_str(), openssl.value("dgst -sha256 public.der"));
        assert_eq!(PrivateKey::from_pem(&openssl.read("ca.key")).unwrap().ca_id(), ca.ca_id());
    }
}

#[test]
fn a_multi_valued_name_is_printed_as_go_prints_it() {
    let openssl = OpenSsl::new();
    let odd = openssl.certificate("odd", EC, "/OU=a+CN=b,c/emailAddress=x@y", "basicConstraints=CA:FALSE");
    assert_eq!(odd.subject(), "1.2.840.113549.1.9.1=#1603784079,OU=a+CN=b\\,c");
}

#[test]
fn one_broken_block_hides_no_other_and_is_named() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let good = ca.certificate().to_pem();
    let cut = good.get(..300).unwrap();
    let key = p256().to_pem();
    let not_base64 = good.replace("MII", "!!!");
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let file = format!("a text\n{good}{}{cut}\n{good}{not_base64}{not_der}{good}", key.as_str());
    let read: Vec<Result<Certificate, PkiError>> = Certificate::each_from_pem(file.as_bytes());
    let verdicts: Vec<bool> = read.iter().map(Result::is_ok).collect();
    assert_eq!(verdicts, [true, false, true, false, false, true]);
    let errors: Vec<String> = read.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(errors[0], "PEM block 3 is broken: its END line is missing");
    assert_eq!(errors[1], "PEM block 5 is broken: its content is not base64");
    assert!(errors[2].starts_with("PEM block 6 is broken: not a readable X.509 certificate: "), "{}", errors[2]);
    let first_error = Certificate::all_from_pem(file.as_bytes()).unwrap_err();
    assert!(matches!(first_error, PkiError::PemBlock { block: 3, .. }));
    assert_eq!(Certificate::first_from_pem(file.as_bytes()).unwrap(), *ca.certificate());
}

#[test]
fn a_bundle_keeps_its_order_whatever_the_line_ends() {
    let cas = [kubernetes_ca(KeyAlgorithm::EcdsaP256), kubernetes_ca(KeyAlgorithm::EcdsaP256)];
    let [one, two] = cas.map(|ca| ca.certificate().clone());
    let text = format!("{}\n# second\n{}", two.to_pem(), one.to_pem()).replace('\n', "\r\n");
    assert_eq!(Certificate::all_from_pem(text.as_bytes()), Ok(vec![two, one]));
    assert_eq!(Certificate::all_from_pem(b"nothing"), Err(PkiError::NoCertificate));
    assert_eq!(Certificate::first_from_pem(p256().to_pem().as_bytes()), Err(PkiError::NoCertificate));
}

#[test]
fn a_certificate_is_read_whatever_the_length_of_its_lines() {
    let ca = kubernetes_ca(KeyAlgorithm::Rsa2048);
    let stock = ca.certificate().to_pem();
    let lines: Vec<&str> = stock.lines().collect();
    let (first, body, last) = (lines[0], lines[1..lines.len() - 1].concat(), lines[lines.len() - 1]);
    let cut = |columns: usize| {
        let parts = body.as_bytes().chunks(columns).map(|part| std::str::from_utf8(part).unwrap());
        format!("{first}\n{}\n{last}\n", parts.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(cut(64), stock);
    let odd = [
        cut(63),
        cut(65),
        cut(76),
        cut(body.len()),
        stock.replacen(lines[1], &format!("{}\n{}", &lines[1][..10], &lines[1][10..]), 1),
        stock.replacen(&format!("\n{last}"), &format!("\n\n{last}"), 1),
    ];
    for pem in odd {
        assert_eq!(Certificate::all_from_pem(pem.as_bytes()), Ok(vec![ca.certificate().clone()]), "{pem}");
    }
}

#[test]
fn bytes_after_a_certificate_are_refused() {
    let mut der = kubernetes_ca(KeyAlgorithm::EcdsaP256).certificate().der().to_vec();
    der.push(0);
    let error = Certificate::from_der(&der).unwrap_err();
    assert_eq!(error.to_string(), "not a readable X.509 certificate: 1 bytes follow it");
}

#[test]
fn a_certificate_without_expiry_is_valid_to_the_end_of_the_calendar() {
    let mut params = rcgen::CertificateParams::new(vec!["for-ever".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let certificate = Certificate::from_der(made.der()).unwrap();
    assert_eq!(certificate.not_after(), Timestamp::MAX);
    assert!(certificate.is_valid_at(now()));
}

/// As Go judges it, whose programs are the ones that refuse.
#[test]
fn a_fraction_of_a_second_after_its_end_a_certificate_is_over() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let (from, to) = (ca.certificate().not_before(), ca.certificate().not_after());
    let moment = jiff::SignedDuration::from_millis(1);
    assert!(ca.certificate().is_valid_at(from) && ca.certificate().is_valid_at(to));
    assert!(!ca.certificate().is_valid_at(from - moment) && !ca.certificate().is_valid_at(to + moment));
}

#[test]
fn a_signature_is_checked_and_not_only_the_name() {
    let openssl = OpenSsl::new();
    let old_form = openssl.certificate(
        "v1",
        "rsa:2048",
        "/CN=kubernetes",
        "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none",
    );
    assert!(old_form.signed_by(&old_form), "a certificate without extensions");
    let [one, two] = [KeyAlgorithm::EcdsaP384, KeyAlgorithm::EcdsaP521].map(kubernetes_ca);
    let leaf = two.issue_client("a", &[], p256().spki_der(), YEAR, now()).unwrap();
    assert!(leaf.signed_by(two.certificate()));
    assert!(!leaf.signed_by(one.certificate()) && !leaf.signed_by(&old_form) && !leaf.is_self_signed());
    let mut forged = leaf.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(!Certificate::from_der(&forged).unwrap().signed_by(two.certificate()));
}

static CA: LazyLock<CertificateAuthority> = LazyLock::new(|| kubernetes_ca(KeyAlgorithm::EcdsaP256));
static KEY: LazyLock<PrivateKey> = LazyLock::new(p256);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Trap T1 of many certificate builders: a map of attributes loses repeated groups. Ours keeps them, in order, through
    /// making, reading and signing anew.
    #[test]
    fn groups_survive_in_number_and_order(user in "\\PC{1,40}", groups in prop::collection::vec("[a-c:]{1,3}|\\PC{1,20}", 0..6)) {
        let made = CA.issue_client(&user, &groups, KEY.spki_der(), YEAR, now()).unwrap();
        prop_assert_eq!(made.common_name(), Some(user.as_str()));
        prop_assert_eq!(made.organizations(), &groups[..]);
        let again = CA.reissue(&made, KEY.spki_der(), YEAR, now()).unwrap();
        prop_assert_eq!(again.subject_der(), made.subject_der());
        prop_assert_eq!(again.organizations(), &groups[..]);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..500_usize, bit in 0..8_u8) {
        drop(Certificate::from_der(&bytes));
        drop(Certificate::each_from_pem(&bytes));
        drop(PrivateKey::from_pem(&bytes));
        let mut damaged = CA.certificate().der().to_vec();
        let place = at % damaged.len();
        damaged[place] ^= 1 << bit;
        if let Ok(read) = Certificate::from_der(&damaged) {
            drop((read.signed_by(CA.certificate()), read.subject(), read.to_pem()));
        }
    }
}
