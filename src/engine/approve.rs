//! Approval of the serving certificates that kubelets get on the way: nobody else does it.

use std::collections::BTreeMap;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::driver::Driver;
use crate::cluster::{csr, nodes};
use crate::plan::{Op, node_ops};
use crate::rotation::{Inventory, NodeView, Refusal, ServingRequest, may_approve};

impl Driver {
    /// Approves the pending requests that this rotation has brought about, and names those that look like it but must not be approved.
    ///
    /// Nothing here ends the run: a request that stays unapproved makes its node report that it was not signed.
    pub(super) async fn approve_serving(&mut self, look: &Inventory) {
        let changing = self.waiting_for_serving(look);
        let Some(requests) = self.live.serving_requests.as_ref().filter(|_| !changing.is_empty()) else { return };
        for request in requests.state().iter().filter(|request| csr::is_pending(request)) {
            match decide(request, &changing) {
                Ok(node) => self.approve(request, &node).await,
                Err(Refusal::NotChanging(node)) => {
                    tracing::debug!(node, csr = name(request), "a request that is none of this rotation's");
                }
                Err(reason) => self.warn_once(format!("csr/{} is not approved: {reason}", name(request))),
            }
        }
    }

    /// The nodes that were told to get a new serving certificate and have not got it, with their addresses.
    fn waiting_for_serving(&self, look: &Inventory) -> BTreeMap<String, Vec<String>> {
        let objects = self.live.nodes.state();
        let named = objects.iter().filter_map(|node| Some((node.metadata.name.clone()?, node)));
        let waits = |name: &String| look.nodes.get(name).is_some_and(reissues_serving);
        named.filter(|(name, _)| waits(name)).map(|(name, node)| (name, nodes::addresses(node))).collect()
    }

    async fn approve(&mut self, request: &CertificateSigningRequest, node: &str) {
        match csr::approve(&self.cluster, request.clone()).await {
            Ok(()) => tracing::info!(node, csr = name(request), "approved"),
            // Gone, or somebody else was first: the watch will say.
            Err(error) if matches!(error.code(), Some(404 | 409)) => tracing::debug!(%error, "approval"),
            Err(error) => self.warn_once(error.to_string()),
        }
    }
}

fn name(request: &CertificateSigningRequest) -> &str {
    request.metadata.name.as_deref().unwrap_or_default()
}

fn reissues_serving(node: &NodeView) -> bool {
    let ops = node.target.as_ref().map(|target| node_ops(&node.state, target)).unwrap_or_default();
    ops.iter().any(|op| matches!(op, Op::ReissueKubeletServing { .. }))
}

pub(super) fn decide(
    request: &CertificateSigningRequest,
    changing: &BTreeMap<String, Vec<String>>,
) -> Result<String, Refusal> {
    let spec = &request.spec;
    let asked = ServingRequest {
        username: spec.username.as_deref().unwrap_or_default(),
        groups: spec.groups.as_deref().unwrap_or_default(),
        usages: spec.usages.as_deref().unwrap_or_default(),
        request: &spec.request.0,
    };
    may_approve(&asked, changing)
}
