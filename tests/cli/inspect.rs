//! `certctl inspect` without a cluster.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certctl::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose};

use crate::harness::{NOW, Sandbox};

type Outcome = Result<(), Box<dyn Error>>;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A CA named `kubernetes`, ten years from [`NOW`].
fn authority() -> Result<CertificateAuthority, Box<dyn Error>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = rcgen::KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let model = certctl::pki::Certificate::first_from_pem(pem.as_bytes())?;
    Ok(CertificateAuthority::generate_like(&model, Some(KeyAlgorithm::EcdsaP256), DAY * 3650, NOW.parse()?)?)
}

/// A node's files: `ca.crt` and the apiserver's client certificate for kubelets, one day long.
pub(crate) fn node(sandbox: &Sandbox) -> Outcome {
    let ca = authority()?;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let now: Timestamp = NOW.parse()?;
    let leaf = ca.issue_client(
        "kube-apiserver-kubelet-client",
        &["kubeadm:cluster-admins".to_owned()],
        key.spki_der(),
        DAY,
        now,
    )?;
    sandbox.write("etc/kubernetes/pki/ca.crt", ca.certificate().to_pem())?;
    sandbox.write("etc/kubernetes/pki/apiserver-kubelet-client.crt", leaf.to_pem())?;
    sandbox.write_private("etc/kubernetes/pki/apiserver-kubelet-client.key", key.to_pem().as_bytes())
}

#[test]
fn a_nodes_files_are_shown_as_kubeadm_shows_them() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let run = sandbox.run(&["inspect", "--root", "."])?;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(run.stdout, @r"
    CERTIFICATE                EXPIRES                  RESIDUAL-TIME   CA
    apiserver-kubelet-client   Nov 23, 2026 12:00 UTC   1d              ca

    CERTIFICATE AUTHORITY   EXPIRES                  RESIDUAL-TIME   CA
    ca                      Nov 19, 2036 12:00 UTC   10y             ca
    ");
    Ok(())
}

#[test]
fn one_broken_file_hides_nothing_else() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    sandbox
        .write("etc/kubernetes/pki/apiserver.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    let run = sandbox.run(&["inspect", "--root", ".", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_str(&run.stdout)?;
    let rows = report["certificates"].as_array().ok_or("no list")?;
    let problem = |name: &str| rows.iter().find(|row| row["name"] == name).map(|row| row["problem"].is_string());
    assert_eq!(problem("apiserver"), Some(true));
    assert_eq!(problem("ca"), Some(false));
    assert_eq!(problem("apiserver-kubelet-client"), Some(false));
    assert_eq!(run.code, Some(0));
    Ok(())
}

#[test]
fn a_file_that_is_not_there_fails_the_command_after_the_others_were_shown() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let run = sandbox.run(&["inspect", "etc/kubernetes/pki/ca.crt", "none.crt"])?;
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("CN=kubernetes") && run.stdout.contains("none.crt"), "{}", run.stdout);
    assert_eq!(run.stderr, "error: 1 of 2 files could not be read\n");
    Ok(())
}

#[test]
fn no_output_contains_a_private_key() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    for format in ["table", "wide", "json", "yaml", "name", "jsonpath={.certificates}", "prom", "markdown", "junit"] {
        let key = "etc/kubernetes/pki/apiserver-kubelet-client.key";
        let run = sandbox.run(&["inspect", "--root", ".", key, "-o", format])?;
        assert_eq!(run.code, Some(0), "{format}: {}", run.stderr);
        let said = run.stdout + &run.stderr;
        // `PRIVATE KEY` in plain, and its base64 in the three alignments.
        for canary in ["PRIVATE KEY", "UFJJVkFURSBLRV", "BSSVZBVEUgS0VZ", "QUklWQVRFIEtFW"] {
            assert!(!said.contains(canary), "{format}: {said}");
        }
    }
    Ok(())
}

#[test]
fn standard_input_and_folders_are_read_like_files() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let pem = std::fs::read(sandbox.path("etc/kubernetes/pki/ca.crt"))?;
    let names = ["-o", "jsonpath={range .certificates[*]}{.subject}{\"\\n\"}{end}"];
    let run = sandbox.run_reading(&["inspect", "-", names[0], names[1]], &pem)?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "CN=kubernetes\n\n"), "{}", run.stderr);
    let run = sandbox.run(&["inspect", "etc", names[0], names[1]])?;
    let both = "CN=kube-apiserver-kubelet-client,O=kubeadm:cluster-admins\nCN=kubernetes\n\n";
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), both), "{}", run.stderr);
    Ok(())
}

#[test]
fn metrics_say_in_which_entry_of_a_kubeconfig_a_certificate_stands() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let encoded = |file: &str| Ok::<_, std::io::Error>(STANDARD.encode(std::fs::read(sandbox.path(file))?));
    let ca = encoded("etc/kubernetes/pki/ca.crt")?;
    let client = encoded("etc/kubernetes/pki/apiserver-kubelet-client.crt")?;
    sandbox.write(
        "jane.conf",
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: prod, user: jane}}}}]\n\
             clusters: [{{name: prod, cluster: {{certificate-authority-data: {ca}}}}}]\n\
             users: [{{name: jane, user: {{client-certificate-data: {client}}}}}]\n"
        ),
    )?;
    let run = sandbox.run(&["inspect", "jane.conf", "-o", "prom"])?;
    let ends = run.stdout.lines().filter_map(|line| line.strip_prefix("x509_cert_not_after"));
    let entries: Vec<_> = ends.filter_map(|line| line.split_once(",filename")).map(|(entry, _)| entry).collect();
    let wanted = [r#"{embedded_key="jane",embedded_kind="user""#, r#"{embedded_key="prod",embedded_kind="cluster""#];
    assert_eq!(entries, wanted, "{}{}", run.stdout, run.stderr);
    Ok(())
}

#[test]
fn a_pipe_that_nobody_writes_to_is_not_waited_for() -> Outcome {
    let sandbox = Sandbox::new()?;
    nix::unistd::mkfifo(&sandbox.path("pipe.crt"), nix::sys::stat::Mode::S_IRWXU)?;
    let run = sandbox.run(&["inspect", "pipe.crt"])?;
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), "error: 1 of 1 file could not be read\n"));
    assert!(run.stdout.contains("it is a named pipe, not a file"), "{}", run.stdout);
    Ok(())
}

#[test]
fn an_endpoint_that_does_not_answer_is_named() -> Outcome {
    // Bound and closed again: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let run = Sandbox::new()?.run(&["inspect", &address])?;
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains(&address) && run.stdout.contains("does not answer"), "{}", run.stdout);
    Ok(())
}

#[test]
fn the_map_says_who_checks_each_certificate() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let run = sandbox.run(&["inspect", "--root", ".", "--map"])?;
    insta::assert_snapshot!(run.stdout, @r"
    CERTIFICATE                SIDE     PRESENTED BY     CHECKED BY   AGAINST                     TRUSTED
    apiserver-kubelet-client   client   kube-apiserver   kubelet      clientCAFile (pki/ca.crt)   yes
    ");
    Ok(())
}

#[test]
fn a_format_that_makes_no_sense_is_wrong_usage() -> Outcome {
    let sandbox = Sandbox::new()?;
    let run = sandbox.run(&["version", "-o", "junit"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.starts_with("error: -o junit makes no sense for a Version\n"), "{}", run.stderr);
    let run = sandbox.run(&["version", "-o", "jsonpath={.a"])?;
    assert_eq!(run.code, Some(2));
    let run = sandbox.run(&["version", "-o", "tabel"])?;
    assert!(run.code == Some(2) && run.stderr.contains("table"), "{}", run.stderr);
    Ok(())
}

#[test]
fn without_a_cluster_it_says_what_was_tried() -> Outcome {
    let run = Sandbox::new()?.run(&["inspect"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.starts_with("error: no cluster to talk to: "), "{}", run.stderr);
    assert!(run.stderr.contains("hint: on a node, `certctl inspect --root /` needs no API server"), "{}", run.stderr);
    Ok(())
}
