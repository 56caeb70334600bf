//! More than a thousand malformed files, each in the place of a good one of a node: `certctl inspect` ends as ever, and what it says of
//! all other files stays.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use certctl::pki::{CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey, ServerNames};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::damage;
use crate::harness::{NOW, Sandbox};
use crate::renew::Node;
use crate::repair::{self, LINK, TARGET};

type Outcome = Result<(), Box<dyn Error>>;

/// The files that are broken, one at a time: of every kind that an inspection reads.
const FILES: [&str; 16] = [
    "etc/kubernetes/pki/ca.crt",
    "etc/kubernetes/pki/ca.key",
    "etc/kubernetes/pki/apiserver.crt",
    "etc/kubernetes/pki/apiserver.key",
    "etc/kubernetes/pki/etcd/ca.crt",
    "etc/kubernetes/pki/etcd/server.crt",
    "etc/kubernetes/pki/etcd/server.key",
    "etc/kubernetes/scheduler.conf",
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/manifests/kube-apiserver.yaml",
    "etc/kubernetes/manifests/kube-controller-manager.yaml",
    "etc/kubernetes/manifests/etcd.yaml",
    KUBELET_CONFIG,
    TARGET,
    "var/lib/kubelet/pki/kubelet.crt",
    "var/lib/kubelet/pki/kubelet.key",
];
const KUBELET_CONFIG: &str = "var/lib/kubelet/config.yaml";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  namespace: kube-system\nspec:\n";
/// Static pods with the flags that an inspection looks at.
const MANIFESTS: [(&str, &[&str]); 3] = [
    (
        "kube-apiserver",
        &[
            "advertise-address=10.0.0.1",
            "client-ca-file=/etc/kubernetes/pki/ca.crt",
            "etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
            "service-cluster-ip-range=10.96.0.0/12",
            "tls-cert-file=/etc/kubernetes/pki/apiserver.crt",
        ],
    ),
    (
        "kube-controller-manager",
        &["cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt", "root-ca-file=/etc/kubernetes/pki/ca.crt"],
    ),
    (
        "etcd",
        &[
            "advertise-client-urls=https://10.0.0.1:2379",
            "cert-file=/etc/kubernetes/pki/etcd/server.crt",
            "trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        ],
    ),
];
/// How often chance breaks each of them.
const TIMES: usize = 63;

/// The command in 64 MiB for everything that it writes to in memory: what it is refused beyond that ends it with SIGABRT.
const LIMITED: &str = "ulimit -d 65536 && exec \"$0\" \"$@\"";

/// What an inspection says: its rows, and its findings.
#[derive(PartialEq)]
struct Said {
    rows: Vec<Value>,
    findings: Vec<Value>,
}

/// [`repair::node`] with what a control-plane node has besides certificates, and with the kubelet's own serving certificate.
fn node() -> Result<Node, Box<dyn Error>> {
    let node = repair::node()?;
    let sandbox = &node.sandbox;
    let (day, now) = (SignedDuration::from_hours(24), NOW.parse::<Timestamp>()?);
    let own = CertificateAuthority::generate("cp-1-ca@1", KeyAlgorithm::EcdsaP256, day * 365, now)?;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let names = ServerNames { dns: vec!["cp-1".into()], ips: Vec::new() };
    let serving = own.issue_server("cp-1@1", &names, key.spki_der(), day * 365, now)?;
    sandbox.write("var/lib/kubelet/pki/kubelet.crt", serving.to_pem() + &own.certificate().to_pem())?;
    sandbox.write_private("var/lib/kubelet/pki/kubelet.key", key.to_pem().as_bytes())?;
    sandbox.write(KUBELET_CONFIG, "kind: KubeletConfiguration\nrotateCertificates: true\nport: 10250\n")?;
    let mut conf = Kubeconfig::parse(&format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: {{server: 'https://10.0.0.1:6443'}}\n\
         contexts:\n- name: c\n  context: {{cluster: k, user: u}}\n\
         users:\n- name: u\n  user: {{client-certificate: /{LINK}, client-key: /{LINK}}}\n"
    ))?;
    conf.set_ca_data(&[node.ca.certificate().clone()]);
    sandbox.write_private("etc/kubernetes/kubelet.conf", conf.to_yaml()?.as_bytes())?;
    for (name, flags) in MANIFESTS {
        let flags: String = flags.iter().map(|flag| format!("    - --{flag}\n")).collect();
        let text =
            format!("{POD}  containers:\n  - command:\n    - {name}\n{flags}    image: {name}\n    name: {name}\n");
        sandbox.write_private(&format!("etc/kubernetes/manifests/{name}.yaml"), text)?;
    }
    Ok(node)
}

/// Inspects the node; `broken` says for a failure what was done to it.
fn inspect(sandbox: &Sandbox, broken: &str) -> io::Result<Said> {
    let arguments = ["-c", LIMITED, env!("CARGO_BIN_EXE_certctl"), "inspect", "--root", ".", "-o", "json"];
    let run = sandbox.run_as(Path::new("/bin/sh"), &arguments)?;
    // A panic is code 101 or a signal, which is no code at all; other files can be shown, so nothing has failed.
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{broken}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{broken}: {error}"));
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    Ok(Said { rows: list("certificates"), findings: list("findings") })
}

/// The path of a file in rows and findings.
fn named(file: &str) -> String {
    format!("/{}", if file == TARGET { LINK } else { file })
}

/// The rows of the other files, as far as the broken one is no premise of what they say.
///
/// Everything must stay that stands in a certificate itself, and also what was found out about it, with two exceptions. Who signed a certificate
/// is known by the CA's key, so it may be unknown while that CA's file is broken. Whether a certificate has its key is known by the key, so its
/// row has a problem while the key is broken.
fn rows_of_others(broken: &str, said: &Said, good: &Said) -> Vec<Value> {
    let path = named(broken);
    let certificate = path.strip_suffix(".key").map(|stem| format!("{stem}.crt"));
    let is = |row: &Value, path: &str| row["path"] == path;
    let authorities: Vec<&Value> = good.rows.iter().filter(|row| is(row, &path)).map(|row| &row["caId"]).collect();
    let signed = |row: &Value| {
        let same = |other: &&Value| ["path", "index", "kind"].iter().all(|field| other[field] == row[field]);
        good.rows
            .iter()
            .find(same)
            .is_some_and(|row| row["issuerId"].is_string() && authorities.contains(&&row["issuerId"]))
    };
    let without = |row: &Value| {
        let mut row = row.clone();
        let open: &[&str] = match &certificate {
            Some(certificate) if is(&row, certificate) => &["problem", "fault"],
            None if path.ends_with("ca.crt") && signed(&row) => &["issuerId", "signedBy", "externallyManaged"],
            _ => &[],
        };
        open.iter().for_each(|field| row[*field] = Value::Null);
        row
    };
    said.rows.iter().filter(|row| !is(row, &path)).map(without).collect()
}

/// The findings about other files that have nothing to do with the broken one: they neither go nor come.
fn findings_of_others(broken: &str, said: &Said) -> Vec<Value> {
    said.findings.iter().filter(|finding| !may_change(broken, finding)).cloned().collect()
}

/// True for a finding about the broken file, and for one about another file of which the broken one is a premise.
fn may_change(broken: &str, finding: &Value) -> bool {
    let word = |field: &str| finding[field].as_str().unwrap_or_default();
    // `FILE [1]` is the second certificate of a file.
    let object = word("object").split(" [").next().unwrap_or_default();
    let about_it = object == named(broken) || object.strip_prefix('/') == Some(broken);
    about_it
        || match word("id") {
            // Who signed a certificate, until when that CA is valid, and whether a kubeconfig trusts the cluster's.
            "foreign-issuer" | "outlives-ca" | "trust-differs" => broken.ends_with("ca.crt"),
            "key-mismatch" | "key-unreadable" => {
                broken.strip_suffix(".key").is_some_and(|stem| object == format!("/{stem}.crt"))
            }
            // A server's names are those that manifests and kubeconfigs use for it, and the node's own, which its kubelet's certificate has.
            "missing-san" if object.ends_with("/apiserver.crt") => {
                broken.ends_with("kube-apiserver.yaml") || broken.ends_with(".conf") || broken == TARGET
            }
            "missing-san" => broken.ends_with("etcd.yaml") || broken == TARGET,
            // Manifests name files.
            "missing-certificate" => broken.contains("/manifests/"),
            // Without its configuration nothing is said about a kubelet.
            "embedded-credential" | "kubelet-no-bootstrap" => broken == KUBELET_CONFIG,
            _ => false,
        }
}

/// Breaks each file in every way, inspects the node, and puts it back. Returns how many inspections there were and how many said something
/// else than that of the good node.
fn break_each(sandbox: &Sandbox, files: &[&str], good: &Said) -> io::Result<(usize, usize)> {
    let (mut count, mut noticed) = (0, 0);
    for file in files {
        let path = sandbox.path(file);
        let content = fs::read(&path)?;
        let before = noticed;
        for (name, broken) in damage::broken(file, &content, TIMES) {
            fs::write(&path, &broken)?;
            // The keys are new in every run.
            let what = format!("{file}: {name}: {}", broken[..broken.len().min(3000)].escape_ascii());
            let said = inspect(sandbox, &what)?;
            assert_eq!(rows_of_others(file, &said, good), rows_of_others(file, good, good), "{what}");
            assert_eq!(findings_of_others(file, &said), findings_of_others(file, good), "{what}");
            count += 1;
            noticed += usize::from(said != *good);
        }
        assert!(noticed > before, "{file} is not looked at");
        fs::write(&path, &content)?;
    }
    assert!(inspect(sandbox, "put back")? == *good, "an inspection has changed something");
    Ok((count, noticed))
}

#[test]
fn a_thousand_malformed_files_stop_no_inspection_and_hide_nothing_of_another_file() -> Outcome {
    let node = node()?;
    let good = inspect(&node.sandbox, "nothing is broken")?;
    assert!(good.rows.iter().all(|row| row["problem"].is_null()), "{:#?}", good.rows);
    // The API server's certificate lacks names, and nobody can verify the kubelet: both is to be said whatever else is broken.
    assert!(good.rows.len() >= 9 && good.findings.len() >= 2, "{:#?}", good.findings);
    let copy = node.copy()?;
    let (first, second) = FILES.split_at(FILES.len() / 2);
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| break_each(&copy.sandbox, first, &good));
        let two = break_each(&node.sandbox, second, &good);
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), two)
    });
    let ((count, noticed), (more, noticed_more)) = (one?, two?);
    assert!(count + more >= 1000, "{} inspections", count + more);
    // Some damage is harmless, above all in manifests; that half is seen shows that the files are broken indeed.
    assert!((noticed + noticed_more) * 2 > count + more, "{} of {}", noticed + noticed_more, count + more);
    Ok(())
}
