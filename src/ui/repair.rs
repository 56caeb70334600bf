//! The view of `certctl repair`: what is wrong with which certificate, and what becomes of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::plan::renewal::{AuthorityName, CertificateName};
use crate::plan::repair::{Clock, Fault, Plan, Step};

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A CA gets a new end and keeps its key.
    Prolong,
    /// It is made anew, here.
    Make,
    /// A kubeconfig gets the CA's new certificate and keeps its own.
    Trust,
    /// It is requested from whoever has the CA's key.
    Request,
    /// It cannot be made.
    Blocked,
    /// It stays, although it is over.
    Keep,
}

/// One certificate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairRow {
    /// Its name; of a CA `cluster CA`, `etcd CA` or `front-proxy CA`.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
    /// What is wrong with it.
    pub fault: String,
    /// Its end from now on, RFC 3339; absent where it is not decided here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub not_after: Option<Timestamp>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    /// The files that it stands in.
    pub files: Vec<String>,
}

/// A request to be signed elsewhere.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRow {
    /// For which certificate.
    pub name: CertificateName,
    /// Who signs it.
    pub authority: AuthorityName,
    /// PEM.
    pub request: String,
}

/// The plan of a repair, or what has come of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairReport {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// The Node's name, where the files tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's clock, RFC 3339.
    #[schemars(with = "String")]
    pub clock: Timestamp,
    /// Why the clock cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_problem: Option<String>,
    /// Every certificate with which something is wrong.
    pub certificates: Vec<RepairRow>,
    /// Processes that are restarted, in order; empty where they do not belong to the files.
    pub restarts: Vec<String>,
    /// Folder of the state before, on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// What waits to be signed elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestRow>,
}

impl RepairReport {
    /// The report of a plan made at `clock`.
    #[must_use]
    pub fn new(plan: &Plan, node: Option<String>, clock: Timestamp) -> Self {
        let mut certificates: Vec<RepairRow> = plan.authorities.iter().map(prolonged).collect();
        certificates.extend(plan.steps.iter().map(|step| made(step, Action::Make)));
        let trust = plan.trust.iter().map(|conf| RepairRow {
            name: conf.file_name().to_owned(),
            action: Action::Trust,
            fault: "holds the expired CA".to_owned(),
            not_after: None,
            remedy: None,
            files: CertificateName::Conf(*conf).files(),
        });
        certificates.extend(trust);
        certificates
            .extend(plan.requests.iter().map(|step| RepairRow { not_after: None, ..made(step, Action::Request) }));
        certificates.extend(plan.blockers.iter().map(|blocker| RepairRow {
            name: blocker.name.to_string(),
            action: Action::Blocked,
            fault: blocker.problem.clone(),
            not_after: None,
            remedy: Some(blocker.remedy),
            files: blocker.name.files(),
        }));
        certificates.extend(plan.kept.iter().map(|kept| RepairRow {
            name: kept.name.to_string(),
            action: Action::Keep,
            fault: format!("expired; {}", kept.reason),
            not_after: kept.not_after,
            remedy: None,
            files: kept.name.files(),
        }));
        Self {
            dry_run: true,
            node,
            clock,
            clock_problem: clock_problem(&plan.clock),
            certificates,
            restarts: plan.restarts.iter().map(|process| process.name().to_owned()).collect(),
            snapshot: None,
            requests: Vec::new(),
        }
    }
}

/// Why a clock cannot be trusted; `None` for one that can be right.
#[must_use]
pub fn clock_problem(clock: &Clock) -> Option<String> {
    match clock {
        Clock::Plausible => None,
        Clock::Behind { what, not_before, .. } => Some(format!("{what} is valid only from {not_before}")),
        Clock::MaybeAhead { last_life } => Some(format!("etcd last wrote on this node at {last_life}")),
    }
}

fn prolonged(authority: &crate::plan::repair::Prolonged) -> RepairRow {
    RepairRow {
        name: format!("{} CA", authority.name),
        action: Action::Prolong,
        fault: format!("expired {}", day(authority.ended)),
        not_after: Some(authority.successor.not_after()),
        remedy: None,
        files: vec![authority.name.certificate().to_owned()],
    }
}

fn made(step: &Step, action: Action) -> RepairRow {
    RepairRow {
        name: step.item.name.to_string(),
        action,
        fault: fault(&step.fault),
        not_after: Some(step.item.not_after),
        remedy: None,
        files: step.item.name.files(),
    }
}

fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Expired(end) => format!("expired {}", day(*end)),
        Fault::EndsSoon(end) => format!("ends soon, {}", day(*end)),
        Fault::Unreadable(problem) => problem.clone(),
        Fault::Lost => "lost".to_owned(),
        Fault::KeyLost(problem) => format!("no key: {problem}"),
        Fault::KeyMisplaced(other) => other.clone(),
        Fault::NotOfThisCa => "another CA of the same name has signed it".to_owned(),
    }
}

impl View for RepairReport {
    const KIND: &'static str = "Repair";

    fn table(&self, wide: bool) -> Table {
        let mut heads = vec!["CERTIFICATE", "ACTION", "NEW-EXPIRY", "FAULT"];
        heads.extend(wide.then_some("FILES"));
        let mut table = Table::new(&heads);
        for row in &self.certificates {
            let action = match row.action {
                Action::Prolong => "new end, same key",
                Action::Make => "make anew",
                Action::Trust => "trust the CA's new end",
                Action::Request => "request",
                Action::Blocked => "blocked",
                Action::Keep => "keep",
            };
            let end = row.not_after.filter(|_| row.action != Action::Keep).map(day).unwrap_or_default();
            let mut cells = vec![row.name.clone(), action.to_owned(), end, row.fault.clone()];
            cells.extend(wide.then(|| row.files.join(" ")));
            table.row(cells);
        }
        table
    }

    fn text(&self, wide: bool) -> String {
        if self.certificates.is_empty() {
            return String::new();
        }
        self.table(wide).to_string()
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%b %d, %Y %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::fits;

    #[test]
    fn what_is_printed_as_json_fits_the_schema() {
        let empty = RepairReport::new(&Plan::default(), None, Timestamp::UNIX_EPOCH);
        fits(&empty);
        let name = CertificateName::KubeletClient;
        let blocked = RepairRow {
            name: name.to_string(),
            action: Action::Blocked,
            fault: "lost".into(),
            not_after: None,
            remedy: Some("join it again"),
            files: name.files(),
        };
        let made =
            RepairRow { action: Action::Make, not_after: Some(Timestamp::UNIX_EPOCH), remedy: None, ..blocked.clone() };
        fits(&RepairReport {
            node: Some("w-1".into()),
            clock_problem: Some("etcd last wrote later".into()),
            certificates: vec![blocked, made],
            restarts: vec!["kubelet".into()],
            snapshot: Some("/var/lib/certctl/backup/repair-1".into()),
            requests: vec![RequestRow { name, authority: AuthorityName::Cluster, request: "PEM".into() }],
            ..empty
        });
    }
}
