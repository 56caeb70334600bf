//! `certctl renew` on a node's files, without a cluster.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use certctl::pki::{Certificate, CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey, ServerNames};
use jiff::{SignedDuration, Timestamp};

use crate::harness::{NOW, Sandbox};

type Outcome = Result<(), Box<dyn Error>>;

/// Mode and content of every entry, by path.
pub(crate) type Picture = BTreeMap<String, (u32, Vec<u8>)>;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A node of two CAs: the API server's pair and the scheduler's kubeconfig with 30 days left of a year, etcd's pair new.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    pub(crate) ca: CertificateAuthority,
}

impl Node {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let (sandbox, now) = (Sandbox::new()?, NOW.parse::<Timestamp>()?);
        let made = now - DAY * 335;
        let ca = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, DAY * 3650, made)?;
        let etcd = CertificateAuthority::generate("etcd-ca", KeyAlgorithm::EcdsaP256, DAY * 3650, made)?;
        let node = Self { sandbox, ca };
        node.pair("ca", node.ca.certificate(), node.ca.key())?;
        node.pair("etcd/ca", etcd.certificate(), etcd.key())?;
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let names = ServerNames { dns: vec!["kubernetes".into()], ips: vec!["10.0.0.1".parse()?] };
        let later = made + SignedDuration::from_secs(1);
        node.pair(
            "apiserver",
            &node.ca.issue_server("kube-apiserver", &names, key.spki_der(), DAY * 365, later)?,
            &key,
        )?;
        node.pair("etcd/server", &etcd.issue_server("cp-1", &names, key.spki_der(), DAY * 365, now)?, &key)?;
        let client = node.ca.issue_client("system:kube-scheduler", &[], key.spki_der(), DAY * 365, later)?;
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: {server: 'https://10.0.0.1:6443'}\n\
             contexts:\n- name: c\n  context: {cluster: k, user: u}\nusers:\n- name: u\n  user: {}\n";
        let mut conf = Kubeconfig::parse(text)?;
        conf.set_ca_data(&[node.ca.certificate().clone()]);
        conf.set_client(&client, &key);
        node.put("scheduler.conf", conf.to_yaml()?.as_bytes(), 0o600)?;
        Ok(node)
    }

    /// Another node with the same files, modes and owners.
    pub(crate) fn copy(&self) -> Result<Self, Box<dyn Error>> {
        let copy = Self { sandbox: Sandbox::new()?, ca: self.ca.clone() };
        let copied = Command::new("cp").arg("-a").arg(self.sandbox.path(".")).arg(copy.sandbox.path(".")).status()?;
        assert!(copied.success(), "the files could not be copied");
        Ok(copy)
    }

    fn pair(&self, stem: &str, certificate: &Certificate, key: &PrivateKey) -> Outcome {
        self.put(&format!("pki/{stem}.crt"), certificate.to_pem().as_bytes(), 0o644)?;
        self.put(&format!("pki/{stem}.key"), key.to_pem().as_bytes(), 0o600)
    }

    fn put(&self, name: &str, content: &[u8], mode: u32) -> Outcome {
        let path = self.sandbox.write(&format!("etc/kubernetes/{name}"), content)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    }

    /// What stands under `/etc/kubernetes`: kind, mode and content of every entry, read as it is and not through links.
    pub(crate) fn picture(&self) -> Result<Picture, Box<dyn Error>> {
        let mut picture = Picture::new();
        walk(&self.sandbox.path("etc/kubernetes"), &mut picture)?;
        Ok(picture)
    }

    /// Why a pair or a kubeconfig does not work, read as its reader does.
    pub(crate) fn torn(&self) -> Result<Option<String>, Box<dyn Error>> {
        for stem in ["apiserver", "etcd/server"] {
            let read = |end: &str| fs::read(self.sandbox.path(&format!("etc/kubernetes/pki/{stem}.{end}")));
            let (certificate, key) =
                (Certificate::first_from_pem(&read("crt")?)?, PrivateKey::from_pem(&read("key")?)?);
            if !key.matches(&certificate) {
                return Ok(Some(stem.to_owned()));
            }
        }
        let conf = Kubeconfig::parse(&fs::read_to_string(self.sandbox.path("etc/kubernetes/scheduler.conf"))?)?;
        let whole = conf.client_key().zip(conf.client_certificate()).is_some_and(|(key, client)| key.matches(&client));
        Ok((!whole).then(|| "scheduler.conf".to_owned()))
    }

    pub(crate) fn serial(&self, file: &str) -> Result<String, Box<dyn Error>> {
        let pem = fs::read(self.sandbox.path(&format!("etc/kubernetes/pki/{file}")))?;
        Ok(Certificate::first_from_pem(&pem)?.serial_hex())
    }
}

pub(crate) fn walk(folder: &Path, picture: &mut Picture) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        let content = if data.is_dir() {
            walk(&path, picture)?;
            Vec::new()
        } else if data.is_symlink() {
            fs::read_link(&path)?.into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path)?
        };
        picture.insert(path.display().to_string(), (data.permissions().mode(), content));
    }
    Ok(())
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() -> Outcome {
    let node = Node::new()?;
    let before = node.picture()?;
    let run = node.sandbox.run(&["renew", "--root", ".", "--only-due", "--dry-run"])?;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(run.stdout, @r"
    CERTIFICATE      EXPIRES                  NEW-EXPIRY               KEY              CA        RESTARTS         NOTE
    etcd-server      Nov 22, 2027 12:00 UTC   -                        -                etcd      -                not due
    apiserver        Dec 22, 2026 12:00 UTC   Nov 22, 2027 12:00 UTC   new ECDSA-P256   cluster   -                -
    scheduler.conf   Dec 22, 2026 12:00 UTC   Nov 22, 2027 12:00 UTC   new ECDSA-P256   cluster   kube-scheduler   -
    ");
    assert_eq!(node.picture()?, before);
    assert!(!node.sandbox.path("var").exists());
    Ok(())
}

/// By such a clock everything is due.
#[test]
fn a_clock_that_is_years_ahead_is_named_and_nothing_is_renewed() -> Outcome {
    let node = Node::new()?;
    // etcd has written here today; the sandbox's files have this machine's time.
    node.sandbox.write("var/lib/etcd/member/wal/0.wal", "")?;
    let before = node.picture()?;
    let years_ahead = [("CERTCTL_TEST_NOW", "2034-01-01T00:00:00Z")];
    let renew = ["renew", "--root", ".", "--only-due", "--yes"];
    let run = node.sandbox.run_with(&years_ahead, &renew)?;
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    for words in [
        "the clock of this node says 2034-01-01T00:00:00Z; nothing was changed",
        "etcd last wrote on this node at 20",
        "--clock-is-right",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    assert_eq!(node.picture()?, before);
    let run = node.sandbox.run_with(&years_ahead, &[&renew[..], &["--clock-is-right"]].concat())?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_ne!(node.picture()?, before);
    Ok(())
}

#[test]
fn what_is_due_is_renewed_and_the_rest_stays() -> Outcome {
    let node = Node::new()?;
    let (apiserver, etcd) = (node.serial("apiserver.crt")?, node.serial("etcd/server.crt")?);
    let run = node.sandbox.run(&["renew", "--root", ".", "--only-due", "--yes", "-o", "json"])?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!(run.stderr, @r"
    2 certificates renewed; what was replaced is in /var/lib/certctl/backup/renew-20261122T120000Z
    warning: . is not this machine's root: restart kube-scheduler on the node
    ");
    let report: serde_json::Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(
        (&report["kind"], &report["dryRun"], &report["restarts"]),
        (&"Renewal".into(), &false.into(), &serde_json::json!([]))
    );
    let rows = report["certificates"].as_array().ok_or("no list")?;
    let actions: Vec<_> = rows.iter().map(|row| (row["name"].as_str(), row["action"].as_str())).collect();
    let wanted = [("etcd-server", "keep"), ("apiserver", "renew"), ("scheduler.conf", "renew")];
    assert_eq!(actions, wanted.map(|(name, action)| (Some(name), Some(action))));
    assert_eq!(rows[1]["serial"], node.serial("apiserver.crt")?);
    assert_eq!(rows[1]["oldSerial"], apiserver);
    assert_eq!(node.serial("etcd/server.crt")?, etcd);
    assert_eq!(node.torn()?, None);
    // Nothing is due any more.
    let again = node.sandbox.run(&["renew", "--root", ".", "--only-due", "--yes"])?;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), "nothing was renewed\n"));
    assert_eq!(rows[1]["serial"], node.serial("apiserver.crt")?);
    Ok(())
}

#[test]
fn without_a_yes_nothing_changes_and_the_command_to_run_is_named() -> Outcome {
    let node = Node::new()?;
    let before = node.picture()?;
    let run = node.sandbox.run(&["renew", "--root", ".", "apiserver"])?;
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("hint: run `certctl renew --root . apiserver --yes`"), "{}", run.stderr);
    assert_eq!(node.picture()?, before);
    Ok(())
}

#[test]
fn what_stands_in_the_way_is_refused_with_a_remedy_before_anything_changes() -> Outcome {
    let node = Node::new()?;
    fs::remove_file(node.sandbox.path("etc/kubernetes/pki/ca.key"))?;
    let before = node.picture()?;
    let run = node.sandbox.run(&["renew", "--root", ".", "--all", "--yes"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""));
    insta::assert_snapshot!(run.stderr, @r"
    error: 2 certificates cannot be renewed; nothing was changed
      caused by: apiserver: there is no /etc/kubernetes/pki/ca.key
      caused by: scheduler.conf: there is no /etc/kubernetes/pki/ca.key
    hint: have it signed where the CA is, with --csr-only and --import
    hint: to renew the others, name them
    ");
    assert_eq!(node.picture()?, before);
    let one = node.sandbox.run(&["renew", "--root", ".", "etcd-server", "--yes"])?;
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    Ok(())
}

#[test]
fn a_rotation_under_way_is_not_disturbed() -> Outcome {
    let node = Node::new()?;
    let other = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, DAY * 3650, NOW.parse()?)?;
    let bundle = node.ca.certificate().to_pem() + &other.certificate().to_pem();
    node.put("pki/ca.crt", bundle.as_bytes(), 0o644)?;
    fs::create_dir_all(node.sandbox.path("var/lib/certctl/authorities"))?;
    let run = node.sandbox.run(&["renew", "--root", ".", "--all", "--yes"])?;
    assert_eq!(run.code, Some(5));
    assert!(
        run.stderr.starts_with("error: a CA rotation is under way on this node; nothing was changed\n"),
        "{}",
        run.stderr
    );
    Ok(())
}

#[test]
fn wrong_usage_is_told() -> Outcome {
    let node = Node::new()?;
    let said = |arguments: &[&str]| node.sandbox.run(arguments).map(|run| (run.code, run.stderr));
    let (code, text) = said(&["renew", "--root", "."])?;
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = said(&["renew", "--root", ".", "apisrver"])?;
    assert!(code == Some(2) && text.contains("no certificate is called `apisrver`"), "{text}");
    let (code, text) = said(&["renew", "--root", ".", "front-proxy-client", "--yes"])?;
    assert!(code == Some(2) && text.contains("front-proxy-client is not on this node"), "{text}");
    let (code, text) = said(&["renew", "--root", ".", "--all", "--key-algorithm", "Ed25519"])?;
    assert!(code == Some(2) && text.contains("kubeadm cannot read Ed25519 keys"), "{text}");
    let (code, text) = said(&["renew", "--root", "none", "--all", "--yes"])?;
    assert!(code == Some(1) && text.contains("no certificate of a node below none"), "{text}");
    Ok(())
}

#[test]
fn requests_go_to_a_ca_elsewhere_and_its_certificates_come_back() -> Outcome {
    let node = Node::new()?;
    fs::remove_file(node.sandbox.path("etc/kubernetes/pki/ca.key"))?;
    let run = node.sandbox.run(&["renew", "--root", ".", "apiserver", "--csr-only", "out"])?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let empty = node.sandbox.run(&["renew", "--root", ".", "apiserver", "--import", "out", "--yes"])?;
    assert_eq!((empty.code, empty.stderr.as_str()), (Some(1), "error: out holds none of apiserver.crt\n"));
    let old = Certificate::first_from_pem(&fs::read(node.sandbox.path("etc/kubernetes/pki/apiserver.crt"))?)?;
    let key = PrivateKey::from_pem(&fs::read(node.sandbox.path("out/apiserver.key"))?)?;
    let new = node.ca.reissue(&old, key.spki_der(), DAY * 90, NOW.parse()?)?;
    node.sandbox.write("out/apiserver.crt", new.to_pem())?;
    let run = node.sandbox.run(&["renew", "--root", ".", "apiserver", "--import", "out", "--yes"])?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(node.serial("apiserver.crt")?, new.serial_hex());
    assert_eq!(node.torn()?, None);
    Ok(())
}

#[test]
fn no_output_contains_a_private_key() -> Outcome {
    let node = Node::new()?;
    let secret = String::from_utf8(fs::read(node.sandbox.path("etc/kubernetes/pki/ca.key"))?)?;
    let canary: Vec<&str> = secret.lines().filter(|line| !line.starts_with("---")).collect();
    for arguments in [["--dry-run", "-o", "json"], ["--yes", "-vvv", "-owide"], ["--yes", "-o", "yaml"]] {
        let run = node.sandbox.run(&[&["renew", "--root", ".", "--all"][..], &arguments[..]].concat())?;
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let said = run.stdout + &run.stderr;
        for secret in
            canary.iter().copied().chain(["PRIVATE KEY", "UFJJVkFURSBLRV", "BSSVZBVEUgS0VZ", "QUklWQVRFIEtFW"])
        {
            assert!(!said.contains(secret), "{said}");
        }
    }
    Ok(())
}
