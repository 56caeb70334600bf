//! `certctl check`: findings and exit codes.

use std::error::Error;

use crate::harness::Sandbox;
use crate::inspect::node;

type Outcome = Result<(), Box<dyn Error>>;

/// Exit code, stdout and stderr of a check of the node.
fn check(sandbox: &Sandbox, more: &[&str]) -> std::io::Result<(Option<i32>, String, String)> {
    let run = sandbox.run(&[&["check", "--root", "."], more].concat())?;
    Ok((run.code, run.stdout, run.stderr))
}

#[test]
fn nothing_found_is_zero() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let expected = (Some(0), "2 certificates checked, no finding\n".to_owned(), String::new());
    assert_eq!(check(&sandbox, &[])?, expected);
    Ok(())
}

#[test]
fn a_warning_is_three_unless_only_errors_fail() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let (code, stdout, stderr) = check(&sandbox, &["--expiring-within", "2d"])?;
    assert_eq!((code, stderr.as_str()), (Some(3), "error: found 1 warning\n"));
    insta::assert_snapshot!(stdout, @r"
    warning [expiring] /etc/kubernetes/pki/apiserver-kubelet-client.crt: the certificate expires at 2026-11-23T12:00:00Z, in 1d
        run `certctl renew apiserver-kubelet-client`
    ");
    for fail_on in ["error", "never"] {
        assert_eq!(check(&sandbox, &["--expiring-within", "2d", "--fail-on", fail_on])?.0, Some(0), "{fail_on}");
    }
    Ok(())
}

#[test]
fn an_error_is_four_unless_nothing_fails() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    sandbox.write("etc/kubernetes/pki/apiserver.crt", "no certificate")?;
    for fail_on in ["info", "warning", "error"] {
        let (code, _, stderr) = check(&sandbox, &["--fail-on", fail_on])?;
        assert_eq!((code, stderr.as_str()), (Some(4), "error: found 1 error\n"), "{fail_on}");
    }
    assert_eq!(check(&sandbox, &["--fail-on", "never"])?.0, Some(0));
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_an_error_even_when_nothing_fails() -> Outcome {
    let run = Sandbox::new()?.run(&["check", "none.crt", "--fail-on", "never"])?;
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), "error: 1 of 1 file could not be read\n"));
    Ok(())
}

#[test]
fn an_open_key_is_found_and_reported_to_ci() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let key = sandbox.path("etc/kubernetes/pki/apiserver-kubelet-client.key");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let (code, stdout, _) = check(&sandbox, &["-o", "junit"])?;
    assert_eq!(code, Some(4));
    assert!(stdout.contains("<testsuites tests=\"3\" failures=\"1\">"), "{stdout}");
    assert!(stdout.contains("<failure type=\"key-readable\""), "{stdout}");
    let (_, json, _) = check(&sandbox, &["-o", "json"])?;
    let report: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!((&report["kind"], &report["checked"]), (&"CertificateCheck".into(), &2.into()));
    assert_eq!(
        (&report["findings"][0]["id"], &report["findings"][0]["severity"]),
        (&"key-readable".into(), &"error".into())
    );
    Ok(())
}
