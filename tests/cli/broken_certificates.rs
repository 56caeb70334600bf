//! Certificates that `openssl` has made wrong, on a node: which findings `certctl check` has for each.

use std::error::Error;
use std::process::Command;

use jiff::Timestamp;

use crate::harness::Sandbox;

type Outcome = Result<(), Box<dyn Error>>;

const PKI: &str = "etc/kubernetes/pki";
const EC: &str = "EC -pkeyopt ec_paramgen_curve:P-256";
const RSA: &str = "RSA -pkeyopt rsa_keygen_bits:2048";
const RSA_1024: &str = "RSA -pkeyopt rsa_keygen_bits:1024";

/// A CA and the API server's certificate; each case has one thing wrong with it.
struct Case {
    name: &'static str,
    ca_key: &'static str,
    ca_extensions: &'static str,
    ca_options: &'static str,
    key: &'static str,
    extensions: &'static str,
    options: &'static str,
    /// What else is done to the files, by the shell.
    then: &'static str,
    /// Severity, id and file of each finding.
    found: &'static [&'static str],
}

const GOOD: Case = Case {
    name: "as it should be",
    ca_key: EC,
    ca_extensions: "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,digitalSignature\nsubjectKeyIdentifier=hash\n",
    ca_options: "-days 3650",
    key: EC,
    extensions: "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\nsubjectAltName=DNS:kubernetes\n",
    options: "-days 365",
    then: "true",
    found: &[],
};

const CASES: &[Case] = &[
    GOOD,
    Case {
        name: "RSA-PSS",
        ca_key: RSA,
        options: "-days 365 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32",
        ..GOOD
    },
    Case { name: "RSA-2048 under RSA-2048", ca_key: RSA, key: RSA, ..GOOD },
    Case { name: "no extended key usage allows all", extensions: "basicConstraints=CA:FALSE\n", ..GOOD },
    Case {
        name: "RSA-1024",
        key: RSA_1024,
        found: &["error key-unreadable apiserver.crt", "warning weak-key apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "RSA-512",
        key: "RSA -pkeyopt rsa_keygen_bits:512",
        found: &["error key-unreadable apiserver.crt", "error weak-key apiserver.crt"],
        ..GOOD
    },
    Case { name: "a CA of RSA-1024", ca_key: RSA_1024, found: &["warning weak-key ca.crt"], ..GOOD },
    Case {
        name: "a curve that Go does not know",
        key: "EC -pkeyopt ec_paramgen_curve:secp256k1",
        found: &["error key-unreadable apiserver.crt", "warning weak-key apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "a CA on a curve that Go does not know",
        ca_key: "EC -pkeyopt ec_paramgen_curve:secp256k1",
        found: &["warning weak-key ca.crt"],
        ..GOOD
    },
    Case {
        name: "DSA",
        then: "openssl dsaparam -noout -genkey -out apiserver.key 1024
               openssl req -new -key apiserver.key -subj /CN=kube-apiserver -out apiserver.csr
               openssl x509 -req -in apiserver.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile leaf.cnf -days 365 -out apiserver.crt",
        found: &["error key-unreadable apiserver.crt", "error weak-key apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "a CA of DSA",
        then: "openssl dsaparam -noout -genkey -out ca.key 1024
               openssl req -new -x509 -key ca.key -config ca.cnf -days 3650 -out ca.crt
               openssl x509 -req -in apiserver.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile leaf.cnf -days 365 -out apiserver.crt",
        found: &["error weak-key ca.crt"],
        ..GOOD
    },
    Case { name: "SHA-1", options: "-days 365 -sha1", found: &["error weak-signature apiserver.crt"], ..GOOD },
    Case {
        name: "MD5",
        ca_key: RSA,
        options: "-days 365 -md5",
        found: &["error weak-signature apiserver.crt"],
        ..GOOD
    },
    Case { name: "a CA with SHA-1", ca_options: "-days 3650 -sha1", found: &["info weak-signature ca.crt"], ..GOOD },
    Case {
        name: "a server with a client's usage",
        extensions: "extendedKeyUsage=clientAuth\n",
        found: &["error wrong-usage apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "a usage that is neither",
        extensions: "extendedKeyUsage=codeSigning\n",
        found: &["error wrong-usage apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "a CA that says it is none",
        ca_extensions: "basicConstraints=critical,CA:FALSE\n",
        found: &["error ca-without-ca-bit ca.crt"],
        ..GOOD
    },
    Case {
        name: "a CA that does not say it",
        ca_extensions: "subjectKeyIdentifier=hash\n",
        found: &["error ca-without-ca-bit ca.crt"],
        ..GOOD
    },
    Case { name: "longer than its CA", options: "-days 4000", found: &["warning outlives-ca apiserver.crt"], ..GOOD },
    Case {
        name: "another CA of the same name",
        then: "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key && \
               openssl req -new -x509 -key ca.key -config ca.cnf -days 3650 -out ca.crt",
        found: &["error foreign-issuer apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "another key",
        then: "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out apiserver.key",
        found: &["error key-mismatch apiserver.crt"],
        ..GOOD
    },
    Case { name: "no key", then: "rm apiserver.key", found: &["error key-missing apiserver.crt"], ..GOOD },
    Case {
        name: "a key behind a passphrase",
        then: "openssl pkcs8 -topk8 -in apiserver.key -passout pass:x -out k && mv k apiserver.key",
        found: &["error key-unreadable apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "half a file",
        then: "head -c 300 apiserver.crt > k && mv k apiserver.crt",
        found: &["error unreadable apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "a key in the place of the certificate",
        then: "cp apiserver.key apiserver.crt; chmod 0600 apiserver.crt",
        found: &["error unreadable apiserver.crt"],
        ..GOOD
    },
    Case {
        name: "an open key",
        then: "chmod 0644 apiserver.key",
        found: &["error key-readable apiserver.key"],
        ..GOOD
    },
];

/// Makes the files of a case below the sandbox.
fn make(sandbox: &Sandbox, case: &Case) -> Outcome {
    let ca = format!(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=kubernetes\n[ext]\n{}",
        case.ca_extensions
    );
    sandbox.write(&format!("{PKI}/ca.cnf"), ca)?;
    sandbox.write(&format!("{PKI}/leaf.cnf"), case.extensions)?;
    let script = format!(
        "umask 077
         openssl genpkey -algorithm {} -out ca.key
         openssl req -new -x509 -key ca.key -config ca.cnf {} -out ca.crt
         openssl genpkey -algorithm {} -out apiserver.key
         openssl req -new -key apiserver.key -subj /CN=kube-apiserver -out apiserver.csr
         openssl x509 -req -in apiserver.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile leaf.cnf {} -out apiserver.crt
         {}
         rm ca.key",
        case.ca_key, case.ca_options, case.key, case.options, case.then
    );
    let made = Command::new("/bin/sh").args(["-ec", &script]).current_dir(sandbox.path(PKI)).output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "(this test needs openssl) {}: {said}", case.name);
    Ok(())
}

/// What `command` says of the node.
fn report(sandbox: &Sandbox, command: &str) -> Result<serde_json::Value, Box<dyn Error>> {
    // openssl takes the time of the machine.
    let now = Timestamp::now().to_string();
    let run = sandbox.run_with(&[("CERTCTL_TEST_NOW", &now)], &[command, "--root", ".", "-o", "json"])?;
    Ok(serde_json::from_str(&run.stdout)?)
}

/// Severity, id and file of each finding in a document of `command`, in order.
fn findings(sandbox: &Sandbox, command: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let report = report(sandbox, command)?;
    let word = |finding: &serde_json::Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> = Vec::new();
    for finding in report["findings"].as_array().ok_or("no list")? {
        let object = word(finding, "object");
        let file = object.rsplit('/').next().unwrap_or_default();
        found.push(format!("{} {} {file}", word(finding, "severity"), word(finding, "id")));
    }
    found.sort();
    Ok(found)
}

#[test]
fn each_mistake_has_its_finding_and_no_other() -> Outcome {
    let mut wrong = Vec::new();
    for case in CASES {
        let sandbox = Sandbox::new()?;
        make(&sandbox, case)?;
        let (checked, inspected) = (findings(&sandbox, "check")?, findings(&sandbox, "inspect")?);
        assert_eq!(checked, inspected, "{}", case.name);
        if checked != case.found {
            wrong.push(format!("{}: found {checked:?}, expected {:?}", case.name, case.found));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_dsa_key_is_shown_by_its_name_with_what_is_wrong_with_it() -> Outcome {
    let case = CASES.iter().find(|case| case.name == "DSA").ok_or("no such case")?;
    let sandbox = Sandbox::new()?;
    make(&sandbox, case)?;
    let report = report(&sandbox, "inspect")?;
    let of = |list: &str, field: &str, value: &str| {
        report[list].as_array().and_then(|all| all.iter().find(|one| one[field] == value)).cloned().unwrap_or_default()
    };
    let row = of("certificates", "name", "apiserver");
    assert_eq!((&row["subject"], &row["keyAlgorithm"]), (&"CN=kube-apiserver".into(), &"DSA".into()), "{row}");
    assert_eq!(of("findings", "id", "weak-key")["message"], "its key is DSA: DSA is supported by nobody any more");
    Ok(())
}
