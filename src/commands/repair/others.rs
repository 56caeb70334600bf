//! The other nodes: through ssh, or by what is said to the administrator.
//!
//! No private key travels. This program is sent to the node, repairs there what it can, and hands back requests for what it cannot sign; a
//! request is signed only for the kubelet of the very node that it was fetched from.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Job, failed, input, repair};
use crate::cluster::{Access, Cluster, ClusterError, bootstrap, csr, nodes};
use crate::commands::on_node::write_lock;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::pki::{BACKDATE, Certificate};
use crate::plan::Conf;
use crate::plan::renewal::CertificateName;
use crate::remote::{Host, Output, Remote};

/// Pause between two looks at the nodes.
const PAUSE: Duration = Duration::from_secs(1);
/// A kubelet that lives has said so by then (`nodeLeaseDurationSeconds` / 4, and some).
const BEAT: Duration = Duration::from_secs(15);
/// Longest wait for the API server's first answer to the administrator.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest wait for kube-controller-manager to sign; it may have to take the lead first.
const SIGNED: Duration = Duration::from_secs(60);

/// What a repair on another node has printed.
#[derive(Debug, Deserialize)]
struct Answer {
    clock: Timestamp,
    #[serde(default)]
    requests: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    name: CertificateName,
    request: String,
}

/// Nodes that were repaired, and what went wrong on the others.
#[derive(Default)]
struct Round {
    done: BTreeSet<String>,
    failed: Vec<Error>,
}

impl Job<'_> {
    /// Repairs the nodes of the configuration, waits for this node's control plane, and then for the other nodes.
    pub(super) async fn others(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let own = repair::node_name(self.layout);
        let listed: Vec<Host> = self.listed()?.into_iter().filter(|host| Some(&host.node) != own.as_ref()).collect();
        // Before any waiting: etcd comes back only with a majority of its members.
        let mut round = self.repair_all(listed, begun).await;
        if self.args.no_wait {
            return round.failed.pop().map_or(Ok(()), Err);
        }
        self.wait_for_life(begun).await?;
        let up = Instant::now();
        let cluster = self.as_administrator().await?;
        round.done.extend(own);
        // No node waits for what cluster-info and webhooks say.
        let ((), outcome) =
            tokio::join!(self.tell_new_ends(&cluster, up), self.until_ready(&cluster, up, begun, &mut round));
        outcome?;
        round.failed.pop().map_or(Ok(()), Err)
    }

    /// Repairs those that nobody has listed if that is wanted, and waits until all that were repaired are Ready.
    async fn until_ready(
        &self,
        cluster: &Cluster,
        up: Instant,
        begun: Instant,
        round: &mut Round,
    ) -> Result<(), Error> {
        if let Some(user) = &self.args.ssh {
            let silent = self.silent(cluster, up, &round.done).await?;
            let named = |(node, address): (String, Option<String>)| Some((node, address?));
            let host = |(node, address)| Host { node, address, user: (!user.is_empty()).then(|| user.clone()) };
            let second = self.repair_all(silent.into_iter().filter_map(named).map(host).collect(), begun).await;
            round.done.extend(second.done);
            round.failed.extend(second.failed);
        }
        self.wait_for_nodes(cluster, &round.done, begun).await?;
        let silent = self.silent(cluster, up, &round.done).await?;
        self.tell(&silent);
        Ok(())
    }

    /// What the cluster's objects say of a CA that has a new end. No node of the cluster waits for it, so nothing fails here.
    async fn tell_new_ends(&self, cluster: &Cluster, up: Instant) {
        let authorities = repair::authorities(self.layout);
        while let Err(error) = cluster.write_new_ends(&authorities).await {
            tracing::debug!(%error, "cluster-info and caBundles");
            if up.elapsed() > PATIENCE {
                let later = "a node that joins, or an API server that calls a webhook, may meet a CA that has expired";
                self.context.ui.warn(&format!("{error}: {later}; the same command goes on"));
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// For each silent node, the command that does all on it. The token goes in by stdin and is in no process's arguments.
    pub(super) async fn print_join(&self) -> Result<(), Error> {
        let cluster = self.as_administrator().await?;
        let own = repair::node_name(self.layout).into_iter().collect();
        let silent = self.silent(&cluster, Instant::now(), &own).await?;
        if silent.is_empty() {
            self.context.say("every node has been heard of");
        }
        // A CA that has a new end has the same one everywhere.
        let authorities: String = repair::authorities(self.layout).iter().map(Certificate::to_pem).collect();
        for (node, address) in silent {
            let token = bootstrap::token(&cluster, &node, self.context.now).await?;
            let place = address.map(|address| format!(" ({address})")).unwrap_or_default();
            let command = "certctl repair --yes --join <<'END'";
            let text = format!("# on {node}{place}, within one hour\n{command}\n{}\n{authorities}END\n", *token);
            let text = Zeroizing::new(text);
            self.context.ui.data(&text)?;
        }
        Ok(())
    }

    /// What `--print-join` has printed: a bootstrap token, and CAs. Then the kubelet's certificate, asked for with it; the key is made and stays
    /// here.
    pub(super) async fn fetched(&self) -> Result<Vec<Certificate>, Error> {
        let text = Zeroizing::new(input(Path::new("-"))?);
        let mut brought: Vec<Certificate> = Certificate::each_from_pem(&text).into_iter().flatten().collect();
        let token = std::str::from_utf8(&text).unwrap_or_default().lines().map(str::trim).find(|line| !line.is_empty());
        let token = token.filter(|line| !line.starts_with("-----")).unwrap_or_default();
        if token.is_empty() {
            return Err(Error::usage("--join wants a bootstrap token on stdin")
                .hint("`certctl repair --print-join` on a control-plane node prints the whole command"));
        }
        let plan = self.plan(&brought)?;
        self.refuse(&plan)?;
        let lock = write_lock(self.layout)?;
        let asked = repair::request(self.layout, &plan).map_err(failed)?;
        drop(lock);
        let Some((_, request)) = asked.iter().find(|(name, _)| *name == CertificateName::KubeletClient) else {
            return Ok(brought);
        };
        let cluster = bootstrap::connect(&self.layout.conf(Conf::Kubelet), token, "repair").await?;
        self.context.say("asking the API server for the kubelet's certificate");
        let signed = csr::sign(&cluster, request, csr::KUBELET_CLIENT, false, None, SIGNED).await.map_err(|error| {
            Error::from(error)
                .hint("without it: `certctl repair` here, and `certctl repair --sign` on a control-plane node")
        })?;
        brought.extend(Certificate::all_from_pem(signed.as_bytes()).map_err(Error::from_display)?);
        Ok(brought)
    }

    fn listed(&self) -> Result<Vec<Host>, Error> {
        let Some(path) = &self.args.config else { return Ok(Vec::new()) };
        let config = Config::load(path).map_err(Error::from_display)?;
        if config.nodes.is_empty() {
            return Err(Error::failed(format!("{} names no nodes", path.display()))
                .hint("write `nodes: [{name: worker-1, address: 10.0.0.9}]`, or leave out --config and use --ssh"));
        }
        let host = |node: crate::config::NodeAddress| Host { node: node.name, address: node.address, user: node.user };
        Ok(config.nodes.into_iter().map(host).collect())
    }

    /// All at once: each waits for its own connection.
    async fn repair_all(&self, hosts: Vec<Host>, begun: Instant) -> Round {
        let all = hosts.into_iter().map(async |host| {
            let node = host.node.clone();
            self.context.say(&format!("{node}: repairing through ssh"));
            let outcome = self.repair_in_time(host, begun).await;
            match &outcome {
                Ok(()) => self.context.say(&format!("{node}: repaired")),
                Err(error) => self.context.ui.warn(&format!("{node}: {}", error.sentence())),
            }
            (node, outcome)
        });
        let mut round = Round::default();
        for (node, outcome) in futures::future::join_all(all).await {
            match outcome {
                Ok(()) => drop(round.done.insert(node)),
                Err(error) => round.failed.push(error),
            }
        }
        round
    }

    /// A node that answers and then hangs does not keep the others waiting for longer than everything may take.
    async fn repair_in_time(&self, host: Host, begun: Instant) -> Result<(), Error> {
        let node = host.node.clone();
        let Some(limit) = self.limit() else { return self.repair_one(host).await };
        let late = |_| {
            Error::new(ErrorKind::TimedOut, format!("{node}: it has not finished within {} s", limit.as_secs()))
                .hint("look at the node; the same command goes on")
        };
        let left = limit.saturating_sub(begun.elapsed());
        tokio::time::timeout(left, self.repair_one(host)).await.map_err(late)?
    }

    async fn repair_one(&self, host: Host) -> Result<(), Error> {
        let node = host.node.clone();
        let remote = Remote::open(host).await.map_err(refused)?;
        let outcome = self.repair_on(&node, &remote).await;
        if let Err(error) = remote.close().await {
            tracing::warn!(%error, "this program stays on the node");
        }
        outcome
    }

    async fn repair_on(&self, node: &str, remote: &Remote) -> Result<(), Error> {
        let validity = self.args.validity.map(|validity| format!("{}s", validity.as_secs()));
        let mut arguments = vec!["repair", "--yes", "--no-wait", "-o", "json", "--import", "-"];
        if let Some(validity) = &validity {
            arguments.extend(["--validity", validity]);
        }
        if self.args.clock_is_right {
            arguments.push("--clock-is-right");
        }
        let authorities: String = repair::authorities(self.layout).iter().map(Certificate::to_pem).collect();
        // First its clock, before anything is changed there.
        let look = [&arguments[..], &["--dry-run"]].concat();
        self.understood(node, &remote.certctl(&look, authorities.as_bytes()).await.map_err(refused)?)?;
        let mut output = remote.certctl(&arguments, authorities.as_bytes()).await.map_err(refused)?;
        let answer = self.understood(node, &output)?;
        let kubelet = answer.requests.iter().find(|asked| asked.name == CertificateName::KubeletClient);
        if let Some(asked) = kubelet {
            let signed = self.signed_for(node, asked.request.as_bytes())?;
            output = remote.certctl(&arguments, signed.as_bytes()).await.map_err(refused)?;
        }
        if output.code == 0 { Ok(()) } else { Err(said(node, &output)) }
    }

    /// What it has printed; a node with another time is not worked on.
    fn understood(&self, node: &str, output: &Output) -> Result<Answer, Error> {
        let answer: Answer = serde_json::from_str(&output.stdout).map_err(|_| said(node, output))?;
        let passed = SignedDuration::try_from(self.context.started.elapsed()).unwrap_or_default();
        let here = self.context.now.checked_add(passed).unwrap_or(self.context.now);
        clocks_agree(node, answer.clock, here)?;
        Ok(answer)
    }

    async fn as_administrator(&self) -> Result<Cluster, Error> {
        let kubeconfig = Some(self.layout.conf(Conf::Admin));
        let access = Access { kubeconfig, request_timeout: Some(ANSWER), verb: "repair", ..Access::default() };
        Ok(Cluster::connect(&access).await?)
    }

    /// Waits until each of these nodes has said that it lives, and is ready.
    async fn wait_for_nodes(&self, cluster: &Cluster, wanted: &BTreeSet<String>, begun: Instant) -> Result<(), Error> {
        let mut said = usize::MAX;
        loop {
            let missing = match self.not_ready(cluster, wanted).await {
                Ok(missing) => missing,
                Err(error) => {
                    tracing::debug!(%error, "the nodes");
                    wanted.iter().cloned().collect()
                }
            };
            if missing.len() != said {
                said = missing.len();
                let ready = wanted.len() - said;
                let elapsed = begun.elapsed().as_secs();
                self.context.say(&format!("{ready} of {} repaired nodes are Ready ({elapsed} s)", wanted.len()));
            }
            if missing.is_empty() {
                return Ok(());
            }
            if self.limit().is_some_and(|limit| begun.elapsed() > limit) {
                let late = format!("not Ready in time: {}", missing.join(", "));
                return Err(Error::new(ErrorKind::TimedOut, late)
                    .hint("see `journalctl -u kubelet` on the node; `certctl repair` there goes on"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn not_ready(&self, cluster: &Cluster, wanted: &BTreeSet<String>) -> Result<Vec<String>, ClusterError> {
        let (all, alive) = (nodes::list(cluster).await?, self.alive(cluster).await?);
        let ready = |name: &&String| {
            let node = all.iter().find(|node| node.metadata.name.as_ref() == Some(*name));
            alive.contains(*name) && node.is_some_and(nodes::ready)
        };
        Ok(wanted.iter().filter(|name| !ready(name)).cloned().collect())
    }

    /// Nodes whose kubelet has been heard of since this command began.
    async fn alive(&self, cluster: &Cluster) -> Result<BTreeSet<String>, ClusterError> {
        let beats = nodes::heartbeats(cluster).await?;
        Ok(beats.into_iter().filter(|(_, at)| *at >= self.context.now).map(|(name, _)| name).collect())
    }

    /// The other nodes that have not been heard of, with their addresses; looked at when a living kubelet would have been heard.
    async fn silent(
        &self,
        cluster: &Cluster,
        up: Instant,
        done: &BTreeSet<String>,
    ) -> Result<Vec<(String, Option<String>)>, Error> {
        loop {
            let (all, alive) = match tokio::try_join!(nodes::list(cluster), self.alive(cluster)) {
                Ok(seen) => seen,
                // The endpoint of the kubeconfig may be a balancer that has not noticed this API server yet.
                Err(error) if up.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "the nodes");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let other = all.iter().filter_map(|node| Some((node.metadata.name.clone()?, nodes::internal_ip(node))));
            let silent: Vec<_> = other.filter(|(name, _)| !alive.contains(name) && !done.contains(name)).collect();
            if silent.is_empty() || up.elapsed() > BEAT {
                return Ok(silent);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is to be done on nodes that nobody has repaired.
    fn tell(&self, silent: &[(String, Option<String>)]) {
        if silent.is_empty() {
            return;
        }
        let names: Vec<&str> = silent.iter().map(|(name, _)| name.as_str()).collect();
        self.context.ui.warn(&format!("not repaired yet: {}", names.join(", ")));
        self.context.ui.labelled(
            "hint:",
            "with ssh to them, run `certctl repair --ssh` here; else `certctl repair --print-join` here prints a command for each, or \
             run `certctl repair` there: it says what to do",
        );
    }
}

/// Refuses a node on which a certificate made here would not be valid yet, or the other way round: both begin [`BACKDATE`] earlier.
fn clocks_agree(node: &str, there: Timestamp, here: Timestamp) -> Result<(), Error> {
    if there.duration_since(here).abs() > BACKDATE {
        return Err(Error::refused(format!("{node}: its clock says {there}, here it is {here}"))
            .hint("set the clocks right first: a certificate made here would not be valid there"));
    }
    Ok(())
}

fn refused(error: crate::remote::RemoteError) -> Error {
    Error::failed(error.to_string()).hint("try `ssh` to the node by hand, or run `certctl repair` there")
}

fn said(node: &str, output: &Output) -> Error {
    let lines = output.stderr.lines().filter(|line| !line.trim().is_empty());
    let error = Error::failed(format!("{node}: the repair there ended with code {}", output.code));
    lines.fold(error, |error, line| error.caused_by(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_off_by_what_certificates_are_backdated_and_a_second_more_is_refused_with_both_times() {
        let here: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let second = SignedDuration::from_secs(1);
        for (furthest, beyond) in
            [(here + BACKDATE, here + BACKDATE + second), (here - BACKDATE, here - BACKDATE - second)]
        {
            assert_eq!(clocks_agree("w-1", furthest, here), Ok(()));
            let error = clocks_agree("w-1", beyond, here).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert_eq!(error.sentence(), format!("w-1: its clock says {beyond}, here it is 2026-11-22T12:00:00Z"));
        }
    }
}
