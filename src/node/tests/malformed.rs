//! More than a thousand broken files, each in the place of a good one: nothing panics, and the rows of all other files stay.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::inspection::{Evidence, NodeView, findings, rows_of};
use crate::pki::Kubeconfig;

/// Files to break, and how often each is broken at random.
const TARGETS: [&str; 8] = [
    "/etc/kubernetes/pki/apiserver.crt",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/etcd/peer.key",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/var/lib/kubelet/config.yaml",
];
const TIMES: u64 = 130;

/// A generator of Marsaglia's xorshift family: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

/// One change: a byte, a piece left out, doubled or moved, a cut, noise.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (a, b) = (random.below(bytes.len()), random.below(bytes.len()));
    let (start, end) = (a.min(b), a.max(b));
    match random.below(7) {
        0 => bytes[a] ^= 1 << random.below(8),
        1 => bytes.truncate(a),
        2 => drop(bytes.drain(start..end.min(start + 40))),
        3 => {
            let piece = bytes[start..end].to_vec();
            bytes.splice(start..start, piece);
        }
        4 => {
            let noise: Vec<u8> = (0..random.below(64)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
            bytes.splice(a..a, noise);
        }
        5 => {
            let by = random.below(bytes.len() - a);
            bytes[a..].rotate_left(by);
        }
        _ => bytes[a] = [0, 0x30, 0x7f, 0x80, 0x84, 0xff][random.below(6)],
    }
    bytes
}

/// A PEM file is broken inside its DER every other time: broken armour hides what is in it.
fn broken(content: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(content).into_owned();
    let Some((head, rest)) = text.split_once("-----\n").filter(|_| random.below(2) == 0) else {
        return mutated(content, random);
    };
    let (body, tail) = rest.split_once("-----END").unwrap_or((rest, ""));
    let der = STANDARD.decode(body.replace('\n', "")).unwrap_or_default();
    if der.is_empty() {
        return mutated(content, random);
    }
    format!("{head}-----\n{}\n-----END{tail}", STANDARD.encode(mutated(&der, random))).into_bytes()
}

/// What mutation seldom finds.
fn hand_made() -> Vec<Vec<u8>> {
    let der = |bytes: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(bytes)).into_bytes()
    };
    let laughs: String =
        (1..30).map(|n| format!("a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", n - 1)).collect();
    vec![
        Vec::new(),
        vec![0; 4096],
        vec![b'['; 200_000],
        vec![b'{'; 200_000],
        b"- ".repeat(100_000),
        format!("a0: &a0 [x]\n{laughs}").into_bytes(),
        b"a: *nobody\n".to_vec(),
        b"a: &a [*a]\n".to_vec(),
        b"\xff\xfe\x00\x01".repeat(1000),
        b"-----BEGIN CERTIFICATE-----\n".repeat(10_000),
        b"-----BEGIN ".to_vec(),
        "-----BEGIN ÄÖÜ-----\n".into(),
        // A length of 2^32 - 1, an indefinite length, and sequences in each other.
        der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        der(&[0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0]),
        der(&[0x30, 0x80].repeat(50_000)),
        der(&[0x30, 0x03, 0x30, 0x01, 0x30].repeat(10_000)),
    ]
}

fn without(path: &str, rows: &[CertificateRow]) -> Vec<CertificateRow> {
    let own = |row: &CertificateRow| row.path == path || row.path.replace(".crt", ".key") == path;
    let mut rows: Vec<CertificateRow> = rows.iter().filter(|row| !own(row)).cloned().collect();
    if path.ends_with("ca.crt") {
        // Who signed the others cannot be known then.
        rows.iter_mut().for_each(|row| row.issuer_id = None);
    }
    rows
}

#[test]
fn a_thousand_broken_files_hide_nothing_and_stop_nobody() {
    let fixture = Fixture::new();
    fixture.write(
        "/var/lib/kubelet/config.yaml",
        "kind: KubeletConfiguration\nrotateCertificates: true\nport: 10250\n",
        0o644,
    );
    let good = read_disk(&fixture.layout, &[]).rows;
    assert!(good.iter().all(|row| row.problem.is_none()), "{good:#?}");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut count, mut noticed) = (0, 0);
    for path in TARGETS {
        let content = fs::read(fixture.layout.path(path)).unwrap();
        let mutations = (0..TIMES).map(|_| broken(&content, &mut random));
        let inputs: Vec<Vec<u8>> = mutations.chain(hand_made()).collect();
        for input in inputs {
            fs::write(fixture.layout.path(path), &input).unwrap();
            let reading = read_disk(&fixture.layout, &[]);
            let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
            assert_eq!(without(path, &reading.rows), without(path, &good), "{path}: {shown}");
            noticed += usize::from(reading.rows != good);
            judge(&reading, fixture.now);
            let _ = CertificateRequest::from_pem(&input);
            let _ = String::from_utf8(input).map(|text| Kubeconfig::parse(&text));
            count += 1;
        }
        fs::write(fixture.layout.path(path), content).unwrap();
    }
    assert_eq!(read_disk(&fixture.layout, &[]).rows, good);
    assert!(count >= 1000, "{count} inputs");
    // Manifests have no rows, and some changes are harmless; half of all being seen shows that the inputs are broken indeed.
    assert!(noticed * 2 > count, "{noticed} of {count} were noticed");
}

/// Whatever was read can be judged.
fn judge(reading: &DiskReading, now: jiff::Timestamp) {
    let rows = rows_of(None, reading.rows.clone(), None, &BTreeMap::new());
    let view = NodeView { facts: reading.facts.clone(), state: None };
    let evidence = Evidence { rows, nodes: BTreeMap::from([(String::new(), view)]), ..Evidence::default() };
    let _ = findings(&evidence, None, now);
}
