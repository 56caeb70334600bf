//! What must be true of the cluster's objects before a rotation may begin: no upgrade under way, caBundles that can be read.

use std::collections::BTreeMap;

use super::preflight::{Blocker, Found, Preflight, Topic};

/// The oldest API server, minor version: since 1.30 the API server itself holds agents to their own node's object
/// (ValidatingAdmissionPolicy in v1, and service-account tokens that name their node).
const OLDEST_MINOR: u32 = 30;
/// Forms of ClusterConfiguration that can be edited: maps of extra arguments, and lists (`cmd/kubeadm/app/apis/kubeadm`).
const FORMS: [&str; 2] = ["kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4"];
/// Lifetime of uploaded certificates, seconds (`DefaultCertTokenDuration` in `cmd/kubeadm/app/constants`).
const UPLOAD_LIFETIME: i64 = 2 * 3600;
/// Where kubeadm keeps its configuration.
const KUBEADM_CONFIG: &str = "configmap/kube-system/kubeadm-config";

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

/// Every reason not to begin that stands in the cluster's objects.
pub(super) fn objects(input: &Preflight<'_>, blockers: &mut Vec<Blocker>) {
    let running = running(input);
    api_servers(&running, blockers);
    if let Some(kubeadm) = &input.cluster.kubeadm {
        recorded(kubeadm, &running, blockers);
    }
    for (object, problem) in &input.cluster.broken_bundles {
        let mut found = Found { object: object.clone(), blockers };
        found.on(
            Topic::CaBundle,
            format!("its caBundle holds the cluster CA and something that cannot be read: {problem}"),
            "repair the caBundle, or take the broken part out",
        );
    }
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
        found.on(
            Topic::Upgrade,
            format!("its API server is {}, the oldest supported is 1.{OLDEST_MINOR}", written(*release)),
            "upgrade the cluster first",
        );
    }
    if running.len() > 1 {
        let mut found = Found { object: "cluster".into(), blockers };
        let each: Vec<String> =
            running.iter().map(|(release, nodes)| format!("{} on {}", written(*release), nodes.join(", "))).collect();
        found.on(
            Topic::Upgrade,
            format!("its API servers have different versions, so an upgrade is under way: {}", each.join("; ")),
            "finish it with `kubeadm upgrade node` on the nodes that are behind",
        );
    }
}

fn recorded(kubeadm: &KubeadmRecord, running: &BTreeMap<Release, Vec<&str>>, blockers: &mut Vec<Blocker>) {
    let mut found = Found { object: KUBEADM_CONFIG.into(), blockers };
    if !FORMS.contains(&kubeadm.api_version.as_str()) {
        found.on(
            Topic::Upgrade,
            format!("its ClusterConfiguration has apiVersion `{}`, not {}", kubeadm.api_version, FORMS.join(" or ")),
            "repair it, or let the `kubeadm upgrade` of a supported version write it",
        );
    }
    let one = running.keys().next().copied().filter(|_| running.len() == 1);
    if let (Some(recorded), Some(running)) = (release(&kubeadm.kubernetes_version), one)
        && recorded != running
    {
        let (recorded, running) = (written(recorded), written(running));
        found.on(
            Topic::Upgrade,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::CaId;
    use crate::rotation::{Goal, Inventory, NodeView};

    /// Two control-plane nodes that stand in nobody's way.
    fn healthy() -> (Inventory, Goal, ClusterHealth) {
        let ca = CaId::planned("old");
        let mut view = NodeView::default();
        view.state.control_plane = true;
        let nodes = BTreeMap::from([("cp-1".to_owned(), view.clone()), ("cp-2".to_owned(), view)]);
        let goal = Goal::at_rest(ca);
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
        ask(&Preflight { inventory, goal, health: &BTreeMap::new(), cluster, version: "1", now: 0 })
    }

    fn asked(input: &Preflight<'_>) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        objects(input, &mut blockers);
        blockers
    }

    /// `object: problem` of every blocker after `change`.
    fn found(change: impl Fn(&mut ClusterHealth)) -> Vec<String> {
        let (inventory, goal, mut cluster) = healthy();
        change(&mut cluster);
        let blockers = with(&inventory, &goal, &cluster, asked);
        blockers.iter().map(|blocker| format!("{}: {}", blocker.object, blocker.problem)).collect()
    }

    #[test]
    fn nothing_stands_in_the_way_of_a_healthy_cluster() {
        assert_eq!(found(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn an_upgrade_under_way_is_refused_wherever_it_stands() {
        let first = found(|cluster| drop(cluster.api_servers.insert("cp-1".into(), "v1.37.0".into())));
        assert_eq!(
            first,
            [
                "cluster: its API servers have different versions, so an upgrade is under way: 1.36.3 on cp-2; 1.37.0 on cp-1"
            ]
        );
        let unrecorded = found(|cluster| {
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
        assert_eq!(found(|cluster| tags(cluster)), Vec::<String>::new());
    }

    #[test]
    fn an_api_server_that_is_too_old_and_a_record_that_cannot_be_edited_are_named() {
        let old = found(|cluster| {
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
    fn a_broken_ca_bundle_is_refused_by_name() {
        let broken = found(|cluster| drop(cluster.broken_bundles.insert("apiservice/x".into(), "no base64".into())));
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
        assert!(with(&inventory, &goal, &cluster, asked).is_empty());
        let said = with(&inventory, &goal, &cluster, warnings);
        assert!(said.iter().any(|text| text.contains("uploaded 10 min ago")), "{said:?}");
        cluster.uploaded_age = Some(UPLOAD_LIFETIME);
        assert!(with(&inventory, &goal, &cluster, warnings).is_empty());
    }
}
