//! Items about nodes, etcd and rotations: what the preflight and `certctl status` say, one by one.

use jiff::Timestamp;

use super::check::{Check, Group};
use super::ledger::{Ledger, Subject};
use super::{Sight, Standing, Verdict};
use crate::pki::CaId;
use crate::rotation::{Blocker, Goal, NodeHealth, NodeView, Preflight, Reason, Topic, drifted, left_over, preflight};

/// What to do when the cluster could not be looked at.
pub(super) const LOOK: &str = "run `certctl install` if it is not installed; else ask with rights to read nodes, ConfigMaps, Leases and certctl's objects";

/// What the preflight of a rotation says of every node, nobody left out.
pub(super) fn blockers(sight: &Sight, now: Timestamp) -> Vec<Blocker> {
    let unknown = || Goal::at_rest(CaId::planned("unknown"));
    let goal =
        sight.force.as_ref().map_or_else(unknown, |force| Goal { waived: Default::default(), ..force.goal.clone() });
    preflight(&Preflight {
        inventory: &sight.inventory,
        goal: &goal,
        health: &sight.health,
        cluster: &sight.objects,
        version: &sight.version,
        now: now.as_second(),
    })
}

pub(super) fn judge(sight: &Result<Sight, String>, blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    match sight {
        Ok(sight) => {
            for (name, node) in &sight.inventory.nodes {
                let look = Look { sight, blockers, name, node, health: sight.health.get(name) };
                look.node(ledger);
                look.etcd(ledger);
                look.rotation(ledger);
            }
            gone(sight, ledger);
            rotation(sight, blockers, ledger);
        }
        Err(why) => {
            for group in [Group::Nodes, Group::Etcd, Group::Rotation] {
                ledger.add(&Subject::new(group, "cluster"), Check::Seen, Verdict::Unknown, why, LOOK);
            }
        }
    }
}

/// One node.
struct Look<'a> {
    sight: &'a Sight,
    blockers: &'a [Blocker],
    name: &'a str,
    node: &'a NodeView,
    health: Option<&'a NodeHealth>,
}

impl Look<'_> {
    fn subject(&self, group: Group, object: &str) -> Subject {
        Subject::on(group, self.name, object)
    }

    fn blocker(&self, topics: &[Topic]) -> Option<&Blocker> {
        let object = format!("node/{}", self.name);
        self.blockers.iter().find(|blocker| topics.contains(&blocker.topic) && blocker.object == object)
    }

    fn node(&self, ledger: &mut Ledger<'_>) {
        let subject = self.subject(Group::Nodes, "node");
        match self.blocker(&[Topic::Ready]) {
            Some(found) => {
                let remedy = format!("look at `kubectl describe node {}`, and at its kubelet", self.name);
                ledger.add(&subject, Check::Ready, Verdict::Failed, &found.problem, remedy);
            }
            // The API server's word, whatever the agent does.
            None => ledger.known(&subject, Check::Ready, "Ready"),
        }
        self.agent(ledger);
        if self.health.is_none_or(|health| health.agent_version.is_none()) {
            return;
        }
        match self.blocker(&[Topic::Version]) {
            Some(found) => ledger.add(&subject, Check::Version, Verdict::Warning, &found.problem, &found.remedy),
            None => ledger.known(&subject, Check::Version, format!("version {}", self.sight.version)),
        }
        self.clock(&subject, ledger);
    }

    fn agent(&self, ledger: &mut Ledger<'_>) {
        let subject = self.subject(Group::Nodes, "agent").at([format!("node/{}", self.name)]);
        // That it has not reported is also a finding of its own, which stands under no node.
        ledger.take(&Subject { node: None, ..subject.clone() }, &[crate::inspection::FindingId::NotSeen]);
        let pods = "look at `kubectl -n certctl-system get pods -o wide`, and at the log of the agent of that node";
        if let Some(found) = self.blocker(&[Topic::Agent, Topic::Answer]) {
            let install = if found.topic == Topic::Agent { "run `certctl install`; " } else { "" };
            return ledger.add(&subject, Check::Agent, Verdict::Failed, &found.problem, format!("{install}{pods}"));
        }
        if let Some(problem) = &self.node.problem {
            return ledger.add(&subject, Check::Agent, Verdict::Warning, format!("it says: {problem}"), pods);
        }
        match self.unasked(&subject, Check::Agent, ledger) {
            true => {}
            false => ledger.satisfied(&subject, Check::Agent, "it has answered"),
        }
    }

    /// What only an answer shows is not known of a node that was not asked.
    fn unasked(&self, subject: &Subject, check: Check, ledger: &mut Ledger<'_>) -> bool {
        let Some(why) = self.sight.unasked.as_ref().filter(|_| !self.sight.silent.contains_key(self.name)) else {
            return false;
        };
        ledger.add(subject, check, Verdict::Unknown, why, "run this again when the agents can be asked");
        true
    }

    fn clock(&self, subject: &Subject, ledger: &mut Ledger<'_>) {
        if self.unasked(subject, Check::Clock, ledger) {
            return;
        }
        let skew = self.health.map_or(0, |health| health.clock_skew);
        match self.blocker(&[Topic::Clock]).filter(|_| !self.sight.silent.contains_key(self.name)) {
            Some(found) => ledger.add(subject, Check::Clock, Verdict::Failed, &found.problem, &found.remedy),
            None if skew == 0 => ledger.satisfied(subject, Check::Clock, "the same time"),
            None => ledger.satisfied(subject, Check::Clock, format!("{skew} s off")),
        }
    }

    /// The agent says nothing of etcd where no member runs.
    fn etcd(&self, ledger: &mut Ledger<'_>) {
        let Some(healthy) = self.health.and_then(|health| health.etcd_healthy) else { return };
        let subject = self.subject(Group::Etcd, "etcd");
        if self.unasked(&subject, Check::Health, ledger) {
            return;
        }
        match self.blocker(&[Topic::Etcd]) {
            Some(found) => {
                let remedy = "look at `etcdctl endpoint health --cluster` and at its log on that node";
                ledger.add(&subject, Check::Health, Verdict::Failed, &found.problem, remedy);
            }
            None if healthy => ledger.satisfied(&subject, Check::Health, "it answers healthy"),
            // Whoever has not so much as reported its role is named by its node.
            None => {}
        }
        self.learners(&subject, ledger);
    }

    fn learners(&self, subject: &Subject, ledger: &mut Ledger<'_>) {
        match self.health.and_then(|health| health.etcd_learners.as_deref()) {
            Some([]) => ledger.satisfied(subject, Check::Learners, "every member votes"),
            Some(learners) => {
                let message = format!("these members do not vote yet: {}", learners.join(", "));
                let remedy = "finish the join; `etcdctl member promote ID` makes one vote, `etcdctl member remove ID` takes one out that is gone";
                ledger.add(subject, Check::Learners, Verdict::Warning, message, remedy);
            }
            None => {
                let remedy = "when etcd is healthy and the agents have this version, run this again";
                ledger.add(subject, Check::Learners, Verdict::Unknown, "etcd did not say which members vote", remedy);
            }
        }
    }

    fn rotation(&self, ledger: &mut Ledger<'_>) {
        if let Some(found) = self.blocker(&[Topic::ServingNames]) {
            let subject = self.subject(Group::Kubelets, "kubelet-server");
            ledger.add(&subject, Check::Names, Verdict::Warning, &found.problem, &found.remedy);
        }
        let standing = self.sight.standing.as_ref();
        if standing.is_some_and(|standing| standing.rotating)
            || self.health.is_none_or(|health| health.agent_version.is_none())
        {
            return;
        }
        self.current(standing, ledger);
        if !self.node.state.control_plane {
            return;
        }
        let subject = self.subject(Group::Rotation, "layout");
        let left = left_over(self.node);
        match self.blocker(&[Topic::Manifest]) {
            _ if !left.is_empty() => {
                let remedy = "go on with `certctl rotate-ca` if a rotation is under way; else take the flags --cluster-signing-* back to pki/ca.*";
                ledger.add(&subject, Check::Stock, Verdict::Failed, left.join(", "), remedy);
            }
            Some(found) => ledger.add(&subject, Check::Stock, Verdict::Warning, &found.problem, &found.remedy),
            None => ledger.satisfied(&subject, Check::Stock, "no file of a rotation is left"),
        }
    }

    fn current(&self, standing: Option<&Standing>, ledger: &mut Ledger<'_>) {
        let Some(force) = &self.sight.force else { return };
        let subject = self.subject(Group::Rotation, "CA in force");
        let lacks = standing.and_then(|standing| standing.waived.get(self.name)).filter(|lacks| !lacks.is_empty());
        if let Some(lacks) = lacks {
            let message = format!("it was left out and is not up to date: {}", lacks.join(", "));
            ledger.add(
                &subject,
                Check::Current,
                Verdict::Warning,
                message,
                "bring it back: it is brought up to date by itself, and then counts again",
            );
        } else if drifted(self.node, &force.goal.from) {
            let message = format!("ca.crt or the kubelet's certificate is not of CA {} alone", force.goal.from.short());
            let remedy = "see `certctl status`; put the CA in force back into ca.crt, and let the kubelet get a certificate of it (`certctl repair`)";
            ledger.add(&subject, Check::Current, Verdict::Failed, message, remedy);
        } else {
            ledger.satisfied(&subject, Check::Current, format!("CA {}", force.goal.from.short()));
        }
    }
}

/// Reports of nodes that are no more.
fn gone(sight: &Sight, ledger: &mut Ledger<'_>) {
    for (name, why) in sight.silent.iter().filter(|(name, _)| !sight.inventory.nodes.contains_key(*name)) {
        let remedy = format!("run `kubectl delete nodepki {name}` if it does not come back");
        ledger.add(&Subject::on(Group::Nodes, name, "agent"), Check::Agent, Verdict::Warning, why, remedy);
    }
}

fn rotation(sight: &Sight, blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    let cluster = Subject::new(Group::Rotation, "cluster");
    match &sight.standing {
        None => ledger.satisfied(&cluster, Check::Finished, "no rotation was ever run"),
        Some(standing) => under_way(standing, &cluster, ledger),
    }
    let mut upgrade = blockers.iter().filter(|blocker| blocker.topic == Topic::Upgrade).peekable();
    if sight.objects.api_servers.is_empty() && !sight.control_plane().is_empty() {
        let remedy = "ask with rights to list the pods of kube-system; their images need tags";
        ledger.add(&cluster, Check::Upgraded, Verdict::Unknown, "the version of no API server could be seen", remedy);
    } else if upgrade.peek().is_none() {
        let version = sight.objects.kubeadm.as_ref().map(|kubeadm| kubeadm.kubernetes_version.clone());
        ledger.satisfied(&cluster, Check::Upgraded, version.unwrap_or_default());
    }
    for blocker in upgrade {
        let subject = Subject::new(Group::Rotation, &blocker.object);
        ledger.add(&subject, Check::Upgraded, Verdict::Warning, &blocker.problem, &blocker.remedy);
    }
    if sight.standing.as_ref().is_none_or(|standing| !standing.rotating) {
        record(sight, ledger);
    }
}

/// kubeadm's own configuration, by which it would write the manifests of an upgrade.
fn record(sight: &Sight, ledger: &mut Ledger<'_>) {
    let subject = Subject::new(Group::Rotation, "configmap/kube-system/kubeadm-config");
    match sight.inventory.cluster.kubeadm_own_signer {
        Some(false) => ledger.satisfied(&subject, Check::Stock, "it names no signing file of a rotation"),
        Some(true) => {
            let message =
                "it still names kube-controller-manager's own signing file: `kubeadm upgrade` would bring it back";
            let remedy = "take --cluster-signing-cert-file and --cluster-signing-key-file out of its controllerManager.extraArgs";
            ledger.add(&subject, Check::Stock, Verdict::Failed, message, remedy);
        }
        None => {
            let message = "it is not there, or its ClusterConfiguration cannot be read";
            let remedy = "see `kubectl -n kube-system get configmap kubeadm-config -o yaml`; `kubeadm init phase upload-config kubeadm` writes it";
            ledger.add(&subject, Check::Stock, Verdict::Unknown, message, remedy);
        }
    }
}

fn under_way(standing: &Standing, cluster: &Subject, ledger: &mut Ledger<'_>) {
    let Standing { ca_version, rotating, phase, reason, blocking, next, older, .. } = standing;
    let waits = if blocking.is_empty() { String::new() } else { format!("; it waits for {}", blocking.join("; ")) };
    let go_on = format!("go on with `{next}`; `certctl status` shows where it stands");
    if *rotating {
        let verdict = if *reason == Reason::Blocked { Verdict::Failed } else { Verdict::Warning };
        let message = format!("the way to CAVersion {ca_version} has reached {phase}{waits}");
        return ledger.add(cluster, Check::Finished, verdict, message, go_on);
    }
    ledger.satisfied(cluster, Check::Finished, format!("CAVersion {ca_version} is complete"));
    for lack in blocking {
        let subject = Subject::new(Group::Rotation, lack.split(' ').next().unwrap_or_default());
        ledger.add(
            &subject,
            Check::Current,
            Verdict::Failed,
            lack,
            "run `certctl rotate-ca finalize`, which writes it anew",
        );
    }
    if older.is_empty() {
        return ledger.satisfied(cluster, Check::Finalized, "no older CA is kept");
    }
    let older: Vec<String> = older.iter().map(ToString::to_string).collect();
    let message = format!("CA {} is kept, with its key, for processes that may still hold only it", older.join(", "));
    ledger.add(
        cluster,
        Check::Finalized,
        Verdict::Warning,
        message,
        "when they have been restarted: `certctl rotate-ca finalize`",
    );
}
