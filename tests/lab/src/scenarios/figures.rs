//! What the prober and the restart counter saw, judged. Pure.

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// Most restarts on each node. Of kube-controller-manager the issue allows three; kubeadm's own layout needs two.
const LIMITS: [(&str, u64); 6] = [
    ("kube-apiserver", 0),
    ("etcd", 0),
    ("kube-scheduler", 1),
    ("kube-controller-manager", 2),
    ("kubelet", 1),
    ("other pods", 0),
];

/// Fewer requests show nothing: a rotation takes a minute or so, and a busy machine still sends 80 a second.
const LEAST: u64 = 2000;

/// Before a cut: requests that were under way then are dated by their start, and last 10 s at most.
const BEFORE: SignedDuration = SignedDuration::from_secs(11);
/// After a cut: until the balancer, kube-proxy and etcd have turned to the nodes that are left.
const TURNING: SignedDuration = SignedDuration::from_secs(20);
/// After a cut, for clients in the cluster: kept-alive connections to the service's address notice by HTTP/2 pings only.
const PINNED: SignedDuration = SignedDuration::from_secs(60);
/// After power is back: until its API server serves.
const STARTING: SignedDuration = SignedDuration::from_secs(60);

/// A node without power for a while.
#[derive(Clone, Debug)]
pub struct Cut {
    pub node: String,
    pub control_plane: bool,
    /// The prober's clients that live on the node.
    pub clients: Vec<String>,
    pub off: Timestamp,
    pub on: Timestamp,
}

impl Cut {
    /// Whether a failure is of this cut: a request to the node, from it, or on a connection that ended at it.
    fn explains(&self, failure: &Failure) -> bool {
        let after = |limit: SignedDuration| failure.time >= self.off - BEFORE && failure.time <= self.off + limit;
        let without_power = failure.time >= self.off - BEFORE && failure.time <= self.on + STARTING;
        let ends_there = failure.target == self.node || self.clients.contains(&failure.client);
        let passing = self.control_plane
            && match failure.target.as_str() {
                "in-cluster" => after(PINNED),
                "balancer" => after(TURNING),
                _ => failure.reason.contains("etcdserver") && after(TURNING),
            };
        (ends_there && without_power) || passing
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Failure {
    time: Timestamp,
    group: String,
    client: String,
    target: String,
    reason: String,
}

/// The figures of one test.
#[derive(Debug)]
pub struct Figures {
    summary: Value,
    failures: Vec<Failure>,
    restarts: Value,
}

impl Figures {
    /// From the prober's report, its summary, and the restart counter's report.
    pub fn of(report: &str, summary: Value, restarts: Value) -> Result<Figures> {
        let mut failures = Vec::new();
        for line in report.lines().filter(|line| line.contains(r#""type":"failure""#)) {
            let failure: Failure = serde_json::from_str(line).context("a line of the report cannot be read")?;
            if failure.group == "api" {
                failures.push(failure);
            }
        }
        Ok(Figures { summary, failures, restarts })
    }

    /// No API request failed, and there were enough to say so.
    pub fn none_failed(&self) -> Result<()> {
        self.failed_only_by(&[])
    }

    /// No API request failed, of at least so many.
    pub fn none_failed_of(&self, least: u64) -> Result<()> {
        self.judged(&[], least)
    }

    /// Every failure is of one of these power cuts.
    pub fn failed_only_by(&self, cuts: &[Cut]) -> Result<()> {
        self.judged(cuts, LEAST)
    }

    fn judged(&self, cuts: &[Cut], least: u64) -> Result<()> {
        let others: Vec<_> =
            self.failures.iter().filter(|failure| !cuts.iter().any(|cut| cut.explains(failure))).collect();
        if !others.is_empty() {
            let shown = others.iter().take(6).map(|f| format!("{} {} {}: {}", f.time, f.client, f.target, f.reason));
            bail!("{} API requests failed that must not:\n{}", others.len(), shown.collect::<Vec<_>>().join("\n"));
        }
        // A 401 that came too early is in the summary only.
        let failed = self.number("failed");
        if failed > self.failures.len() as u64 {
            bail!("{} requests of the old CA's client were refused too early", failed - self.failures.len() as u64);
        }
        if self.number("requests") < least {
            bail!("the prober sent {} requests only", self.number("requests"));
        }
        Ok(())
    }

    /// The limits of the issue, node by node.
    pub fn restarts_within_limits(&self) -> Result<()> {
        let rows = self.restarts["rows"].as_array().context("the restart counter printed no rows")?;
        let mut beyond = Vec::new();
        for (component, most) in LIMITS {
            let mut found = rows.iter().filter(|row| row["component"] == component).peekable();
            if found.peek().is_none() {
                beyond.push(format!("{component} was not counted"));
            }
            let above = found.filter(|row| row["restarts"].as_u64().is_none_or(|restarts| restarts > most));
            beyond.extend(
                above.map(|row| format!("{component} on {}: {} (at most {most})", row["node"], row["restarts"])),
            );
        }
        if beyond.is_empty() { Ok(()) } else { bail!("too many restarts: {}", beyond.join(", ")) }
    }

    /// For people.
    pub fn line(&self) -> String {
        format!(
            "{} API requests ({:.0} a second), {} failed, {} refused to CA 1 after the drop; via kubelet {}, {} failed",
            self.number("requests"),
            self.summary["per_second"].as_f64().unwrap_or_default(),
            self.number("failed"),
            self.number("refused"),
            self.number("via_kubelet"),
            self.number("via_kubelet_failed"),
        )
    }

    fn number(&self, name: &str) -> u64 {
        self.summary[name].as_u64().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn figures(failures: &[(i64, &str, &str, &str)], failed: u64) -> Figures {
        let line = |(second, client, target, reason): &(i64, &str, &str, &str)| {
            json!({ "type": "failure", "time": at(*second).to_string(), "group": "api", "client": client, "target": target,
                "mode": "fresh", "operation": "GET /", "reason": reason, "elapsed_ms": 1 })
            .to_string()
        };
        let report = failures.iter().map(line).collect::<Vec<_>>().join("\n");
        let restarts = json!({ "rows": [] });
        Figures::of(&report, json!({ "requests": LEAST, "failed": failed }), restarts).unwrap()
    }

    fn cut() -> Cut {
        Cut { node: "cp-2".to_owned(), control_plane: true, clients: Vec::new(), off: at(100), on: at(200) }
    }

    #[test]
    fn requests_to_a_node_without_power_may_fail() {
        let figures = figures(&[(150, "both", "cp-2", "connect: no route")], 1);
        assert!(figures.failed_only_by(&[cut()]).is_ok());
        assert!(figures.none_failed().is_err());
    }

    #[test]
    fn requests_to_other_nodes_may_not() {
        assert!(figures(&[(150, "both", "cp-1", "tls: x")], 1).failed_only_by(&[cut()]).is_err());
        assert!(figures(&[(300, "both", "cp-2", "tls: x")], 1).failed_only_by(&[cut()]).is_err());
    }

    #[test]
    fn the_balancer_has_some_seconds_to_turn_away_from_a_control_plane_node_only() {
        assert!(figures(&[(105, "both", "balancer", "x")], 1).failed_only_by(&[cut()]).is_ok());
        assert!(figures(&[(150, "both", "balancer", "x")], 1).failed_only_by(&[cut()]).is_err());
        let worker = Cut { control_plane: false, clients: vec!["proxy-reloads-ca".to_owned()], ..cut() };
        assert!(figures(&[(105, "both", "balancer", "x")], 1).failed_only_by(std::slice::from_ref(&worker)).is_err());
        assert!(figures(&[(150, "proxy-reloads-ca", "in-cluster", "x")], 1).failed_only_by(&[worker]).is_ok());
    }

    #[test]
    fn a_refusal_that_came_too_early_is_no_cut() {
        assert!(figures(&[], 3).failed_only_by(&[cut()]).is_err());
    }

    #[test]
    fn too_few_requests_show_nothing() {
        let mut few = figures(&[], 0);
        assert!(few.none_failed().is_ok());
        few.summary["requests"] = json!(LEAST - 1);
        assert!(few.none_failed().is_err());
    }

    #[test]
    fn restarts_that_were_not_counted_are_not_zero() {
        assert!(figures(&[], 0).restarts_within_limits().is_err());
        let rows = LIMITS.map(|(component, most)| json!({ "component": component, "node": "cp-1", "restarts": most }));
        let mut counted = figures(&[], 0);
        counted.restarts = json!({ "rows": rows });
        assert!(counted.restarts_within_limits().is_ok());
        counted.restarts["rows"][0]["restarts"] = json!(1);
        assert!(counted.restarts_within_limits().is_err());
    }
}
