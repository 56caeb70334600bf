//! `certctl get-credentials` from the files of a control-plane node, and the plugin that its `--exec` entries run.

use std::error::Error;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use certctl::pki::{Certificate, CertificateAuthority, Choice, KeyAlgorithm, Kubeconfig};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::{NOW, Run, Sandbox};

type Outcome = Result<(), Box<dyn Error>>;

/// A control-plane node below `node/`, whose CA is valid for ten years from [`NOW`].
fn node(sandbox: &Sandbox) -> Result<CertificateAuthority, Box<dyn Error>> {
    let decade = SignedDuration::from_hours(24 * 3650);
    let ca = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, decade, NOW.parse()?)?;
    sandbox.write("node/etc/kubernetes/pki/ca.crt", ca.certificate().to_pem())?;
    sandbox.write("node/etc/kubernetes/pki/ca.key", ca.key().to_pem().as_bytes())?;
    let conf = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "prod", "cluster": { "server": "https://10.0.0.1:6443" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "prod", "user": "u" } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
    });
    sandbox.write("node/etc/kubernetes/admin.conf", conf.to_string())?;
    Ok(ca)
}

fn get(sandbox: &Sandbox, more: &[&str]) -> std::io::Result<Run> {
    sandbox.run(&[&["get-credentials", "--root", "node"], more].concat())
}

fn read(sandbox: &Sandbox, name: &str) -> std::io::Result<String> {
    std::fs::read_to_string(sandbox.path(name))
}

#[test]
fn a_new_kubeconfig_is_made_for_its_owner_only_and_can_be_used() -> Outcome {
    let sandbox = Sandbox::new()?;
    let ca = node(&sandbox)?;
    let run = get(&sandbox, &["jane", "--group", "dev", "--group", "ops", "--lifetime", "8h"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    let said: Vec<&str> = run.stderr.lines().collect();
    assert!(said[0].starts_with("`CN=jane,O=ops,O=dev` until 2026-11-22T20:00:00Z, of CA "), "{}", run.stderr);
    assert_eq!(said[1..], ["context `jane@prod` is in DIR/.kube/config", "it is the current one"]);
    let conf = Kubeconfig::merged(&[read(&sandbox, ".kube/config")?], &Choice::default())?;
    let certificate = conf.client_certificate().ok_or("no certificate")?;
    assert!(certificate.signed_by(ca.certificate()) && conf.client_key().is_some_and(|key| key.matches(&certificate)));
    assert_eq!((conf.server(), conf.ca_data()?), ("https://10.0.0.1:6443", vec![ca.certificate().clone()]));
    let mode = std::fs::metadata(sandbox.path(".kube/config"))?.permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    Ok(())
}

#[test]
fn on_stdout_it_is_a_whole_kubeconfig_and_nothing_else_holds_the_key() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let run = get(&sandbox, &["jane", "-f", "-", "--context-name", "here"])?;
    assert_eq!(run.code, Some(0));
    let conf = Kubeconfig::merged(&[run.stdout.as_str()], &Choice::default())?;
    assert_eq!((conf.context_name(), conf.user_name(), conf.cluster_name()), ("here", "jane@prod", "prod"));
    assert!(!sandbox.path(".kube").exists());
    assert!(!run.stderr.contains("KEY") && !run.stderr.contains("LS0t"), "{}", run.stderr);
    let both = get(&sandbox, &["jane", "-f", "-", "-o", "json"])?;
    assert_eq!((both.code, both.stdout.as_str()), (Some(2), ""));
    Ok(())
}

#[test]
fn another_entry_of_the_name_is_refused_in_a_script_and_overwritten_when_told_so() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let mine = "# mine\nclusters: []\nusers:\n- name: jane@prod\n  user: {token: secret}\ncurrent-context: other\n";
    sandbox.write("config", mine)?;
    let refused = get(&sandbox, &["jane", "-f", "config"])?;
    assert_eq!((refused.code, read(&sandbox, "config")?.as_str()), (Some(2), mine));
    insta::assert_snapshot!(refused.stderr, @r"
    error: this needs a confirmation: config has another user `jane@prod` (token): overwrite it?
      caused by: stdin is not a terminal
    hint: run `certctl get-credentials --root node jane -f config --overwrite-existing`
    ");
    assert!(!sandbox.path("node/var/lib/certctl/journal").exists(), "nothing was signed for nothing");
    let done = get(&sandbox, &["jane", "-f", "config", "--overwrite-existing"])?;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let after = read(&sandbox, "config")?;
    assert!(after.starts_with("# mine\nclusters: \n- cluster:") && !after.contains("secret"), "{after}");
    assert!(after.contains("current-context: other\n"), "{after}");
    assert!(done.stderr.contains("use it with `kubectl --kubeconfig config --context jane@prod`"), "{}", done.stderr);
    Ok(())
}

#[test]
fn the_list_of_kubeconfig_is_written_as_kubectl_does() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    sandbox.write("b", "current-context: x\n")?;
    sandbox.write("c", "clusters:\n- name: prod\n  cluster: {server: 'https://old'}\n")?;
    let list = ["a", "b", "c"].map(|name| sandbox.path(name).display().to_string()).join(":");
    let arguments = ["get-credentials", "--root", "node", "jane", "--overwrite-existing"];
    let run = sandbox.run_with(&[("KUBECONFIG", &list)], &arguments)?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!sandbox.path("a").exists());
    assert!(read(&sandbox, "b")?.contains("name: jane@prod") && !read(&sandbox, "b")?.contains("clusters"));
    assert!(read(&sandbox, "c")?.contains("https://10.0.0.1:6443"));
    Ok(())
}

#[test]
fn system_masters_needs_to_break_the_glass_and_leaves_a_trace() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    let masters = ["jane", "--group", "system:masters"];
    let refused = get(&sandbox, &masters)?;
    assert_eq!(refused.code, Some(5));
    assert!(refused.stderr.contains("no authorizer can deny it anything") && refused.stderr.contains("--break-glass"));
    let by_api = sandbox.run(&[&["get-credentials", "--break-glass"], &masters[..]].concat())?;
    assert_eq!(by_api.code, Some(5));
    assert!(
        by_api.stderr.contains("the CSR API signs for no member") && by_api.stderr.contains("--root / --break-glass")
    );
    let renewing = get(&sandbox, &[&masters[..], &["--break-glass", "--exec"]].concat())?;
    assert_eq!(renewing.code, Some(5), "{}", renewing.stderr);
    let done = get(&sandbox, &[&masters[..], &["--break-glass"]].concat())?;
    assert_eq!(done.code, Some(0));
    assert!(
        done.stderr.contains("warning: `jane` will be in system:masters: until it ends in 24h, nothing takes"),
        "{}",
        done.stderr
    );
    let journal = read(&sandbox, "node/var/lib/certctl/journal")?;
    let line: Value = serde_json::from_str(&journal)?;
    assert_eq!((&line["at"], &line["breakGlass"]), (&json!(NOW), &json!(true)));
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_signed() -> Outcome {
    let sandbox = Sandbox::new()?;
    node(&sandbox)?;
    for wrong in [
        &["--context", "x", "jane"][..],
        &["--user", "x", "jane"],
        &["", "--group", "dev"],
        &["a\nb"],
        &["jane", "--group", " x"],
    ] {
        let run = get(&sandbox, wrong)?;
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{wrong:?}: {}", run.stderr);
    }
    let away = sandbox.run(&["get-credentials", "jane"])?;
    assert_eq!(away.code, Some(1));
    assert!(away.stderr.contains("no cluster to talk to") && away.stderr.contains("`--root /` needs no API server"));
    assert!(!sandbox.path("node/var").exists() && !sandbox.path(".kube").exists());
    Ok(())
}

#[test]
fn the_document_names_everything_but_the_key() -> Outcome {
    let sandbox = Sandbox::new()?;
    let ca = node(&sandbox)?;
    let run = get(&sandbox, &["jane", "--group", "dev", "-o", "json"])?;
    let document: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!((&document["apiVersion"], &document["kind"]), (&json!("certctl.dev/v1alpha1"), &json!("Credential")));
    assert_eq!((&document["user"], &document["groups"]), (&json!("jane"), &json!(["dev"])));
    assert_eq!((&document["notAfter"], &document["context"]), (&json!("2026-11-23T12:00:00Z"), &json!("jane@prod")));
    assert_eq!(document["trust"], json!([ca.certificate().ca_id()]));
    assert!(!run.stdout.contains("KEY") && !run.stdout.contains("LS0t"));
    assert_eq!(run.stderr, "");
    Ok(())
}

/// Runs the plugin as a client would that read the kubeconfig.
fn plugin(sandbox: &Sandbox, conf: &Value, now: &str) -> Result<(Option<i32>, String, String), Box<dyn Error>> {
    let exec = &conf["users"][0]["user"]["exec"];
    let arguments: Vec<&str> = exec["args"].as_array().ok_or("no args")?.iter().filter_map(Value::as_str).collect();
    let cluster = &conf["clusters"][0]["cluster"];
    let info = json!({
        "apiVersion": exec["apiVersion"], "kind": "ExecCredential", "spec": { "interactive": false, "cluster": cluster },
    });
    let output = Command::new(exec["command"].as_str().ok_or("no command")?)
        .args(arguments)
        .env_clear()
        .env("HOME", sandbox.path(""))
        .env("CERTCTL_TEST_NOW", now)
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn an_exec_entry_gives_the_credential_from_the_cache_until_it_ends() -> Outcome {
    let sandbox = Sandbox::new()?;
    let ca = node(&sandbox)?;
    let run = get(&sandbox, &["jane", "--group", "dev", "--exec", "-f", "config"])?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = read(&sandbox, "config")?;
    assert!(!text.contains("client-key-data"), "{text}");
    // It is JSON's superset; the server is one that nobody listens at.
    let conf: Value = serde_saphyr::from_str(&text.replace("10.0.0.1:6443", "127.0.0.1:1"))?;
    let exec = &conf["users"][0]["user"]["exec"];
    assert_eq!((&exec["interactiveMode"], &exec["provideClusterInfo"]), (&json!("Never"), &json!(true)));

    let (code, stdout, stderr) = plugin(&sandbox, &conf, NOW)?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let given: Value = serde_json::from_str(&stdout)?;
    assert_eq!(
        (&given["apiVersion"], &given["kind"]),
        (&json!("client.authentication.k8s.io/v1"), &json!("ExecCredential"))
    );
    let status = &given["status"];
    let certificate =
        Certificate::first_from_pem(status["clientCertificateData"].as_str().unwrap_or_default().as_bytes())?;
    assert!(certificate.signed_by(ca.certificate()));
    let key = certctl::pki::PrivateKey::from_pem(status["clientKeyData"].as_str().unwrap_or_default().as_bytes())?;
    assert!(key.matches(&certificate));
    assert_eq!(
        status["expirationTimestamp"], "2026-11-23T07:11:00Z",
        "four fifths of 24 h and the five minutes before"
    );

    let (code, stdout, stderr) = plugin(&sandbox, &conf, "2026-11-23T08:00:00Z")?;
    assert_eq!(code, Some(0), "{stderr}");
    let late: Value = serde_json::from_str(&stdout)?;
    assert_eq!(late["status"]["clientCertificateData"], status["clientCertificateData"]);
    assert!(
        stderr.starts_with("warning: the credential is not renewed yet: cannot create a certificate signing request"),
        "{stderr}"
    );

    let (code, stdout, stderr) = plugin(&sandbox, &conf, "2026-11-23T12:00:01Z")?;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("is valid from 2026-11-22T11:55:00Z to 2026-11-23T12:00:00Z only"), "{stderr}");

    let again = get(&sandbox, &["jane", "--group", "dev", "--exec", "-f", "config"])?;
    assert_eq!((again.code, read(&sandbox, "config")?), (Some(0), text), "the entry is there: nobody is asked");
    Ok(())
}

#[test]
fn the_plugin_says_who_runs_it() -> Outcome {
    let run = Sandbox::new()?.run(&["credential-plugin", "--credential", "jane"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(run.stderr, @r"
    error: nobody called who wants a credential: KUBERNETES_EXEC_INFO is not set
    hint: kubectl runs this; use the kubeconfig with it
    ");
    Ok(())
}
