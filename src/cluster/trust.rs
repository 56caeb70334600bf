//! Objects that embed the cluster CA: cluster-info, caBundles, extension-apiserver-authentication, kubeadm-config.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::client::Cluster;
use super::edit::{Edit, edit};
use super::error::ClusterError;
use super::pages::pages;
use crate::pki::{CaId, Certificate, read_yaml};

/// The CAs of a PEM text, in order; what cannot be read is left out (it is nobody's trust either).
#[must_use]
pub fn ca_ids(pem: &str) -> Vec<CaId> {
    Certificate::each_from_pem(pem.as_bytes()).into_iter().flatten().map(|certificate| certificate.ca_id()).collect()
}

/// CAs of `ca.crt` in a `kube-root-ca.crt`.
#[must_use]
pub fn root_ca(map: &ConfigMap) -> Vec<CaId> {
    field(map, "ca.crt").map(ca_ids).unwrap_or_default()
}

/// CAs of `client-ca-file` in `extension-apiserver-authentication`.
#[must_use]
pub fn client_ca(map: &ConfigMap) -> Vec<CaId> {
    field(map, "client-ca-file").map(ca_ids).unwrap_or_default()
}

/// CAs of the kubeconfig in `cluster-info`. One that cannot be read holds none: nobody could join with it.
#[must_use]
pub fn cluster_info(map: &ConfigMap) -> Vec<CaId> {
    let kubeconfig = field(map, "kubeconfig").and_then(|text| read_yaml(text).ok());
    let data = kubeconfig.as_ref().and_then(|value| value.pointer(CLUSTER_INFO_CA)).and_then(Value::as_str);
    data.map(decode).unwrap_or_default()
}

/// Where the CA stands in that kubeconfig, which has one cluster, and neither users nor contexts
/// (`cmd/kubeadm/app/phases/bootstraptoken/clusterinfo`).
pub(super) const CLUSTER_INFO_CA: &str = "/clusters/0/cluster/certificate-authority-data";

/// A ConfigMap's text field.
fn field<'a>(map: &'a ConfigMap, key: &str) -> Option<&'a str> {
    map.data.as_ref()?.get(key).map(String::as_str)
}

/// Where an object's caBundles are: kind, and the JSON pointers to look at (`*` stands for every element).
pub(super) const CA_BUNDLES: [(&str, &str, &str, &str); 4] = [
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "/webhooks/*/clientConfig/caBundle"),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "/webhooks/*/clientConfig/caBundle"),
    ("apiregistration.k8s.io", "v1", "APIService", "/spec/caBundle"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "/spec/conversion/webhook/clientConfig/caBundle"),
];

/// The caBundles that hold a CA of the cluster, by object. Others are none of a rotation's business.
#[derive(Clone, Debug, Default)]
pub struct CaBundles {
    /// What a rotation must widen and narrow.
    pub held: BTreeMap<String, Vec<CaId>>,
    /// What else stands in one of them and cannot be read: it would be lost.
    pub broken: BTreeMap<String, String>,
}

impl CaBundles {
    /// Takes one caBundle of an object in.
    fn add(&mut self, object: &str, base64: &str, cas: &[CaId]) {
        let found = pem_of(base64).map(|pem| Certificate::each_from_pem(pem.as_bytes())).unwrap_or_default();
        let held: Vec<CaId> = found.iter().flatten().map(Certificate::ca_id).collect();
        if !held.iter().any(|ca| cas.contains(ca)) {
            return;
        }
        self.held.entry(object.to_owned()).or_default().extend(held);
        if let Some(error) = found.iter().find_map(|certificate| certificate.as_ref().err()) {
            self.broken.insert(object.to_owned(), error.to_string());
        }
    }
}

impl Cluster {
    /// Every caBundle that holds one of `cas`.
    ///
    /// # Errors
    /// A list failed.
    pub async fn ca_bundles(&self, cas: &[CaId]) -> Result<CaBundles, ClusterError> {
        let mut found = CaBundles::default();
        for (resource, pointer) in CA_BUNDLES.map(resource) {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let list = pages(&api, &resource.plural, |object| vec![object]).await?;
            for object in list {
                let name =
                    format!("{}/{}", resource.kind.to_lowercase(), object.metadata.name.as_deref().unwrap_or_default());
                for path in expand(&object.data, pointer) {
                    if let Some(base64) = object.data.pointer(&path).and_then(Value::as_str) {
                        found.add(&name, base64, cas);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Replaces the CAs of the cluster in every caBundle that [`Self::ca_bundles`] finds; strangers in a bundle stay.
    ///
    /// # Errors
    /// A call failed.
    pub async fn write_ca_bundles(&self, cas: &[CaId], wanted: &[Certificate]) -> Result<(), ClusterError> {
        self.edit_ca_bundles(|base64| rewritten(base64, cas, wanted)).await
    }

    /// Gives the CAs that cluster-info and caBundles hold their new end: whoever joins, and whoever calls a webhook, checks that.
    ///
    /// # Errors
    /// A call failed, or cluster-info holds no kubeconfig.
    pub async fn write_new_ends(&self, successors: &[Certificate]) -> Result<(), ClusterError> {
        self.edit_config_map("kube-public", "cluster-info", "kubeconfig", |text| {
            rewrite_cluster_ca(text.ok_or("holds no kubeconfig")?, |base64| prolonged(base64, successors))
        })
        .await?;
        self.edit_ca_bundles(|base64| prolonged(base64, successors)).await
    }

    /// `rewrite` makes the new caBundle of the old; `None`: it stays.
    async fn edit_ca_bundles(&self, rewrite: impl Fn(&str) -> Option<String>) -> Result<(), ClusterError> {
        for (resource, pointer) in CA_BUNDLES.map(resource) {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let list = pages(&api, &resource.plural, |object| vec![object]).await?;
            let edits = |data: &Value| bundle_edits(data, pointer, &rewrite);
            for object in list.into_iter().filter(|object| !edits(&object.data).is_empty()) {
                let name = object.metadata.name.unwrap_or_default();
                let label = format!("{}/{name}", resource.kind.to_lowercase());
                match edit(&api, &name, &label, |data| Ok(edits(data))).await {
                    // Deleted since the list: nobody verifies with it any more.
                    Err(error) if error.code() == Some(404) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Makes cluster-info trust `cas`; bootstrapsigner signs it anew by itself.
    ///
    /// # Errors
    /// A call failed, or the object holds no kubeconfig.
    pub async fn write_cluster_info(&self, cas: &[Certificate]) -> Result<(), ClusterError> {
        self.edit_config_map("kube-public", "cluster-info", "kubeconfig", |text| {
            with_cluster_ca(text.ok_or("holds no kubeconfig")?, cas)
        })
        .await
    }

    /// Overwrites the client CA that extension API servers and the scheduler follow.
    ///
    /// # Errors
    /// A call failed.
    pub async fn write_client_ca(&self, cas: &[Certificate]) -> Result<(), ClusterError> {
        let pem: String = cas.iter().map(Certificate::to_pem).collect();
        let wanted = |_: Option<&str>| Ok(pem.clone());
        self.edit_config_map("kube-system", "extension-apiserver-authentication", "client-ca-file", wanted).await
    }

    /// Records kube-controller-manager's signing file in kubeadm's ClusterConfiguration, or takes it out again.
    ///
    /// # Errors
    /// A call failed, or the configuration cannot be read.
    pub async fn write_kubeadm_config(&self, own_signer: Option<&str>) -> Result<(), ClusterError> {
        self.edit_config_map("kube-system", "kubeadm-config", CLUSTER_CONFIGURATION, |text| {
            with_signer(text.unwrap_or_default(), own_signer)
        })
        .await
    }

    /// Replaces one text of a ConfigMap; `wanted` makes the new one of the old.
    async fn edit_config_map(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        wanted: impl Fn(Option<&str>) -> Result<String, String>,
    ) -> Result<(), ClusterError> {
        let resource = ApiResource::erase::<ConfigMap>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let path = format!("/data/{key}");
        edit(&api, name, &format!("configmap/{namespace}/{name}"), |data| {
            let held = data.pointer(&path).and_then(Value::as_str);
            let text = wanted(held)?;
            Ok(if held == Some(text.as_str()) { Vec::new() } else { vec![(path.clone(), text)] })
        })
        .await
    }
}

/// What must be written into an object so that its caBundles are those that `rewrite` makes of them.
fn bundle_edits(data: &Value, pointer: &str, rewrite: &impl Fn(&str) -> Option<String>) -> Vec<Edit> {
    let changed = |path: String| {
        let text = rewrite(data.pointer(&path)?.as_str()?)?;
        Some((path, text))
    };
    expand(data, pointer).into_iter().filter_map(changed).collect()
}

/// The kubeconfig of cluster-info with these CAs.
fn with_cluster_ca(text: &str, cas: &[Certificate]) -> Result<String, String> {
    rewrite_cluster_ca(text, |_| Some(encoded(cas.iter())))
}

/// The kubeconfig of cluster-info with what `rewrite` makes of its CA's base64; `None`: it stays. As kubeadm writes it, the CA in one line:
/// scripts take it out with `grep`.
fn rewrite_cluster_ca(text: &str, rewrite: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut kubeconfig = read_yaml(text).map_err(|error| error.to_string())?;
    let place = kubeconfig.pointer_mut(CLUSTER_INFO_CA).ok_or("names no cluster with a CA")?;
    let Some(new) = rewrite(place.as_str().unwrap_or_default()) else { return Ok(text.to_owned()) };
    *place = Value::from(new);
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&kubeconfig, options).map_err(|error| error.to_string())
}

/// kubeadm's key in `kubeadm-config`.
pub(super) const CLUSTER_CONFIGURATION: &str = "ClusterConfiguration";
const SIGNER_FLAGS: [&str; 2] = ["cluster-signing-cert-file", "cluster-signing-key-file"];

/// True when kubeadm's ClusterConfiguration names a signing file of its own.
#[must_use]
pub fn kubeadm_own_signer(map: &ConfigMap) -> Option<bool> {
    let config = read_yaml(field(map, CLUSTER_CONFIGURATION)?).ok()?;
    Some(extra_args(&config).any(|name| SIGNER_FLAGS.contains(&name)))
}

/// Names of kube-controller-manager's extra arguments: a list since v1beta4, a map before.
fn extra_args(config: &Value) -> impl Iterator<Item = &str> {
    let args = config.pointer("/controllerManager/extraArgs");
    let listed = args.and_then(Value::as_array).into_iter().flatten().filter_map(|arg| arg.get("name")?.as_str());
    let mapped = args.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str());
    listed.chain(mapped)
}

/// The configuration with the two signing flags set to `signer`, or without them.
fn with_signer(text: &str, signer: Option<&str>) -> Result<String, String> {
    let mut config = read_yaml(text).map_err(|error| error.to_string())?;
    let old_form = config.get("apiVersion").and_then(Value::as_str).is_some_and(|version| version.ends_with("v1beta3"));
    let root = config.as_object_mut().ok_or("is not a mapping")?;
    let manager = root
        .entry("controllerManager")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or("controllerManager is not a mapping")?;
    let empty = if old_form { json!({}) } else { json!([]) };
    let args = manager.entry("extraArgs").or_insert(empty);
    match args {
        Value::Array(list) => {
            list.retain(|arg| {
                !arg.get("name").and_then(Value::as_str).is_some_and(|name| SIGNER_FLAGS.contains(&name))
            });
            list.extend(signer.iter().flat_map(|path| SIGNER_FLAGS.map(|flag| json!({ "name": flag, "value": path }))));
        }
        Value::Object(map) => {
            map.retain(|name, _| !SIGNER_FLAGS.contains(&name.as_str()));
            map.extend(signer.iter().flat_map(|path| SIGNER_FLAGS.map(|flag| (flag.to_owned(), json!(path)))));
        }
        _ => return Err("controllerManager.extraArgs is neither a list nor a mapping".into()),
    }
    let emptied = args.as_array().is_some_and(Vec::is_empty) || args.as_object().is_some_and(serde_json::Map::is_empty);
    if emptied {
        manager.remove("extraArgs");
    }
    serde_saphyr::to_string(&config).map_err(|error| error.to_string())
}

pub(super) fn resource(
    (group, version, kind, pointer): (&str, &str, &str, &'static str),
) -> (ApiResource, &'static str) {
    (ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)), pointer)
}

/// Every existing path that a pattern with at most one `*` stands for.
pub(super) fn expand(data: &Value, pattern: &str) -> Vec<String> {
    let Some((list, rest)) = pattern.split_once("/*") else {
        return data.pointer(pattern).map(|_| pattern.to_owned()).into_iter().collect();
    };
    let length = data.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
    (0..length).map(|index| format!("{list}/{index}{rest}")).filter(|path| data.pointer(path).is_some()).collect()
}

fn decode(base64: &str) -> Vec<CaId> {
    pem_of(base64).map(|pem| ca_ids(&pem)).unwrap_or_default()
}

pub(super) fn pem_of(base64: &str) -> Option<String> {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(base64).ok()?).ok()
}

/// The bundle with every one of `cas` replaced by `wanted`; `None` when it holds none of them or is right already.
fn rewritten(base64: &str, cas: &[CaId], wanted: &[Certificate]) -> Option<String> {
    let held: Vec<Certificate> = Certificate::each_from_pem(pem_of(base64)?.as_bytes()).into_iter().flatten().collect();
    if !held.iter().any(|certificate| cas.contains(&certificate.ca_id())) {
        return None;
    }
    let strangers = held.iter().filter(|certificate| !cas.contains(&certificate.ca_id()));
    let text = encoded(wanted.iter().chain(strangers));
    (text != base64).then_some(text)
}

/// The bundle with each certificate in place of which `successors` has one of the same CA that ends later; `None` when there is none, or when
/// something in it cannot be read, which would be lost.
fn prolonged(base64: &str, successors: &[Certificate]) -> Option<String> {
    let pem = pem_of(base64)?;
    let held: Vec<Certificate> =
        Certificate::each_from_pem(pem.as_bytes()).into_iter().collect::<Result<_, _>>().ok()?;
    let later = |old: &'_ Certificate| {
        successors.iter().find(|new| new.ca_id() == old.ca_id() && new.not_after() > old.not_after())
    };
    held.iter().any(|old| later(old).is_some()).then(|| encoded(held.iter().map(|old| later(old).unwrap_or(old))))
}

/// As such a field holds them: PEM, in base64.
fn encoded<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(certificates.map(Certificate::to_pem).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1BETA4: &str = "apiVersion: kubeadm.k8s.io/v1beta4\ncontrollerManager:\n  extraArgs:\n  - name: v\n    value: '2'\nkind: ClusterConfiguration\n";

    #[test]
    fn the_signing_file_comes_into_the_kubeadm_configuration_and_leaves_nothing_behind() {
        let before: Value = serde_saphyr::from_str(V1BETA4).unwrap();
        let with = with_signer(V1BETA4, Some("/signer.pem")).unwrap();
        let config: Value = serde_saphyr::from_str(&with).unwrap();
        assert_eq!(
            extra_args(&config).collect::<Vec<_>>(),
            ["v", "cluster-signing-cert-file", "cluster-signing-key-file"]
        );
        let without: Value = serde_saphyr::from_str(&with_signer(&with, None).unwrap()).unwrap();
        assert_eq!(without, before);
    }

    #[test]
    fn a_configuration_without_extra_arguments_gets_none_back() {
        let stock = "apiVersion: kubeadm.k8s.io/v1beta4\ncontrollerManager: {}\nkind: ClusterConfiguration\n";
        let with = with_signer(stock, Some("/signer.pem")).unwrap();
        let without: Value = serde_saphyr::from_str(&with_signer(&with, None).unwrap()).unwrap();
        assert_eq!(without, serde_saphyr::from_str::<Value>(stock).unwrap());
    }

    #[test]
    fn the_ca_of_cluster_info_is_read_and_replaced_although_it_has_no_context() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let ca = crate::pki::Material::planned("kubernetes", None, now).unwrap().ca;
        let text = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.1:6443\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {}\nusers: null\n";
        let edited = with_cluster_ca(text, std::slice::from_ref(&ca)).unwrap();
        assert!(edited.contains("    certificate-authority-data: LS0tLS1"), "in one line: {edited}");
        let data = std::collections::BTreeMap::from([("kubeconfig".to_owned(), edited)]);
        assert_eq!(cluster_info(&ConfigMap { data: Some(data), ..ConfigMap::default() }), [ca.ca_id()]);
    }

    #[test]
    fn a_ca_with_a_new_end_takes_the_place_of_its_old_certificate_and_strangers_stay() {
        use crate::pki::{CertificateAuthority, KeyAlgorithm};
        use base64::Engine as _;
        let now: jiff::Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let day = jiff::SignedDuration::from_hours(24);
        let ca = |name: &str| CertificateAuthority::generate(name, KeyAlgorithm::EcdsaP256, day, now).unwrap();
        let (old, stranger) = (ca("kubernetes"), ca("corporate"));
        let new = old.prolonged(day * 30, now).unwrap().certificate().clone();
        let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
        let bundle = encode(stranger.certificate().to_pem() + &old.certificate().to_pem());
        let wanted = encode(stranger.certificate().to_pem() + &new.to_pem());
        assert_eq!(prolonged(&bundle, std::slice::from_ref(&new)), Some(wanted.clone()));
        assert_eq!(prolonged(&wanted, std::slice::from_ref(&new)), None, "a second time");
        assert_eq!(prolonged(&wanted, std::slice::from_ref(old.certificate())), None, "never back");
    }

    #[test]
    fn a_pattern_names_every_element() {
        let data = json!({ "webhooks": [{ "clientConfig": { "caBundle": "x" } }, { "clientConfig": {} }] });
        assert_eq!(expand(&data, "/webhooks/*/clientConfig/caBundle"), ["/webhooks/0/clientConfig/caBundle"]);
    }

    #[test]
    fn a_broken_certificate_beside_the_cluster_ca_is_named() {
        use base64::Engine as _;
        let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let ca = crate::pki::Material::planned("kubernetes", None, now).unwrap().ca;
        let broken = "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n";
        let ours = [ca.ca_id()];
        let mut found = CaBundles::default();
        found.add("apiservice/good", &encode(&ca.to_pem()), &ours);
        found.add("apiservice/bad", &encode(&format!("{}{broken}", ca.to_pem())), &ours);
        found.add("apiservice/strange", &encode(broken), &ours);
        assert_eq!(found.held.keys().collect::<Vec<_>>(), ["apiservice/bad", "apiservice/good"]);
        assert_eq!(found.broken.keys().collect::<Vec<_>>(), ["apiservice/bad"]);
    }
}
