//! Certificates through the CSR API (`certificates.k8s.io/v1`).

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;

use super::client::Cluster;
use super::error::ClusterError;

/// `kubernetes.io/kube-apiserver-client`: approved by hand, never for `system:masters`.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// `kubernetes.io/kube-apiserver-client-kubelet`: approved by kube-controller-manager when the requester is the node itself.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// `kubernetes.io/kubelet-serving`: approved by whoever knows the node's names.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Shortest lifetime that the API server lets one ask for, seconds (`pkg/apis/certificates/validation`).
const SHORTEST: i64 = 600;

/// Has a PEM request signed and returns the PEM certificate. With `approve`, approves it as the caller. `lifetime` is asked for in
/// seconds; kube-controller-manager caps it (`--cluster-signing-duration`).
///
/// # Errors
/// A failed call, a denial, or no certificate within `timeout`.
pub async fn sign(
    cluster: &Cluster,
    request: &str,
    signer: &str,
    approve: bool,
    lifetime: Option<i64>,
    timeout: Duration,
) -> Result<String, ClusterError> {
    let api: Api<CertificateSigningRequest> = Api::all(cluster.client.clone());
    let csr = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("certctl-".into()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.as_bytes().to_vec()),
            signer_name: signer.to_owned(),
            usages: Some(usages(signer)),
            expiration_seconds: lifetime.map(|seconds| i32::try_from(seconds.max(SHORTEST)).unwrap_or(i32::MAX)),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let created = api
        .create(&PostParams::default(), &csr)
        .await
        .map_err(ClusterError::call("create", "a certificate signing request"))?;
    let name = created.metadata.name.clone().unwrap_or_default();
    let object = format!("csr/{name}");
    if approve {
        self::approve(cluster, created).await?;
    }
    let signed = await_condition(api.clone(), &name, |csr: Option<&CertificateSigningRequest>| {
        csr.is_some_and(|csr| verdict(csr).is_some())
    });
    let csr = match tokio::time::timeout(timeout, signed).await {
        Ok(Ok(csr)) => csr,
        // Neither says that it will not be signed: an API server went away, or no kube-controller-manager leads just now.
        Ok(Err(error)) => return Err(ClusterError::unanswered("watch", object, error)),
        Err(_) => {
            let late = format!("not signed within {} s: does a kube-controller-manager lead?", timeout.as_secs());
            return Err(ClusterError::unanswered("wait for", object, late));
        }
    };
    let result = csr
        .as_ref()
        .and_then(verdict)
        .unwrap_or(Err("it was deleted".into()))
        .map_err(|reason| ClusterError::content(&object, reason));
    // It has served; the cleaner would remove it after an hour anyway.
    if let Err(error) = api.delete(&name, &DeleteParams::default()).await {
        tracing::debug!(%error, "removal of {object}");
    }
    result
}

/// What the signer wants asked for: the keys made here are ECDSA, which encipher nothing.
fn usages(signer: &str) -> Vec<String> {
    let auth = if signer == KUBELET_SERVING { "server auth" } else { "client auth" };
    vec!["digital signature".into(), auth.into()]
}

/// True while nobody has approved, denied or signed it.
#[must_use]
pub fn is_pending(csr: &CertificateSigningRequest) -> bool {
    csr.status.as_ref().is_none_or(|status| {
        status.certificate.is_none() && status.conditions.as_ref().is_none_or(|conditions| conditions.is_empty())
    })
}

/// Approves this very request as the caller.
///
/// # Errors
/// A failed call; code 404 or 409 when it is gone, or another one of the same name is there.
pub async fn approve(cluster: &Cluster, mut csr: CertificateSigningRequest) -> Result<(), ClusterError> {
    let api: Api<CertificateSigningRequest> = Api::all(cluster.client.clone());
    let name = csr.metadata.name.clone().unwrap_or_default();
    let status = csr.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: Some("CertctlRotation".into()),
        message: Some("approved by the administrator who runs certctl".into()),
        ..CertificateSigningRequestCondition::default()
    });
    // The uid makes the API server refuse when another request has taken the name.
    let patch = Patch::Merge(serde_json::json!({
        "metadata": { "uid": csr.metadata.uid },
        "status": { "conditions": csr.status.and_then(|status| status.conditions) },
    }));
    api.patch_approval(&name, &PatchParams::default(), &patch)
        .await
        .map_err(ClusterError::call("approve", format!("csr/{name}")))?;
    Ok(())
}

/// The certificate, or why there will be none; `None` while it is pending.
fn verdict(csr: &CertificateSigningRequest) -> Option<Result<String, String>> {
    let status = csr.status.as_ref()?;
    if let Some(certificate) = &status.certificate {
        return Some(String::from_utf8(certificate.0.clone()).map_err(|error| error.to_string()));
    }
    let refused = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Denied" || condition.type_ == "Failed")?;
    Some(Err(format!("{}: {}", refused.type_, refused.message.clone().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::super::played::{Answer, cluster};
    use super::*;

    /// `spec.expirationSeconds` of the request that is made for a lifetime.
    async fn asked_for(lifetime: Option<i64>) -> Value {
        let asked = Arc::new(Mutex::new(Value::Null));
        let seen = Arc::clone(&asked);
        let connection = cluster(move |call| {
            seen.lock().unwrap().clone_from(&call.body["spec"]["expirationSeconds"]);
            Answer::Failure(403, "Forbidden")
        });
        sign(&connection, "request", CLIENT, false, lifetime, Duration::from_secs(1)).await.unwrap_err();
        let asked = asked.lock().unwrap();
        asked.clone()
    }

    #[tokio::test]
    async fn the_lifetime_is_asked_for_as_long_as_the_api_server_takes_it() {
        assert_eq!(asked_for(Some(90 * 24 * 3600)).await, 7_776_000);
        assert_eq!(asked_for(Some(60)).await, 600);
        assert_eq!(asked_for(Some(i64::MAX)).await, i32::MAX);
        assert_eq!(asked_for(None).await, Value::Null);
    }
}
