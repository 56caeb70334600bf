//! What `certctl install` puts into a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};

use super::client::Cluster;
use super::error::ClusterError;
use super::pki_objects::DRIVER;
use crate::api::{ClusterPKI, GROUP, NAMESPACE, NodePKI};

/// Name of the agents' DaemonSet, service account and roles.
const AGENT: &str = "certctl-agent";
/// Where the agent sees the node's files.
const HOST: &str = "/host";

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// The agent's image.
    pub image: String,
}

/// Every object, in an order in which it can be applied.
#[must_use]
pub fn manifests(options: &InstallOptions) -> Vec<Value> {
    let mut objects = vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAMESPACE,
            "labels": { "pod-security.kubernetes.io/enforce": "privileged", "app.kubernetes.io/name": "certctl" },
        }}),
        crd(&ClusterPKI::crd()),
        crd(&NodePKI::crd()),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": named(AGENT) }),
    ];
    objects.extend(roles());
    objects.extend(own_node_only());
    objects.extend(own_leases_only());
    objects.push(daemon_set(options));
    objects
}

fn crd(crd: &CustomResourceDefinition) -> Value {
    // Serialization of a type made of strings and maps cannot fail; an empty object would be refused by the API server.
    serde_json::to_value(crd).unwrap_or_default()
}

fn named(name: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE, "labels": { "app.kubernetes.io/name": "certctl" } })
}

fn cluster_named(name: &str) -> Value {
    json!({ "name": name, "labels": { "app.kubernetes.io/name": "certctl" } })
}

/// The agent reads NodePKIs and writes statuses; it may release the Lease of a leader that it has just restarted. No Secrets, no pods.
fn roles() -> Vec<Value> {
    vec![
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_named(AGENT), "rules": [
            { "apiGroups": [GROUP], "resources": ["nodepkis"], "verbs": ["get", "list", "watch", "create"] },
            { "apiGroups": [GROUP], "resources": ["nodepkis/status"], "verbs": ["patch"] },
        ]}),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": cluster_named(AGENT),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": AGENT },
            "subjects": [{ "kind": "ServiceAccount", "name": AGENT, "namespace": NAMESPACE }],
        }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": AGENT, "namespace": "kube-system", "labels": { "app.kubernetes.io/name": "certctl" } },
            "rules": [{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "resourceNames": ["kube-controller-manager", "kube-scheduler"], "verbs": ["get", "delete"] }],
        }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": AGENT, "namespace": "kube-system", "labels": { "app.kubernetes.io/name": "certctl" } },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": AGENT },
            "subjects": [{ "kind": "ServiceAccount", "name": AGENT, "namespace": NAMESPACE }],
        }),
    ]
}

/// A NodePKI that an agent creates asks nothing of anybody.
const EMPTY_SPEC: &str = "oldObject != null || ((!has(object.spec.target) || object.spec.target == null) && \
    (!has(object.spec.make) || object.spec.make == null) && (!has(object.spec.sealFor) || size(object.spec.sealFor) == 0) && \
    (!has(object.spec.vouchFor) || size(object.spec.vouchFor) == 0))";

/// CEL: the node of the pod whose token the request carries (bound service account tokens name it).
const OWN_NODE: &str = "request.userInfo.extra[?'authentication.kubernetes.io/node-name'][0].orValue('')";

/// An agent writes its own node's object only, and no spec: the API server itself refuses the rest.
fn own_node_only() -> [Value; 2] {
    let rule = json!({
        "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["nodepkis", "nodepkis/status"],
    });
    let validations = json!([
        { "expression": format!("object.metadata.name == {OWN_NODE}"), "message": "an agent writes the NodePKI of its own node only" },
        { "expression": EMPTY_SPEC, "message": "an agent writes no spec" },
    ]);
    policy(AGENT, &rule, &validations)
}

/// An agent releases the Lease of a leader on its own node only: a worker, where nobody leads, releases none. The identity is
/// `HOSTNAME_UUID` (`k8s.io/component-base` leader election); where a host's name is not its Node's, the Lease runs out by itself.
fn own_leases_only() -> [Value; 2] {
    let rule = json!({
        "apiGroups": ["coordination.k8s.io"], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["leases"],
    });
    let held = format!(
        "{OWN_NODE} != '' && has(oldObject.spec) && has(oldObject.spec.holderIdentity) && \
        oldObject.spec.holderIdentity.startsWith({OWN_NODE} + '_')"
    );
    let validations =
        json!([{ "expression": held, "message": "an agent releases the Lease of a leader on its own node only" }]);
    policy(&format!("{AGENT}-leases"), &rule, &validations)
}

/// A rule for the agents' requests, and its binding.
fn policy(name: &str, rule: &Value, validations: &Value) -> [Value; 2] {
    let agent = format!("request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{AGENT}'");
    [
        json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": cluster_named(name), "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [rule] },
            "matchConditions": [{ "name": "agents", "expression": agent }],
            "validations": validations,
        }}),
        json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": cluster_named(name),
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        }),
    ]
}

fn daemon_set(options: &InstallOptions) -> Value {
    let labels = json!({ "app.kubernetes.io/name": "certctl", "app.kubernetes.io/component": "agent" });
    json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": named(AGENT), "spec": {
        "selector": { "matchLabels": labels },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "100%" } },
        "template": { "metadata": { "labels": labels }, "spec": {
            "serviceAccountName": AGENT,
            "hostNetwork": true,
            "hostPID": true,
            "dnsPolicy": "Default",
            "priorityClassName": "system-node-critical",
            "terminationGracePeriodSeconds": 5,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [container(options)],
            "volumes": volumes(),
        }},
    }})
}

/// Folders of the host that the agent works in, read-write where it writes.
const FOLDERS: [(&str, &str, bool); 7] = [
    ("kubernetes", "/etc/kubernetes", true),
    ("kubelet", "/var/lib/kubelet", true),
    ("state", "/var/lib/certctl", true),
    // For the unit that brings a node up to date whose kubelet starts no pod.
    ("units", "/etc/systemd/system", true),
    ("containerd", "/run/containerd", false),
    ("dbus", "/run/dbus", false),
    // Shows when the kubelet has finished a static pod: without it each restart takes about a second longer.
    ("cgroup", "/sys/fs/cgroup", false),
];

fn container(options: &InstallOptions) -> Value {
    let mounts: Vec<Value> = FOLDERS
        .iter()
        .map(|(name, path, write)| json!({ "name": name, "mountPath": format!("{HOST}{path}"), "readOnly": !write }))
        .collect();
    json!({
        "name": "agent",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["agent", "--root", HOST],
        "env": [{ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
        "securityContext": { "privileged": true, "readOnlyRootFilesystem": true },
        // On a node without idle time the request is the weight (`pkg/kubelet/cm/helpers_linux.go`): enough to be heard beside an API server.
        // The limit is not what the agent takes: where the node's /var is in memory, the copy of the program that it keeps there counts as its own.
        "resources": { "requests": { "cpu": "100m", "memory": "20Mi" }, "limits": { "memory": "128Mi" } },
        "volumeMounts": mounts,
    })
}

fn volumes() -> Vec<Value> {
    FOLDERS
        .iter()
        .map(|(name, path, _)| {
            let kind = if ["state", "units"].contains(name) { "DirectoryOrCreate" } else { "Directory" };
            json!({ "name": name, "hostPath": { "path": path, "type": kind } })
        })
        .collect()
}

impl Cluster {
    /// Applies every object (server-side apply) and waits until the CRDs are served.
    ///
    /// # Errors
    /// A call failed.
    pub async fn install(&self, options: &InstallOptions) -> Result<(), ClusterError> {
        for object in manifests(options) {
            let (api, name, label) = self.place(&object)?;
            let params = PatchParams { field_manager: Some(DRIVER.into()), force: true, ..PatchParams::default() };
            api.patch(&name, &params, &Patch::Apply(&object))
                .await
                .map_err(ClusterError::call("apply", label.clone()))?;
            if object["kind"] == "CustomResourceDefinition" {
                let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
                await_condition(crds, &name, conditions::is_crd_established())
                    .await
                    .map_err(|error| ClusterError::content(label, error))?;
            }
        }
        Ok(())
    }

    /// Deletes every object, last first. What is gone already is no error.
    ///
    /// # Errors
    /// A call failed.
    pub async fn uninstall(&self, options: &InstallOptions) -> Result<(), ClusterError> {
        for object in manifests(options).iter().rev() {
            let (api, name, label) = self.place(object)?;
            match api.delete(&name, &DeleteParams::foreground()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(ClusterError::call("delete", label)(error)),
            }
        }
        Ok(())
    }

    /// The API, name and label of an object of ours.
    fn place(&self, object: &Value) -> Result<(Api<DynamicObject>, String, String), ClusterError> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let version = text("/apiVersion");
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        if kind == "ValidatingAdmissionPolicy" {
            resource.plural = "validatingadmissionpolicies".into();
        }
        let namespace = text("/metadata/namespace");
        let api = if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &namespace, &resource)
        };
        Ok((api, name.clone(), format!("{}/{name}", kind.to_lowercase())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server forbids in a structural schema and schemars makes by itself of a map whose keys have a pattern
    /// (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).
    #[test]
    fn the_crds_have_no_schema_that_the_api_server_forbids() {
        let objects = manifests(&InstallOptions { image: "certctl:test".into() });
        let crds: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
        assert_eq!(crds.len(), 2);
        for crd in crds {
            let text = crd.to_string();
            for word in ["patternProperties", "propertyNames", "$ref", "definitions", "uniqueItems\":true"] {
                assert!(!text.contains(&format!("\"{word}")), "{word} in {}", crd["metadata"]["name"]);
            }
        }
    }

    /// What an agent may do to a resource, by the roles, and the operations that a policy looks at.
    fn granted_and_watched(resource: &str) -> (Vec<String>, Vec<String>) {
        let objects = manifests(&InstallOptions { image: "certctl:test".into() });
        let lists = |pointer: &str, list: &str| -> Vec<String> {
            let rules = objects.iter().filter_map(|object| object.pointer(pointer)?.as_array()).flatten();
            let ours = rules.filter(|rule| rule["resources"].as_array().unwrap().contains(&resource.into()));
            ours.flat_map(|rule| rule[list].as_array().unwrap()).map(|word| word.as_str().unwrap().into()).collect()
        };
        (lists("/rules", "verbs"), lists("/spec/matchConstraints/resourceRules", "operations"))
    }

    #[test]
    fn what_an_agent_may_change_a_policy_limits_to_its_own_node() {
        for resource in ["nodepkis", "nodepkis/status", "leases"] {
            let (verbs, operations) = granted_and_watched(resource);
            assert!(!verbs.is_empty(), "{resource}");
            for (verb, operation) in
                [("create", "CREATE"), ("update", "UPDATE"), ("patch", "UPDATE"), ("delete", "DELETE")]
            {
                let limited = operations.iter().any(|watched| watched == operation);
                assert!(limited || !verbs.iter().any(|granted| granted == verb), "{verb} {resource}");
            }
        }
    }

    #[test]
    fn every_policy_is_bound_refuses_and_asks_for_the_node() {
        let objects = manifests(&InstallOptions { image: "certctl:test".into() });
        let kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
        let (policies, bindings) = (kind("ValidatingAdmissionPolicy"), kind("ValidatingAdmissionPolicyBinding"));
        assert_eq!((policies.len(), bindings.len()), (2, 2));
        for (policy, binding) in policies.iter().zip(&bindings) {
            assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
            assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
            assert_eq!(policy["spec"]["failurePolicy"], "Fail");
            assert!(policy["spec"]["validations"].to_string().contains("authentication.kubernetes.io/node-name"));
        }
    }
}
