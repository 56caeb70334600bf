//! A renewal that the driver asks for: the plan first, then what was shown, by the code that `certctl renew --root` runs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Session;
use crate::agent::alone::{Proof, Seen, prove};
use crate::agent::members;
use crate::agent::operations::{as_kubelet, ready, sign, sign_serving};
use crate::agent::vouching::Asker;
use crate::agent::writing;
use crate::api::{NodePkiSpec, NodePkiStatus, NodeRenewal, RenewalOrder, RenewalOutcome, Renewed, replaced};
use crate::node::renewal::{self, Signed};
use crate::node::{Authorities, Layout, NodeError, in_full};
use crate::pki::{BACKDATE, Certificate};
use crate::plan::renewal::{CertificateName, Inventory, Item, Place, Plan, ProofRow, rows};
use crate::plan::{Component, NodeState, Op};

/// How often somebody who does not answer is asked for a new certificate: a kubelet that restarts on a busy machine takes a while.
const ROUNDS: usize = 3;

/// What was asked last, and the answer.
#[derive(Default)]
pub(super) struct Renewing {
    order: Option<RenewalOrder>,
    /// For the status.
    pub(super) answer: Option<NodeRenewal>,
}

impl Session {
    /// Answers an order, once: one that failed is not tried again and again, the driver has stopped then.
    ///
    /// `standing` is what the object's status says: an agent that has just started goes by what the one before it has answered.
    pub(super) async fn renew(
        &mut self,
        (spec, standing): (&NodePkiSpec, Option<&NodePkiStatus>),
        generation: i64,
        authorities: &Authorities,
    ) {
        if self.renewing.order == spec.renewal {
            return;
        }
        if let (Some(order), Some(answer)) = (&spec.renewal, standing.and_then(|status| status.renewal.as_ref()))
            && order.replace.is_some()
            && answer.run == order.run
            && answer.outcome.is_some()
        {
            self.renewing = Renewing { order: spec.renewal.clone(), answer: Some(answer.clone()) };
            return;
        }
        let answer = match &spec.renewal {
            None => None,
            Some(order) if order.replace.is_none() => Some(self.plan_renewal(order, authorities).await),
            Some(order) => {
                let mut status = self.reported.clone().unwrap_or_default();
                status.observed_generation = generation;
                status.doing = Some(format!("{}: renewing certificates", order.run));
                self.report(status).await;
                Some(self.carry_out(order, spec, authorities).await)
            }
        };
        self.renewing = Renewing { order: spec.renewal.clone(), answer };
    }

    async fn plan_renewal(&self, order: &RenewalOrder, authorities: &Authorities) -> NodeRenewal {
        let mut answer = NodeRenewal { run: order.run.clone(), ..NodeRenewal::default() };
        match self.planned(order, authorities).await {
            Ok(plan) => show(&plan, &mut answer),
            Err(problem) => answer.problem = Some(problem),
        }
        answer
    }

    async fn planned(&self, order: &RenewalOrder, authorities: &Authorities) -> Result<Plan, String> {
        let layout = self.node.layout();
        refuse_in_rotation(layout)?;
        let inventory = renewal::inventory(layout);
        let mut plan = match order.request()?.on(&inventory) {
            Some(request) => Plan::new(&inventory, &request, Timestamp::now())?,
            None => Plan::default(),
        };
        plan.add_stale(&self.seen(authorities).await?);
        Ok(plan)
    }

    async fn seen(&self, authorities: &Authorities) -> Result<NodeState, String> {
        let known: Vec<Certificate> = authorities.certificates().cloned().collect();
        self.node.observe(&known).await.map(|seen| seen.state).map_err(words)
    }

    async fn carry_out(&mut self, order: &RenewalOrder, spec: &NodePkiSpec, authorities: &Authorities) -> NodeRenewal {
        let mut answer = NodeRenewal { run: order.run.clone(), ..NodeRenewal::default() };
        let mut outcome = RenewalOutcome::default();
        tracing::info!(run = order.run, "renewal: begin");
        answer.problem = self.replace(order, spec, authorities, &mut answer, &mut outcome).await.err();
        tracing::info!(run = order.run, problem = answer.problem, "renewal: end");
        answer.outcome = Some(outcome);
        answer
    }

    /// Any part of it may have been done by an agent that was cut off: what stands in the files and what runs decides what is left.
    async fn replace(
        &mut self,
        order: &RenewalOrder,
        spec: &NodePkiSpec,
        authorities: &Authorities,
        answer: &mut NodeRenewal,
        outcome: &mut RenewalOutcome,
    ) -> Result<(), String> {
        let layout = self.node.layout().clone();
        let wanted = replaced(order.replace.as_deref().unwrap_or_default())?;
        let _writing = writing(&layout).await.map_err(|error| error.sentence())?;
        refuse_in_rotation(&layout)?;
        renewal::put_right(&layout).map_err(words)?;
        let inventory = renewal::inventory(&layout);
        let mut plan = Plan::to_replace(&inventory, &order.request()?, &wanted, Timestamp::now())?;
        plan.add_stale(&self.seen(authorities).await?);
        show(&plan, answer);
        if let Some(blocker) = plan.blockers.first() {
            return Err(format!("{}: {} ({})", blocker.name, blocker.problem, blocker.remedy));
        }
        self.prober.forget_answers();
        let signed = self.sign(&plan.items, &inventory, spec).await?;
        if !signed.is_empty() {
            renewal::write(&layout, &signed, &order.run, Timestamp::now()).map_err(words)?;
            outcome.backup = Some(layout.on_node(&layout.backup(&order.run)));
        }
        self.restart(&plan.restarts, order, spec, authorities).await?;
        let names: Vec<CertificateName> = wanted.keys().copied().collect();
        let standing = renewal::standing(&layout, &names).map_err(words)?;
        outcome.renewed = standing.iter().map(renewed).collect();
        outcome.proofs = proofs(&layout, &standing).await;
        judge(&outcome.proofs)?;
        healthy(&layout).await
    }

    /// Signs here what the CA can sign here; the rest is the kubelet's own and goes through the CSR API.
    async fn sign(&mut self, items: &[Item], inventory: &Inventory, spec: &NodePkiSpec) -> Result<Vec<Signed>, String> {
        let layout = self.node.layout().clone();
        let (asked, here): (Vec<Item>, Vec<Item>) =
            items.iter().cloned().partition(|item| inventory.asks_cluster(item.name));
        let mut signed = renewal::sign(&layout, &here, Timestamp::now()).map_err(words)?;
        for item in &asked {
            // A request that the CSR API refuses goes out in the status.
            self.written_past |= item.name == CertificateName::KubeletClient;
            signed.push(self.ask(item, spec, &layout).await.map_err(|problem| format!("{}: {problem}", item.name))?);
        }
        Ok(signed)
    }

    async fn ask(&self, item: &Item, spec: &NodePkiSpec, layout: &Layout) -> Result<Signed, String> {
        let (key, request) = renewal::request(layout, item).map_err(words)?;
        // kube-controller-manager counts a lifetime from five minutes ago (`pkg/controller/certificates/authority/policies.go`).
        let lifetime = Some((item.validity + BACKDATE).as_secs());
        let pem = if item.name == CertificateName::KubeletServer {
            sign_serving(layout.clone(), request, lifetime).await
        } else {
            sign(layout.clone(), self.asker(spec), request, lifetime).await
        };
        let pem = pem.map_err(|error| format!("the cluster did not sign it: {}", in_full(error.as_ref())))?;
        renewal::received(layout, item, &pem, key, Timestamp::now()).map_err(words)
    }

    pub(super) fn asker(&self, spec: &NodePkiSpec) -> Asker {
        Asker {
            cluster: self.cluster.clone(),
            node: self.name.clone(),
            vouchers: spec.vouchers.clone(),
            status: self.reported.clone(),
        }
    }

    /// One after the other, each healthy before the next; under the renewal's name in journal and back-ups.
    async fn restart(
        &self,
        restarts: &[Op],
        order: &RenewalOrder,
        spec: &NodePkiSpec,
        authorities: &Authorities,
    ) -> Result<(), String> {
        let spec = NodePkiSpec { rotation: Some(order.run.clone()), ..spec.clone() };
        for op in restarts {
            self.apply(op, &spec, authorities).await?;
        }
        Ok(())
    }
}

fn words(error: NodeError) -> String {
    in_full(&error)
}

fn show(plan: &Plan, answer: &mut NodeRenewal) {
    answer.certificates = rows(plan, false);
    answer.restarts = plan.restarts.iter().filter_map(Op::restarts).map(str::to_owned).collect();
}

fn refuse_in_rotation(layout: &Layout) -> Result<(), String> {
    renewal::rotation_under_way(layout).map_or(Ok(()), |why| Err(format!("a CA rotation is under way: {why}")))
}

fn renewed(signed: &Signed) -> Renewed {
    Renewed {
        name: signed.name,
        serial: signed.certificate.serial_hex(),
        not_after: signed.certificate.not_after(),
        key_algorithm: signed.certificate.key_description().into_owned(),
    }
}

/// Asks who shows or checks the certificates on this node, again where nobody answers.
async fn proofs(layout: &Layout, standing: &[Signed]) -> Vec<ProofRow> {
    // A worker's kubeconfig leads to an API server elsewhere.
    let here = |signed: &&Signed| layout.is_control_plane() || !matches!(signed.name.place(), Place::Kubeconfig(_));
    let asked: Vec<Signed> = standing.iter().filter(here).cloned().collect();
    let mut seen: BTreeMap<CertificateName, Proof> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let silent = |name| seen.get(&name).is_none_or(|proof| proof.seen == Seen::Nobody);
        let left: Vec<Signed> = asked.iter().filter(|signed| silent(signed.name)).cloned().collect();
        if left.is_empty() {
            break;
        }
        seen.extend(prove(layout, &left).await.into_iter().map(|proof| (proof.name, proof)));
    }
    let mut rows: Vec<ProofRow> = seen.values().map(Proof::row).collect();
    if standing.iter().any(|signed| signed.name == CertificateName::KubeletClient) {
        rows.push(kubelet_client(layout).await);
    }
    rows
}

/// The kubelet's API server must let the new certificate in.
async fn kubelet_client(layout: &Layout) -> ProofRow {
    let admitted = async { as_kubelet(layout).await?.version().await };
    let seen = match admitted.await {
        Ok(_) => Seen::New,
        Err(error) if error.code() == Some(401) => Seen::Refused,
        Err(error) => {
            tracing::warn!(%error, "the kubelet's new certificate is not proved");
            Seen::Nobody
        }
    };
    Proof { name: CertificateName::KubeletClient, address: "the API server in kubelet.conf".to_owned(), seen }.row()
}

/// One node after the other is changed, so one of which it is not known whether it works must be the last.
fn judge(proofs: &[ProofRow]) -> Result<(), String> {
    let wrong = |proof: &&ProofRow| proof.seen != Seen::New.word();
    let says = |proof: &ProofRow| match proof.seen.as_str() {
        "other" => format!("{}: {} goes on showing the old certificate", proof.name, proof.address),
        "refused" => format!("{}: {} refuses the new certificate", proof.name, proof.address),
        _ => format!("{}: {} does not answer", proof.name, proof.address),
    };
    let wrong: Vec<String> = proofs.iter().filter(wrong).map(says).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("renewed, but not proved: {}", wrong.join("; "))) }
}

async fn healthy(layout: &Layout) -> Result<(), String> {
    if !layout.is_control_plane() {
        return Ok(());
    }
    if let Err(error) = ready(layout.clone(), Component::KubeApiserver).await {
        return Err(format!("renewed, but kube-apiserver is not ready: {}", in_full(error.as_ref())));
    }
    match members::healthy(layout).await {
        Some(false) => Err("renewed, but etcd on this node is not healthy".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
