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

/// Why a request that is gone will not be signed.
const DELETED: &str = "it was deleted";

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
    let created = submit(cluster, request, signer, lifetime).await?;
    let name = created.metadata.name.clone().unwrap_or_default();
    if approve {
        self::approve(cluster, created).await?;
    }
    let Ok(signed) = tokio::time::timeout(timeout, signed(cluster, &name)).await else {
        // It does not say that it will not be signed: perhaps no kube-controller-manager leads just now.
        let late = format!("not signed within {} s: does a kube-controller-manager lead?", timeout.as_secs());
        return Err(ClusterError::unanswered("wait for", format!("csr/{name}"), late));
    };
    let result = signed?;
    remove(cluster, &name).await;
    result.map_err(|reason| ClusterError::content(format!("csr/{name}"), reason))
}

/// Creates a request and returns it as it stands on the API server. `lifetime` as for [`sign`].
///
/// # Errors
/// A failed call; code 403 also when the signer's rules forbid what is asked for.
pub async fn submit(
    cluster: &Cluster,
    request: &str,
    signer: &str,
    lifetime: Option<i64>,
) -> Result<CertificateSigningRequest, ClusterError> {
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
    let create = ClusterError::call("create", "a certificate signing request");
    api(cluster).create(&PostParams::default(), &csr).await.map_err(create)
}

/// Waits, for ever, until a request is signed, or refused for the reason in the inner result.
///
/// # Errors
/// The watch failed, which says nothing about the request: an API server went away, for example.
pub async fn signed(cluster: &Cluster, name: &str) -> Result<Result<String, String>, ClusterError> {
    let decided =
        |csr: Option<&CertificateSigningRequest>| csr.is_none() || csr.is_some_and(|csr| verdict(csr).is_some());
    let csr = await_condition(api(cluster), name, decided)
        .await
        .map_err(|error| ClusterError::unanswered("watch", format!("csr/{name}"), error))?;
    Ok(csr.as_ref().and_then(verdict).unwrap_or_else(|| Err(DELETED.into())))
}

/// What has become of a request: its certificate or why there will be none; `None` while nobody has decided.
///
/// # Errors
/// A failed call; code 404 when it is gone.
pub async fn outcome(cluster: &Cluster, name: &str) -> Result<Option<Result<String, String>>, ClusterError> {
    let csr = api(cluster).get(name).await.map_err(ClusterError::call("read", format!("csr/{name}")))?;
    Ok(verdict(&csr))
}

/// Removes a request that has served. Whoever may not leaves it to the cleaner, which does it after an hour (a day, while it is pending).
pub async fn remove(cluster: &Cluster, name: &str) {
    if let Err(error) = api(cluster).delete(name, &DeleteParams::default()).await {
        tracing::debug!(%error, "removal of csr/{name}");
    }
}

fn api(cluster: &Cluster) -> Api<CertificateSigningRequest> {
    Api::all(cluster.client.clone())
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

/// Approves this very request as the caller, for a rotation.
///
/// # Errors
/// A failed call; code 404 or 409 when it is gone, or another one of the same name is there.
pub async fn approve(cluster: &Cluster, csr: CertificateSigningRequest) -> Result<(), ClusterError> {
    approve_for(cluster, csr, "CertctlRotation").await
}

/// Approves this very request as the caller; `reason` is one word for the condition.
///
/// # Errors
/// As [`approve`]; code 403 when the caller may not.
pub async fn approve_for(
    cluster: &Cluster,
    mut csr: CertificateSigningRequest,
    reason: &str,
) -> Result<(), ClusterError> {
    let name = csr.metadata.name.clone().unwrap_or_default();
    let status = csr.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: Some(reason.to_owned()),
        message: Some("approved by the administrator who runs certctl".into()),
        ..CertificateSigningRequestCondition::default()
    });
    // The uid makes the API server refuse when another request has taken the name.
    let patch = Patch::Merge(serde_json::json!({
        "metadata": { "uid": csr.metadata.uid },
        "status": { "conditions": csr.status.and_then(|status| status.conditions) },
    }));
    api(cluster)
        .patch_approval(&name, &PatchParams::default(), &patch)
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
