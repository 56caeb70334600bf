//! What the binary prints with `-o json` is what the schema says that the same binary prints for it.

use std::error::Error;

use serde_json::Value;

use crate::conformance::conforms;
use crate::harness::Sandbox;
use crate::repair::node;

/// The documents that no cluster is needed for.
const DOCUMENTS: [(&str, &[&str]); 8] = [
    ("Version", &["version"]),
    ("CertificateList", &["inspect", "--root", "."]),
    ("CertificateMap", &["inspect", "--root", ".", "--map"]),
    ("CertificateCheck", &["check", "--root", ".", "--fail-on", "never"]),
    ("Diagnosis", &["diagnose", "--root", "."]),
    ("Renewal", &["renew", "--root", ".", "--all", "--dry-run"]),
    ("Repair", &["repair", "--root", ".", "--dry-run"]),
    ("Credential", &["get-credentials", "--root", ".", "jane", "--group", "dev", "--server", "https://10.0.0.1:6443"]),
];

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Result<Value, Box<dyn Error>> {
    let run = sandbox.run(arguments)?;
    serde_json::from_str(&run.stdout).map_err(|error| format!("{arguments:?}: {error}: {}", run.stderr).into())
}

#[test]
fn what_is_printed_fits_its_schema_and_no_other() -> Result<(), Box<dyn Error>> {
    let sandbox = node()?.sandbox;
    for (kind, arguments) in DOCUMENTS {
        let document = json(&sandbox, &[arguments, &["-o", "json"]].concat())?;
        for (other, _) in DOCUMENTS {
            let fits = conforms(&json(&sandbox, &["schema", other])?, &document);
            assert_eq!(fits.is_ok(), kind == other, "{kind} against {other}: {fits:?}");
        }
    }
    Ok(())
}

#[test]
fn an_unknown_kind_is_refused_with_those_that_there_are() -> std::io::Result<()> {
    let run = Sandbox::new()?.run(&["schema", "Certificate"])?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    for kind in ["CertificateList", "Plan", "CARotationStatus", "RotationEvent", "Version"] {
        assert!(run.stderr.contains(kind), "{kind}: {}", run.stderr);
    }
    Ok(())
}
