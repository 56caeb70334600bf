//! Every certificate that stands in an object of the API, and who waits for one. Secrets are read for their CA alone: tokens never get further
//! than the decoder, which drops them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, DynamicObject, ListParams};
use serde::Deserialize;
use serde_json::Value;

use super::client::Cluster;
use super::error::ClusterError;
use super::pages::{pages, pages_of};
use super::trust::{CA_BUNDLES, CLUSTER_INFO_CA, expand, pem_of, resource};
use crate::inspection::{BootstrapToken, Request, RequestState};
use crate::pki::{Certificate, CertificateRequest, read_yaml};

/// The CAs that one object hands out; what cannot be read is its reason.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// `kind/namespace/name`, or `kind/name`; of a webhook `kind/name/webhook`.
    pub object: String,
    /// In order.
    pub certificates: Vec<Result<Certificate, String>>,
}

impl Bundle {
    /// `None` for a text without a certificate block.
    fn new(object: String, pem: &str) -> Option<Self> {
        let found = Certificate::each_from_pem(pem.as_bytes());
        let certificates: Vec<_> = found.into_iter().map(|one| one.map_err(|error| error.to_string())).collect();
        (!certificates.is_empty()).then_some(Self { object, certificates })
    }

    fn broken(object: String, problem: &str) -> Self {
        Self { object, certificates: vec![Err(problem.to_owned())] }
    }

    fn of_base64(object: String, base64: &str) -> Option<Self> {
        match pem_of(base64) {
            Some(pem) => Self::new(object, &pem),
            None => Some(Self::broken(object, "it is not PEM in base64")),
        }
    }
}

/// A Secret of type `kubernetes.io/service-account-token` without its token.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Secret)]
struct TokenSecret {
    metadata: ObjectMeta,
    #[serde(default)]
    data: TokenCa,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct TokenCa {
    #[serde(rename = "ca.crt")]
    ca: Option<ByteString>,
}

/// A Secret of type `bootstrap.kubernetes.io/token` without `token-secret` (`cluster-bootstrap/token/api/types.go`).
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Secret)]
struct BootstrapSecret {
    metadata: ObjectMeta,
    #[serde(default)]
    data: BootstrapData,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct BootstrapData {
    token_id: Option<ByteString>,
    expiration: Option<ByteString>,
    usage_bootstrap_authentication: Option<ByteString>,
    usage_bootstrap_signing: Option<ByteString>,
    auth_extra_groups: Option<ByteString>,
}

impl Cluster {
    /// Every trust bundle that the caller may read, and what went wrong with the others: cluster-info, kube-root-ca.crt of each namespace,
    /// extension-apiserver-authentication, token Secrets, caBundles.
    pub async fn trust_bundles(&self) -> (Vec<Bundle>, Vec<ClusterError>) {
        let parts =
            futures::join!(self.cluster_info_bundle(), self.root_ca_bundles(), self.extension_cas(), self.token_cas());
        let mut parts = vec![parts.0, parts.1, parts.2, parts.3];
        parts.extend(futures::future::join_all(CA_BUNDLES.map(|place| self.every_ca_bundle(place))).await);
        let (mut bundles, mut errors) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Ok(found) => bundles.extend(found),
                // The kind is not served: nobody can have such an object.
                Err(error) if error.code() == Some(404) => {}
                Err(error) => errors.push(error),
            }
        }
        (bundles, errors)
    }

    async fn cluster_info_bundle(&self) -> Result<Vec<Bundle>, ClusterError> {
        let (namespace, name) = ("kube-public", "cluster-info");
        let object = format!("configmap/{namespace}/{name}");
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = api.get(name).await.map_err(ClusterError::call("read", &object))?;
        let text = map.data.unwrap_or_default().remove("kubeconfig").unwrap_or_default();
        let conf = read_yaml(&text).unwrap_or_default();
        Ok(match conf.pointer(CLUSTER_INFO_CA).and_then(Value::as_str) {
            Some(base64) => Bundle::of_base64(object, base64).into_iter().collect(),
            None => vec![Bundle::broken(object, "its kubeconfig names no CA")],
        })
    }

    async fn root_ca_bundles(&self) -> Result<Vec<Bundle>, ClusterError> {
        let api: Api<ConfigMap> = Api::all(self.client.clone());
        let params = ListParams::default().fields("metadata.name=kube-root-ca.crt");
        let mut bundles = pages_of(&api, "configmaps named kube-root-ca.crt", params, |map: ConfigMap| {
            let object = format!("configmap/{}/kube-root-ca.crt", map.metadata.namespace.unwrap_or_default());
            let pem = map.data.unwrap_or_default().remove("ca.crt").unwrap_or_default();
            vec![Bundle::new(object.clone(), &pem).unwrap_or_else(|| Bundle::broken(object, "it holds no certificate"))]
        })
        .await?;
        bundles.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(bundles)
    }

    async fn extension_cas(&self) -> Result<Vec<Bundle>, ClusterError> {
        let object = "configmap/kube-system/extension-apiserver-authentication";
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let map = api.get("extension-apiserver-authentication").await.map_err(ClusterError::call("read", object))?;
        let data = map.data.unwrap_or_default();
        let bundle = |key: &str| Bundle::new(format!("{object}/{key}"), data.get(key)?);
        Ok(["client-ca-file", "requestheader-client-ca-file"].into_iter().filter_map(bundle).collect())
    }

    async fn token_cas(&self) -> Result<Vec<Bundle>, ClusterError> {
        let api: Api<TokenSecret> = Api::all(self.client.clone());
        let params = ListParams::default().fields("type=kubernetes.io/service-account-token");
        pages_of(&api, "secrets of service accounts", params, |secret: TokenSecret| {
            let metadata = secret.metadata;
            let object =
                format!("secret/{}/{}", metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
            secret.data.ca.and_then(|ca| Bundle::new(object, &text(ca))).into_iter().collect()
        })
        .await
    }

    async fn every_ca_bundle(&self, place: (&str, &str, &str, &'static str)) -> Result<Vec<Bundle>, ClusterError> {
        let (resource, pointer) = resource(place);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let kind = resource.kind.to_lowercase();
        pages(&api, &resource.plural, |object: DynamicObject| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let bundle = |path: String| {
                let base64 = object.data.pointer(&path)?.as_str().filter(|base64| !base64.is_empty())?;
                let webhook = webhook(&object.data, &path).map(|name| format!("/{name}")).unwrap_or_default();
                Bundle::of_base64(format!("{kind}/{name}{webhook}"), base64)
            };
            expand(&object.data, pointer).into_iter().filter_map(bundle).collect()
        })
        .await
    }

    /// Every request for a certificate.
    ///
    /// # Errors
    /// The list failed.
    pub async fn certificate_requests(&self) -> Result<Vec<Request>, ClusterError> {
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        pages(&api, "certificatesigningrequests", |csr| vec![request(csr)]).await
    }

    /// Every bootstrap token, without its secret half.
    ///
    /// # Errors
    /// The list failed.
    pub async fn bootstrap_tokens(&self) -> Result<Vec<BootstrapToken>, ClusterError> {
        let api: Api<BootstrapSecret> = Api::namespaced(self.client.clone(), "kube-system");
        let params = ListParams::default().fields("type=bootstrap.kubernetes.io/token");
        pages_of(&api, "bootstrap tokens in kube-system", params, |secret: BootstrapSecret| {
            let BootstrapSecret { metadata, data } = secret;
            let id = data.token_id.map(text).or(metadata.name).unwrap_or_default();
            let usages =
                [("authentication", data.usage_bootstrap_authentication), ("signing", data.usage_bootstrap_signing)];
            let allowed = |usage: Option<ByteString>| usage.is_some_and(|value| value.0 == b"true");
            vec![BootstrapToken {
                id,
                expires: data.expiration.map(text).filter(|text| !text.is_empty()),
                usages: usages
                    .into_iter()
                    .filter_map(|(name, usage)| allowed(usage).then(|| name.to_owned()))
                    .collect(),
                groups: data
                    .auth_extra_groups
                    .map(text)
                    .iter()
                    .flat_map(|text| text.split(','))
                    .map(str::to_owned)
                    .collect(),
            }]
        })
        .await
    }
}

/// The webhook to which a path leads, of an object that has several: its name, which is unique in the object
/// (`pkg/apis/admissionregistration/validation/validation.go`).
fn webhook(data: &Value, path: &str) -> Option<String> {
    let (number, _) = path.strip_prefix("/webhooks/")?.split_once('/')?;
    let name = data.pointer(&format!("/webhooks/{number}/name")).and_then(Value::as_str);
    Some(name.unwrap_or(number).to_owned())
}

fn text(bytes: ByteString) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

fn request(csr: CertificateSigningRequest) -> Request {
    let parsed = CertificateRequest::from_pem(&csr.spec.request.0).ok();
    let mut sans: Vec<String> = parsed.as_ref().map(|request| request.dns_names().to_vec()).unwrap_or_default();
    sans.extend(parsed.iter().flat_map(CertificateRequest::ip_addresses).map(ToString::to_string));
    Request {
        state: state(&csr),
        name: csr.metadata.name.unwrap_or_default(),
        signer: csr.spec.signer_name,
        requester: csr.spec.username.unwrap_or_default(),
        subject: parsed.map(|request| request.subject().to_owned()).unwrap_or_default(),
        sans,
        created: csr.metadata.creation_timestamp.map(|time| time.0.to_string()).unwrap_or_default(),
    }
}

fn state(csr: &CertificateSigningRequest) -> RequestState {
    let status = csr.status.clone().unwrap_or_default();
    let conditions: BTreeMap<String, String> =
        status.conditions.into_iter().flatten().map(|condition| (condition.type_, condition.status)).collect();
    if conditions.contains_key("Denied") {
        RequestState::Denied
    } else if conditions.contains_key("Failed") {
        RequestState::Failed
    } else if status.certificate.is_some() {
        RequestState::Issued
    } else if conditions.contains_key("Approved") {
        RequestState::Approved
    } else {
        RequestState::Pending
    }
}

#[cfg(test)]
mod tests;
