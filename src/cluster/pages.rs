//! Lists in pages: an API server need not hold the pods of 5,000 nodes in one answer, nor need we.

use std::fmt::Debug;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::error::ClusterError;

/// Objects in one page, as kubectl asks for (`--chunk-size`).
const PAGE: u32 = 500;

/// Lists every object, page by page, and keeps what `keep` makes of each.
///
/// # Errors
/// A list failed; `what` names it.
pub(super) async fn pages<K, T>(api: &Api<K>, what: &str, keep: impl Fn(K) -> Vec<T>) -> Result<Vec<T>, ClusterError>
where
    K: Clone + DeserializeOwned + Debug,
{
    pages_of(api, what, ListParams::default(), keep).await
}

/// As [`pages`], of the objects that `selected` selects.
///
/// # Errors
/// As [`pages`].
pub(super) async fn pages_of<K, T>(
    api: &Api<K>,
    what: &str,
    selected: ListParams,
    keep: impl Fn(K) -> Vec<T>,
) -> Result<Vec<T>, ClusterError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut kept = Vec::new();
    let mut params = selected.clone().limit(PAGE);
    loop {
        match api.list(&params).await {
            Ok(page) => {
                params.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
                kept.extend(page.items.into_iter().flat_map(&keep));
                if params.continue_token.is_none() {
                    return Ok(kept);
                }
            }
            // The first page is too old to be continued; the whole list at once never is (client-go's pager does the same).
            Err(kube::Error::Api(status)) if status.code == 410 && params.continue_token.is_some() => {
                kept.clear();
                params = selected.clone();
            }
            Err(error) => return Err(ClusterError::call("list", what)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::super::played::{Answer, Call, cluster};
    use super::*;

    fn page(names: &[&str], next: &str) -> Answer {
        let items: Vec<Value> = names.iter().map(|name| json!({ "metadata": { "name": name } })).collect();
        Answer::Object(
            json!({ "apiVersion": "v1", "kind": "PodList", "metadata": { "continue": next }, "items": items }),
        )
    }

    async fn names(play: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Result<Vec<String>, ClusterError> {
        let pods: Api<Pod> = Api::all(cluster(play).client.clone());
        pages(&pods, "pods", |pod| pod.metadata.name.into_iter().collect()).await
    }

    #[tokio::test]
    async fn every_page_is_asked_for() {
        let found = names(|call| match call.path.contains("continue=more") {
            false if call.path.contains("limit=500") => page(&["a", "b"], "more"),
            true => page(&["c"], ""),
            false => Answer::Failure(400, "no limit"),
        });
        assert_eq!(found.await.unwrap(), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_list_that_became_too_old_between_two_pages_is_taken_whole() {
        let found = names(|call| match call.path.as_str() {
            path if path.contains("continue=") => Answer::Failure(410, "Expired"),
            path if path.contains("limit=") => page(&["a"], "more"),
            _ => page(&["a", "b"], ""),
        });
        assert_eq!(found.await.unwrap(), ["a", "b"]);
    }
}
