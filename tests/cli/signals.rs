//! Ctrl-C and SIGTERM while a command waits for an answer.

use std::error::Error;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::harness::Sandbox;

/// Starts `inspect` against a server that never answers, sends the signal once it is connected, and gives code and stderr.
fn interrupted_by(signal: &str) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let sandbox = Sandbox::new()?;
    let server = TcpListener::bind("127.0.0.1:0")?;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", server.local_addr()?)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    });
    let file = sandbox.write("kubeconfig", kubeconfig.to_string())?;
    let child = Command::new(env!("CARGO_BIN_EXE_certctl"))
        .arg("inspect")
        .arg("--kubeconfig")
        .arg(file)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()?;
    // The connection shows that the command is under way.
    let connection = server.accept()?;
    Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status()?;
    let output = child.wait_with_output()?;
    drop(connection);
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[test]
fn ctrl_c_is_exit_code_130() -> Result<(), Box<dyn Error>> {
    assert_eq!(interrupted_by("INT")?, (Some(130), "error: interrupted\n".into()));
    Ok(())
}

#[test]
fn sigterm_is_exit_code_143() -> Result<(), Box<dyn Error>> {
    assert_eq!(interrupted_by("TERM")?, (Some(143), "error: interrupted\n".into()));
    Ok(())
}
