//! What every command shares.

use std::io;

use crate::harness::Sandbox;

#[test]
fn wrong_usage_is_exit_code_two_and_suggests_the_command() -> io::Result<()> {
    let run = Sandbox::new()?.run(&["inspcet"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("inspect"), "{}", run.stderr);
    Ok(())
}

#[test]
fn as_a_kubectl_plugin_usage_says_kubectl_certctl() -> io::Result<()> {
    let sandbox = Sandbox::new()?;
    let plugin = sandbox.path("kubectl-certctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_certctl"), &plugin)?;
    let run = sandbox.run_as(&plugin, &["inspect", "--help"])?;
    assert!(run.stdout.contains("Usage: kubectl certctl inspect"), "{}", run.stdout);
    Ok(())
}

#[test]
fn version_is_a_versioned_document() -> io::Result<()> {
    let run = Sandbox::new()?.run(&["version", "-o", "json"])?;
    let version: serde_json::Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(version["apiVersion"], "certctl.dev/v1alpha1");
    assert_eq!(version["kind"], "Version");
    assert_eq!(version["generatedAt"], crate::harness::NOW);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn every_shell_has_a_completion_script() -> io::Result<()> {
    let sandbox = Sandbox::new()?;
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let run = sandbox.run(&["completion", shell])?;
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.contains("rotate-ca") && run.stdout.contains("inspect"), "{shell}: {}", run.stdout);
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_failure() -> io::Result<()> {
    let certctl = env!("CARGO_BIN_EXE_certctl");
    // `true` reads nothing; the script is longer than a pipe holds only in sum, so the loop makes the pipe break for sure.
    let script = format!(
        "set -o pipefail; {{ for i in 1 2 3 4 5 6 7 8 9; do {certctl} completion bash || exit 9; done; }} | true"
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output()?;
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    Ok(())
}
