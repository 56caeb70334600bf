//! `certctl diagnose` without a cluster: marks, groups, remedies and exit codes.

use std::error::Error;

use crate::harness::Sandbox;
use crate::inspect::node;

type Outcome = Result<(), Box<dyn Error>>;

/// Exit code, stdout and stderr of a diagnosis of the node.
fn diagnose(sandbox: &Sandbox, more: &[&str]) -> std::io::Result<(Option<i32>, String, String)> {
    let run = sandbox.run(&[&["diagnose", "--root", "."], more].concat())?;
    Ok((run.code, run.stdout, run.stderr))
}

#[test]
fn everything_satisfied_is_zero_and_is_shown() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let (code, stdout, stderr) = diagnose(&sandbox, &["--group", "certificates,authorities", "--group", "trust"])?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(stdout, @r"
    authorities
      + ca [validity files usage alone]

    certificates
      + apiserver-kubelet-client [validity files issuer key usage]

    trust
      + apiserver-kubelet-client (client) to kubelet [verified] its signer is in clientCAFile (pki/ca.crt)

    10 items: 10 satisfied, 0 warnings, 0 failed, 0 not known
    ");
    Ok(())
}

#[test]
fn what_is_not_known_counts_as_a_warning() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let (code, stdout, stderr) = diagnose(&sandbox, &[])?;
    assert_eq!((code, stderr.as_str()), (Some(3), "error: found 1 unknown item\n"));
    assert!(
        stdout.contains("  ? kubelet config [renewal] /var/lib/kubelet/config.yaml cannot be read\n      look whether"),
        "{stdout}"
    );
    assert_eq!(diagnose(&sandbox, &["--fail-on", "error"])?.0, Some(0));
    Ok(())
}

#[test]
fn a_cross_is_four_and_has_its_remedy_and_leaves_the_ticks() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let key = sandbox.path("etc/kubernetes/pki/apiserver-kubelet-client.key");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let chosen = ["--group", "certificates"];
    let (code, stdout, stderr) = diagnose(&sandbox, &chosen)?;
    assert_eq!((code, stderr.as_str()), (Some(4), "error: found 1 failed item\n"));
    insta::assert_snapshot!(stdout, @r"
    certificates
      + apiserver-kubelet-client [validity issuer key usage]
      x apiserver-kubelet-client [files] it holds a private key and has mode 0644: everybody on the machine can read it
          run `chmod 0600 /etc/kubernetes/pki/apiserver-kubelet-client.key`, and renew what the key is for if others were on the machine

    5 items: 4 satisfied, 0 warnings, 1 failed, 0 not known
    ");
    let (_, json, _) = diagnose(&sandbox, &[&chosen[..], &["-o", "json"]].concat())?;
    let report: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!((&report["kind"], &report["summary"]["failed"]), (&"Diagnosis".into(), &1.into()));
    let files = report["items"].as_array().and_then(|items| items.iter().find(|item| item["check"] == "files"));
    assert_eq!(files.map(|item| (&item["group"], &item["verdict"])), Some((&"certificates".into(), &"failed".into())));
    let (_, junit, _) = diagnose(&sandbox, &[&chosen[..], &["-o", "junit"]].concat())?;
    assert!(junit.contains("<testsuites tests=\"5\" failures=\"1\">"), "{junit}");
    let (_, names, _) = diagnose(&sandbox, &[&chosen[..], &["-o", "name"]].concat())?;
    assert_eq!(names.lines().next(), Some("certificates/apiserver-kubelet-client/validity"));
    Ok(())
}

#[test]
fn a_utf8_terminal_gets_ticks() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let run = sandbox.run_with(&[("LANG", "C.UTF-8")], &["diagnose", "--root", ".", "--group", "authorities"])?;
    assert!(run.stdout.starts_with("authorities\n  ✓ ca [validity"), "{}", run.stdout);
    Ok(())
}

#[test]
fn a_group_that_is_none_is_answered_with_the_nearest_and_one_of_the_cluster_with_what_to_do() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let (code, _, stderr) = diagnose(&sandbox, &["--group", "authorites"])?;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("'authorites'") && stderr.contains("'authorities'"), "{stderr}");
    let (code, stdout, stderr) = diagnose(&sandbox, &["--group", "nodes"])?;
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert_eq!(
        stderr,
        "error: group nodes cannot be judged by the files of a node\nhint: leave --root out to ask the cluster, or choose other groups\n"
    );
    Ok(())
}
