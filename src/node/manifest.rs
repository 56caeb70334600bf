//! Static-pod manifests as text in, text out: flags read and set, annotations changed, unknown fields kept. Comments are lost.

use serde_json::{Map, Value};

use super::layout::{CA_CERT, CA_KEY, SIGNER};
use crate::pki::read_yaml;

const SIGNING_CERT: &str = "--cluster-signing-cert-file";
const SIGNING_KEY: &str = "--cluster-signing-key-file";

/// The annotation that changes at each restart, so that the pod gets a new UID (the kubelet hashes the decoded pod,
/// `pkg/kubelet/config/common.go`): with the old UID a back-off would delay the start.
pub const RESTARTED_AT: &str = "certctl.dev/restarted-at";

/// The command line of the first container.
#[derive(Default)]
pub struct CommandLine(Vec<Value>);

impl CommandLine {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the YAML.
    pub fn read(yaml: &str) -> Result<Self, String> {
        let mut pod = parse(yaml)?;
        Ok(Self(std::mem::take(command(&mut pod)?)))
    }

    /// The value of `--name=value`.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|argument| value_of(argument, name))
    }
}

/// The image of the first container.
#[must_use]
pub fn image(yaml: &str) -> Option<String> {
    parse(yaml).ok()?.pointer("/spec/containers/0/image")?.as_str().map(str::to_owned)
}

/// True when kube-controller-manager is pointed at its own signing file.
///
/// # Errors
/// What is wrong with the YAML.
pub fn has_own_signer(yaml: &str) -> Result<bool, String> {
    Ok(CommandLine::read(yaml)?.flag(SIGNING_CERT).as_deref() == Some(SIGNER))
}

/// Points kube-controller-manager at its own signing file (certificate and key in one), or back to the stock pair.
///
/// # Errors
/// What is wrong with the YAML. A manifest without signing flags (external CA) is refused: there is nothing to point.
pub fn with_kcm_signer(yaml: &str, own: bool) -> Result<String, String> {
    let (cert, key) = if own { (SIGNER, SIGNER) } else { (CA_CERT, CA_KEY) };
    let mut pod = parse(yaml)?;
    let arguments = command(&mut pod)?;
    for (name, value) in [(SIGNING_CERT, cert), (SIGNING_KEY, key)] {
        let argument = arguments
            .iter_mut()
            .find(|argument| value_of(argument, name).is_some())
            .ok_or_else(|| format!("it has no {name} flag: with an external CA the signer is not on this node"))?;
        *argument = Value::String(format!("{name}={value}"));
    }
    print(&pod)
}

/// Sets an annotation of the pod.
///
/// # Errors
/// What is wrong with the YAML.
pub fn with_annotation(yaml: &str, key: &str, value: &str) -> Result<String, String> {
    let mut pod = parse(yaml)?;
    let metadata = object(&mut pod, "metadata")?;
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    let annotations = annotations.as_object_mut().ok_or("metadata.annotations is no mapping")?;
    annotations.insert(key.to_owned(), Value::String(value.to_owned()));
    print(&pod)
}

fn parse(yaml: &str) -> Result<Value, String> {
    let pod = read_yaml(yaml).map_err(|error| format!("it is no YAML: {error}"))?;
    if pod.get("kind").and_then(Value::as_str) != Some("Pod") {
        return Err("it is no Pod".to_owned());
    }
    Ok(pod)
}

fn print(pod: &Value) -> Result<String, String> {
    // No folding: arguments stay on their line, as kubeadm writes them.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(pod, options).map_err(|error| format!("it cannot be written as YAML: {error}"))
}

fn object<'a>(value: &'a mut Value, name: &str) -> Result<&'a mut Map<String, Value>, String> {
    value.get_mut(name).and_then(Value::as_object_mut).ok_or_else(|| format!("it has no {name}"))
}

fn command(pod: &mut Value) -> Result<&mut Vec<Value>, String> {
    pod.pointer_mut("/spec/containers/0/command")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| "its first container has no command".to_owned())
}

fn value_of(argument: &Value, name: &str) -> Option<String> {
    let rest = argument.as_str()?.strip_prefix(name)?;
    rest.strip_prefix('=').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KCM: &str = r#"apiVersion: v1
kind: Pod
metadata:
  labels:
    component: kube-controller-manager
  name: kube-controller-manager
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-controller-manager
    - --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt
    - --cluster-signing-key-file=/etc/kubernetes/pki/ca.key
    - --use-service-account-credentials=true
    env:
    - name: NUMBER
      value: "10257"
    - name: YES
      value: "yes"
    - name: OCTAL
      value: "0600"
    - name: EXP
      value: "1e3"
    - name: EMPTY
      value: ""
    image: registry.k8s.io/kube-controller-manager:v1.37.1
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: 127.0.0.1
        path: /healthz
        port: probe-port
        scheme: HTTPS
    somethingNew:
      nested: [1, true, null, "x: y"]
    volumeMounts: []
  hostNetwork: true
  securityContext: {}
status: {}
"#;

    fn value(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn the_signer_switches_both_flags_and_back() {
        let own = with_kcm_signer(KCM, true).unwrap();
        assert!(has_own_signer(&own).unwrap() && !has_own_signer(KCM).unwrap());
        assert_eq!(CommandLine::read(&own).unwrap().flag(SIGNING_KEY).as_deref(), Some(SIGNER));
        let back = with_kcm_signer(&own, false).unwrap();
        assert_eq!(value(&back), value(KCM), "everything else survives, strings stay strings");
    }

    #[test]
    fn an_annotation_is_set_and_replaced_and_nothing_else_changes() {
        let once = with_annotation(KCM, RESTARTED_AT, "2026-11-22T20:00:00Z").unwrap();
        let twice = with_annotation(&once, RESTARTED_AT, "2026-11-22T20:00:01Z").unwrap();
        assert_ne!(value(&once), value(&twice));
        let mut stripped = value(&twice);
        assert_eq!(
            stripped.pointer("/metadata/annotations/certctl.dev~1restarted-at"),
            Some(&Value::String("2026-11-22T20:00:01Z".to_owned()))
        );
        stripped.get_mut("metadata").unwrap().as_object_mut().unwrap().remove("annotations");
        assert_eq!(stripped, value(KCM));
    }

    #[test]
    fn null_annotations_are_filled() {
        let yaml = KCM.replace("metadata:\n", "metadata:\n  annotations:\n");
        assert!(with_annotation(&yaml, "a", "b").is_ok());
    }

    #[test]
    fn a_flag_with_a_longer_name_is_not_mistaken() {
        let command = CommandLine::read(KCM).unwrap();
        assert_eq!(command.flag("--cluster-signing"), None);
        assert_eq!(command.flag("--use-service-account-credentials").as_deref(), Some("true"));
    }

    #[test]
    fn what_cannot_be_edited_is_said() {
        let external = KCM.replace("    - --cluster-signing-key-file=/etc/kubernetes/pki/ca.key\n", "");
        assert!(with_kcm_signer(&external, true).unwrap_err().contains("external CA"));
        assert_eq!(CommandLine::read("kind: Secret").err().unwrap(), "it is no Pod");
        assert!(CommandLine::read("a: [").err().unwrap().contains("no YAML"));
    }

    #[test]
    fn output_quotes_what_yaml_1_1_would_read_as_something_else() {
        // sigs.k8s.io/yaml reads YAML 1.1: an unquoted yes would be a boolean there.
        let out = with_annotation(KCM, RESTARTED_AT, "2026-11-22").unwrap();
        for plain in ["value: yes", "value: 10257", "value: 0600", "value: 1e3", "restarted-at: 2026-11-22\n"] {
            assert!(!out.contains(plain), "{plain} must be quoted in\n{out}");
        }
    }
}
