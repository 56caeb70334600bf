//! What must be true before a rotation may begin.

use std::collections::BTreeMap;

use crate::plan::Verdict;

use super::inventory::{Goal, Inventory, NodeView, verdict};

/// Largest difference between a node's clock and the driver's, in seconds.
pub(super) const MAX_CLOCK_SKEW: i64 = 60;

/// A rotation may be paused, and nothing renews a leaf meanwhile: one that has less left must be renewed first. Seconds.
const SOON: i64 = 30 * 60;
/// The oldest API server, minor version: since 1.30 the API server itself holds agents to their own node's object
/// (ValidatingAdmissionPolicy in v1, and service-account tokens that name their node).
const OLDEST_MINOR: u32 = 30;
/// Forms of ClusterConfiguration that can be edited: maps of extra arguments, and lists (`cmd/kubeadm/app/apis/kubeadm`).
const FORMS: [&str; 2] = ["kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4"];
/// Lifetime of uploaded certificates, seconds (`DefaultCertTokenDuration` in `cmd/kubeadm/app/constants`).
const UPLOAD_LIFETIME: i64 = 2 * 3600;
/// Where kubeadm keeps its configuration.
const KUBEADM_CONFIG: &str = "configmap/kube-system/kubeadm-config";

/// One reason not to begin, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Blocker {
    /// The object, for example `node/cp-2`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.object, self.problem, self.remedy)
    }
}

/// What an agent says about its node's health besides the state of its PKI.
#[derive(Clone, Debug, Default)]
pub struct NodeHealth {
    /// Version of the agent, `None` when it does not run.
    pub agent_version: Option<String>,
    /// Node's clock minus the driver's, seconds, with the round trip taken off.
    pub clock_skew: i64,
    /// etcd on this node: `Some(false)` when it does not answer healthy, `None` without etcd. Its `/readyz` is a linearizable read, so each
    /// member speaks for the quorum too (`server/etcdserver/api/etcdhttp/health.go`).
    pub etcd_healthy: Option<bool>,
    /// Certificates of the node that are broken: path and problem.
    pub broken: Vec<(String, String)>,
    /// True when ca.key does not belong to the first certificate of ca.crt.
    pub key_mismatch: bool,
    /// Names in the kubelet's serving certificate that are no address of its Node.
    pub strange_names: Vec<String>,
}

/// kubeadm's ClusterConfiguration, as far as it matters here; a text is empty when it is not there or cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeadmRecord {
    /// `apiVersion`.
    pub api_version: String,
    /// `kubernetesVersion`.
    pub kubernetes_version: String,
}

/// What the cluster's objects say besides the state of their PKI.
#[derive(Clone, Debug, Default)]
pub struct ClusterHealth {
    /// kubeadm's record; `None` without a ClusterConfiguration.
    pub kubeadm: Option<KubeadmRecord>,
    /// Tag of kube-apiserver's image, by node.
    pub api_servers: BTreeMap<String, String>,
    /// Seconds since certificates were uploaded for a join; `None` when none are there.
    pub uploaded_age: Option<i64>,
    /// Objects whose caBundle holds the cluster CA and something that cannot be read, with the problem.
    pub broken_bundles: BTreeMap<String, String>,
}

/// What a preflight looks at.
pub struct Preflight<'a> {
    /// PKI state.
    pub inventory: &'a Inventory,
    /// The goal, waivers included.
    pub goal: &'a Goal,
    /// Health by node.
    pub health: &'a BTreeMap<String, NodeHealth>,
    /// Health of the cluster's objects.
    pub cluster: &'a ClusterHealth,
    /// Version of the driver, which the agents must have too.
    pub version: &'a str,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// Every reason not to begin; empty when nothing stands in the way.
#[must_use]
pub fn preflight(input: &Preflight<'_>) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let mut control_plane = 0;
    for (name, node) in input.inventory.counted(input.goal) {
        let health = input.health.get(name).cloned().unwrap_or_default();
        let mut found = Found { object: format!("node/{name}"), blockers: &mut blockers };
        if !agent(input, name, node, &health, &mut found) {
            continue;
        }
        certificates(input, node, &health, &mut found);
        if node.state.control_plane {
            control_plane += 1;
            authority(input, node, &health, &mut found);
        }
    }
    if control_plane > 0 && blockers.is_empty() && super::maker(input.inventory, input.goal).is_none() {
        let mut found = Found { object: "cluster".into(), blockers: &mut blockers };
        found.add(
            "no control-plane node keeps the keys of all CAs that processes may still trust",
            "end the older CAs with `certctl rotate-ca finalize` first",
        );
    }
    if control_plane == 0 && blockers.is_empty() {
        let mut found = Found { object: "cluster".into(), blockers: &mut blockers };
        found.add(
            "no control-plane node has an agent",
            "run `certctl install` and wait until its pods run on the control-plane nodes",
        );
    }
    let running = running(input);
    api_servers(&running, &mut blockers);
    if let Some(kubeadm) = &input.cluster.kubeadm {
        recorded(kubeadm, &running, &mut blockers);
    }
    for (object, problem) in &input.cluster.broken_bundles {
        let mut found = Found { object: object.clone(), blockers: &mut blockers };
        found.add(
            format!("its caBundle holds the cluster CA and something that cannot be read: {problem}"),
            "repair the caBundle, or take the broken part out",
        );
    }
    blockers
}

/// What the administrator should know and what stops nothing.
#[must_use]
pub fn warnings(input: &Preflight<'_>) -> Vec<String> {
    let fresh = input.cluster.uploaded_age.filter(|age| *age < UPLOAD_LIFETIME);
    let join = fresh.map(|age| {
        format!(
            "secret/kube-system/kubeadm-certs was uploaded {} min ago: a control-plane node may be joining; let it finish first, or join \
             it afterwards (the Secret holds the present CA's key and is deleted at the end)",
            age / 60
        )
    });
    join.into_iter().collect()
}

/// Control-plane nodes by the version of their API server. One whose image has no tag is left out.
fn running<'a>(input: &'a Preflight<'_>) -> BTreeMap<Release, Vec<&'a str>> {
    let mut running: BTreeMap<Release, Vec<&str>> = BTreeMap::new();
    for (name, _) in input.inventory.control_plane(input.goal) {
        if let Some(release) = input.cluster.api_servers.get(name).and_then(|tag| release(tag)) {
            running.entry(release).or_default().push(name);
        }
    }
    running
}

/// An upgrade under way writes manifests and kubeadm's record while the rotation does: one after the other.
fn api_servers(running: &BTreeMap<Release, Vec<&str>>, blockers: &mut Vec<Blocker>) {
    for (release, nodes) in running.iter().filter(|(release, _)| release.0 == 1 && release.1 < OLDEST_MINOR) {
        let mut found = Found { object: format!("node/{}", nodes.join(", node/")), blockers };
        found.add(
            format!("its API server is {}, the oldest supported is 1.{OLDEST_MINOR}", written(*release)),
            "upgrade the cluster first",
        );
    }
    if running.len() > 1 {
        let mut found = Found { object: "cluster".into(), blockers };
        let each: Vec<String> =
            running.iter().map(|(release, nodes)| format!("{} on {}", written(*release), nodes.join(", "))).collect();
        found.add(
            format!("its API servers have different versions, so an upgrade is under way: {}", each.join("; ")),
            "finish it with `kubeadm upgrade node` on the nodes that are behind",
        );
    }
}

fn recorded(kubeadm: &KubeadmRecord, running: &BTreeMap<Release, Vec<&str>>, blockers: &mut Vec<Blocker>) {
    let mut found = Found { object: KUBEADM_CONFIG.into(), blockers };
    if !FORMS.contains(&kubeadm.api_version.as_str()) {
        found.add(
            format!("its ClusterConfiguration has apiVersion `{}`, not {}", kubeadm.api_version, FORMS.join(" or ")),
            "repair it, or let the `kubeadm upgrade` of a supported version write it",
        );
    }
    let one = running.keys().next().copied().filter(|_| running.len() == 1);
    if let (Some(recorded), Some(running)) = (release(&kubeadm.kubernetes_version), one)
        && recorded != running
    {
        let (recorded, running) = (written(recorded), written(running));
        found.add(
            format!("kubeadm records version {recorded}, the API servers run {running}"),
            format!("finish the upgrade: `kubeadm upgrade apply v{running}` records it"),
        );
    }
}

/// Major, minor and patch. What follows them (a build, a vendor's suffix) is left aside: image tags write it in another way
/// (`KubernetesVersionToImageTag` in `cmd/kubeadm/app/util`).
type Release = (u32, u32, u32);

fn release(version: &str) -> Option<Release> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).splitn(3, '.');
    let mut number = || {
        let part = parts.next()?;
        part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number()?, number()?, number()?))
}

fn written((major, minor, patch): Release) -> String {
    format!("{major}.{minor}.{patch}")
}

/// What to do about a node that does not take part. A control-plane node that is up serves: left out, it would go on refusing clients of
/// the new CA behind the balancer.
pub(super) fn leave_out(name: &str, node: &NodeView) -> String {
    if node.state.control_plane && node.ready {
        "bring its agent back; a control-plane node can be left out only while it is down".into()
    } else {
        format!("bring it back, or go on without it: --waive node/{name}")
    }
}

/// Waivers that nobody may give, also in the middle of a rotation.
#[must_use]
pub fn waiver_blockers(inventory: &Inventory, goal: &Goal) -> Vec<Blocker> {
    let left_out = inventory.nodes.iter().filter(|(name, _)| goal.waived.contains(*name));
    left_out
        .filter(|(_, node)| node.state.control_plane && node.ready)
        .map(|(name, _)| Blocker {
            object: format!("node/{name}"),
            problem: "it is waived, but it is a control-plane node and Ready: its API server would go on refusing clients of the new CA".into(),
            remedy: "mend its agent, or take the node down before it is left out".into(),
        })
        .collect()
}

struct Found<'a> {
    object: String,
    blockers: &'a mut Vec<Blocker>,
}

impl Found<'_> {
    fn add(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.blockers.push(Blocker { object: self.object.clone(), problem: problem.into(), remedy: remedy.into() });
    }
}

/// True when there is an agent whose report can be looked at.
fn agent(input: &Preflight<'_>, name: &str, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) -> bool {
    if !node.ready {
        found.add("the node is not Ready", leave_out(name, node));
    }
    let Some(version) = &health.agent_version else {
        found.add("no certctl agent has reported", format!("run `certctl install`; {}", leave_out(name, node)));
        return false;
    };
    if version != input.version {
        found.add(
            format!("its agent has version {version}, this is {}", input.version),
            "run `certctl install` with this version",
        );
    }
    if !node.responding {
        found.add(
            "its agent does not answer",
            format!("look at `kubectl -n certctl-system get pods -o wide`; {}", leave_out(name, node)),
        );
    }
    if health.clock_skew.abs() > MAX_CLOCK_SKEW {
        found.add(
            format!("its clock is {} s off, more than {MAX_CLOCK_SKEW} s", health.clock_skew),
            "set the clocks by NTP; never turn a clock back on a running node",
        );
    }
    true
}

fn certificates(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    for (path, problem) in &health.broken {
        found.add(format!("{path}: {problem}"), "repair or remove the file, then try again");
    }
    let disk = &node.state.disk;
    let leaves = disk.leaves.iter().map(|(leaf, state)| (format!("pki/{}.crt", leaf.name()), state.not_after));
    let confs = disk
        .confs
        .iter()
        .filter(|(_, conf)| conf.issuer.is_some())
        .map(|(conf, state)| (conf.file_name().to_owned(), state.not_after));
    let kubelet =
        disk.kubelet_client.iter().map(|_| ("kubelet-client-current.pem".to_owned(), disk.kubelet_client_not_after));
    for (path, not_after) in leaves.chain(confs).chain(kubelet) {
        if not_after <= input.now {
            found.add(format!("{path} has expired"), "renew it first (`certctl renew`, `kubeadm certs renew`), or bring the cluster back with `certctl repair`");
        } else if not_after <= input.now + SOON {
            found.add(
                format!("{path} expires within {} min, and a rotation may be paused", SOON / 60),
                "renew it first (`kubeadm certs renew`; a kubelet renews its own through the CSR API)",
            );
        }
    }
    serving(input, node, health, found);
    if let Some(stranger) =
        disk.ca_bundle.iter().find(|ca| **ca != input.goal.from && Some(*ca) != input.goal.to.as_ref())
    {
        found.add(
            format!("pki/ca.crt is already a bundle: it holds CA {}", stranger.short()),
            "finish or undo the rotation that somebody began, until ca.crt holds one CA on every node",
        );
    }
}

/// The kubelet's serving certificate, where the cluster CA signed it. Nobody approves its renewal by himself, so it does expire.
fn serving(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    let Some(serving) = &node.state.disk.kubelet_serving else { return };
    if serving.not_after <= input.now {
        found.add(
            "kubelet-server-current.pem has expired",
            "approve the kubelet's request for a new one (`kubectl get csr`, `kubectl certificate approve NAME`), \
             or remove the file if the kubelet's serverTLSBootstrap is off",
        );
    }
    // A control-plane node signs its own; for a worker's request the driver must approve these names.
    if let Some(name) = health.strange_names.first().filter(|_| !node.state.control_plane) {
        found.add(
            format!("kubelet-server-current.pem is for {name}, which is no address of the node"),
            "approve the kubelet's request for a new one (`kubectl get csr`), or remove the file if the kubelet's serverTLSBootstrap is off",
        );
    }
}

fn authority(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    let disk = &node.state.disk;
    if disk.ca_key.is_none() {
        found.add(
            "pki/ca.key is missing (external CA)",
            "put the CA's key there for the rotation; an external CA cannot be rotated yet",
        );
    } else if health.key_mismatch {
        found.add(
            "pki/ca.key does not belong to pki/ca.crt",
            "put the matching key back, for example from another control-plane node",
        );
    }
    if health.etcd_healthy == Some(false) {
        found.add("etcd is not healthy", "look at `etcdctl endpoint health --cluster`; a rotation needs every member");
    }
    if verdict(&node.apiserver, &input.goal.from) == Verdict::Refused {
        found.add("its API server refuses clients of the present CA", "look at pki/ca.crt on that node");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::CaId;
    use crate::plan::{Leaf, LeafState};

    const NOW: i64 = 1_000_000;

    /// Two control-plane nodes that stand in nobody's way.
    fn healthy() -> (Inventory, Goal, ClusterHealth) {
        let ca = CaId::planned("old");
        let mut view = NodeView { responding: true, ready: true, ..NodeView::default() };
        view.state.control_plane = true;
        view.state.disk.ca_bundle = vec![ca.clone()];
        view.state.disk.ca_key = Some(ca.clone());
        view.apiserver.clients.insert(ca.clone(), Verdict::Accepted);
        let leaf = LeafState { issuer: Some(ca.clone()), vouched_by: Vec::new(), not_after: NOW + SOON + 1 };
        view.state.disk.leaves.insert(Leaf::Apiserver, leaf);
        let nodes = BTreeMap::from([("cp-1".to_owned(), view.clone()), ("cp-2".to_owned(), view)]);
        let goal = Goal {
            from: ca,
            to: None,
            legacy: Vec::new(),
            rollback: false,
            waived: Default::default(),
            max_unavailable: 1,
            pause_before: None,
        };
        let cluster = ClusterHealth {
            kubeadm: Some(KubeadmRecord {
                api_version: "kubeadm.k8s.io/v1beta4".into(),
                kubernetes_version: "v1.36.3".into(),
            }),
            api_servers: ["cp-1", "cp-2"].map(|node| (node.to_owned(), "v1.36.3".to_owned())).into(),
            ..ClusterHealth::default()
        };
        (Inventory { nodes, ..Inventory::default() }, goal, cluster)
    }

    fn with<T>(inventory: &Inventory, goal: &Goal, cluster: &ClusterHealth, ask: impl Fn(&Preflight<'_>) -> T) -> T {
        let health = inventory.nodes.keys().map(|name| {
            let agent = NodeHealth { agent_version: Some("1".into()), ..NodeHealth::default() };
            (name.clone(), agent)
        });
        ask(&Preflight { inventory, goal, health: &health.collect(), cluster, version: "1", now: NOW })
    }

    /// `object: problem` of every blocker after `change`.
    fn found(change: impl Fn(&mut Inventory, &mut ClusterHealth)) -> Vec<String> {
        let (mut inventory, goal, mut cluster) = healthy();
        change(&mut inventory, &mut cluster);
        let blockers = with(&inventory, &goal, &cluster, preflight);
        blockers.iter().map(|blocker| format!("{}: {}", blocker.object, blocker.problem)).collect()
    }

    #[test]
    fn nothing_stands_in_the_way_of_a_healthy_cluster() {
        assert_eq!(found(|_, _| {}), Vec::<String>::new());
    }

    #[test]
    fn an_upgrade_under_way_is_refused_wherever_it_stands() {
        let first = found(|_, cluster| drop(cluster.api_servers.insert("cp-1".into(), "v1.37.0".into())));
        assert_eq!(
            first,
            [
                "cluster: its API servers have different versions, so an upgrade is under way: 1.36.3 on cp-2; 1.37.0 on cp-1"
            ]
        );
        let unrecorded = found(|_, cluster| {
            cluster.api_servers.values_mut().for_each(|tag| *tag = "v1.36.4_vendor.1".into());
        });
        assert_eq!(
            unrecorded,
            ["configmap/kube-system/kubeadm-config: kubeadm records version 1.36.3, the API servers run 1.36.4"]
        );
    }

    #[test]
    fn a_build_is_no_other_version_and_an_image_without_a_tag_says_nothing() {
        let tags = |cluster: &mut ClusterHealth| {
            cluster.api_servers = BTreeMap::from([("cp-1".to_owned(), "v1.36.3_vendor.1".to_owned())]);
        };
        assert_eq!(found(|_, cluster| tags(cluster)), Vec::<String>::new());
    }

    #[test]
    fn an_api_server_that_is_too_old_and_a_record_that_cannot_be_edited_are_named() {
        let old = found(|_, cluster| {
            cluster.api_servers.values_mut().for_each(|tag| *tag = "v1.29.9".into());
            cluster.kubeadm = Some(KubeadmRecord::default());
        });
        assert_eq!(
            old,
            [
                "node/cp-1, node/cp-2: its API server is 1.29.9, the oldest supported is 1.30",
                "configmap/kube-system/kubeadm-config: its ClusterConfiguration has apiVersion ``, not kubeadm.k8s.io/v1beta3 or kubeadm.k8s.io/v1beta4"
            ]
        );
    }

    #[test]
    fn a_leaf_that_ends_during_a_pause_is_refused_before_it_has_expired() {
        let at = |not_after: i64| {
            found(|inventory, _| {
                let node = inventory.nodes.get_mut("cp-1").unwrap();
                node.state.disk.leaves.get_mut(&Leaf::Apiserver).unwrap().not_after = not_after;
            })
        };
        assert_eq!(
            at(NOW + SOON),
            ["node/cp-1: pki/apiserver.crt expires within 30 min, and a rotation may be paused"]
        );
        assert_eq!(at(NOW), ["node/cp-1: pki/apiserver.crt has expired"]);
    }

    #[test]
    fn a_broken_ca_bundle_is_refused_by_name() {
        let broken = found(|_, cluster| drop(cluster.broken_bundles.insert("apiservice/x".into(), "no base64".into())));
        assert_eq!(
            broken,
            ["apiservice/x: its caBundle holds the cluster CA and something that cannot be read: no base64"]
        );
    }

    #[test]
    fn freshly_uploaded_certificates_are_a_warning_and_no_blocker() {
        let (inventory, goal, mut cluster) = healthy();
        assert!(with(&inventory, &goal, &cluster, warnings).is_empty());
        cluster.uploaded_age = Some(600);
        assert!(with(&inventory, &goal, &cluster, preflight).is_empty());
        let said = with(&inventory, &goal, &cluster, warnings);
        assert!(said.iter().any(|text| text.contains("uploaded 10 min ago")), "{said:?}");
        cluster.uploaded_age = Some(UPLOAD_LIFETIME);
        assert!(with(&inventory, &goal, &cluster, warnings).is_empty());
    }
}
