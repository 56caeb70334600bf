//! Bootstrap tokens (`k8s.io/cluster-bootstrap/token/api`): for an hour, their bearer may ask for a kubelet's certificate, which
//! kube-controller-manager approves by itself.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::config::AuthInfo;
use zeroize::Zeroizing;

use super::client::Cluster;
use super::error::ClusterError;
use super::kubelet;

/// kubeadm's group of joining nodes (`cmd/kubeadm/app/constants/constants.go`, `NodeBootstrapTokenAuthGroup`).
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// How long a token counts.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// 32 letters that no random byte prefers.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Makes a token for one node, good for authentication only and for one hour. kube-controller-manager removes it then.
///
/// # Errors
/// The call failed, or there is no entropy.
pub async fn token(cluster: &Cluster, node: &str, now: Timestamp) -> Result<Zeroizing<String>, ClusterError> {
    let (id, secret) = (word(6)?, word(16)?);
    let end = now.checked_add(LIFETIME).unwrap_or(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let data = BTreeMap::from([
        ("token-id".to_owned(), id.to_string()),
        ("token-secret".to_owned(), secret.to_string()),
        ("expiration".to_owned(), end),
        ("usage-bootstrap-authentication".to_owned(), "true".to_owned()),
        ("auth-extra-groups".to_owned(), GROUP.to_owned()),
        ("description".to_owned(), format!("certctl repair of node {node}")),
    ]);
    let object = Secret {
        metadata: ObjectMeta {
            name: Some(format!("bootstrap-token-{}", id.as_str())),
            namespace: Some("kube-system".into()),
            ..ObjectMeta::default()
        },
        type_: Some("bootstrap.kubernetes.io/token".into()),
        string_data: Some(data),
        ..Secret::default()
    };
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    api.create(&PostParams::default(), &object).await.map_err(ClusterError::call("create", "a bootstrap token"))?;
    Ok(Zeroizing::new(format!("{}.{}", *id, *secret)))
}

/// Connects to the cluster of a kubeconfig, with a token in place of the user that stands there.
///
/// # Errors
/// The kubeconfig cannot be used.
pub async fn connect(conf: &Path, token: &str, verb: &'static str) -> Result<Cluster, ClusterError> {
    let mut kubeconfig = kubelet::read(conf)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
    }
    kubelet::connect(kubeconfig, conf, verb).await
}

fn word(length: usize) -> Result<Zeroizing<String>, ClusterError> {
    let mut bytes = Zeroizing::new(vec![0_u8; length]);
    let entropy = SystemRandom::new().fill(&mut bytes);
    entropy.map_err(|_| ClusterError::content("a bootstrap token", "the system has no random bytes"))?;
    Ok(Zeroizing::new(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::played::{Answer, Call, cluster};
    use super::*;

    #[tokio::test]
    async fn a_token_is_for_joining_only_and_ends_within_the_hour() {
        let seen = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&seen);
        let played = cluster(move |call: &Call| {
            *kept.lock().unwrap() = Some(call.clone());
            Answer::Object(call.body.clone())
        });
        let now = "2031-05-06T07:08:09Z".parse().unwrap();
        let token = token(&played, "w-1", now).await.unwrap();
        let (id, secret) = token.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(token.bytes().all(|byte| byte == b'.' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        let call = seen.lock().unwrap().clone().unwrap();
        assert!(call.path.starts_with("/api/v1/namespaces/kube-system/secrets"), "{}", call.path);
        let data = &call.body["stringData"];
        assert_eq!(call.body["metadata"]["name"], format!("bootstrap-token-{id}"));
        assert_eq!((&data["token-secret"], &data["expiration"]), (&secret.into(), &"2031-05-06T08:08:09Z".into()));
        assert_eq!(data["auth-extra-groups"], GROUP);
        assert!(data["usage-bootstrap-signing"].is_null(), "it does not sign cluster-info");
    }
}
