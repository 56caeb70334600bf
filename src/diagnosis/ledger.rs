//! The list of items while it grows: each item asks for the findings that contradict it, and no finding gets lost.

use std::collections::BTreeMap;

use super::check::{Check, Group, contradicted};
use super::{Item, Verdict};
use crate::inspection::{Finding, FindingId, Severity};

/// What an item is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) group: Group,
    pub(super) node: Option<String>,
    pub(super) object: String,
    /// The objects of the findings that speak of it.
    pub(super) places: Vec<String>,
}

impl Subject {
    /// Of the cluster.
    pub(super) fn new(group: Group, object: impl Into<String>) -> Self {
        let object = object.into();
        Self { group, node: None, places: vec![object.clone()], object }
    }

    /// Of a node; files that were read without a cluster have no name of one.
    pub(super) fn on(group: Group, node: &str, object: impl Into<String>) -> Self {
        Self { node: Some(node.to_owned()).filter(|node| !node.is_empty()), ..Self::new(group, object) }
    }

    /// Findings stand under these names, and not under that of the object.
    pub(super) fn at(mut self, places: impl IntoIterator<Item = String>) -> Self {
        self.places = places.into_iter().collect();
        self.places.sort();
        self.places.dedup();
        self
    }
}

/// The items so far, and which findings they have taken up.
pub(super) struct Ledger<'a> {
    findings: &'a [Finding],
    by_place: BTreeMap<(Option<&'a str>, &'a str), Vec<usize>>,
    taken: Vec<bool>,
    /// Why nothing is known of a node beyond its last report, by node.
    silent: &'a BTreeMap<String, String>,
    items: Vec<Item>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(findings: &'a [Finding], silent: &'a BTreeMap<String, String>) -> Self {
        let mut by_place: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, finding) in findings.iter().enumerate() {
            by_place.entry((finding.node.as_deref(), finding.object.as_str())).or_default().push(index);
        }
        Self { findings, by_place, taken: vec![false; findings.len()], silent, items: Vec::new() }
    }

    /// Satisfied, unless a finding with one of these ids says otherwise; `seen` is what speaks for it.
    pub(super) fn judge(&mut self, subject: &Subject, check: Check, ids: &[FindingId], seen: impl Into<String>) {
        let against = self.take(subject, ids);
        if against.iter().all(|finding| finding.severity == Severity::Info) {
            let remarks = against.iter().map(|finding| finding.message.clone());
            let said: Vec<String> =
                std::iter::once(seen.into()).chain(remarks).filter(|text| !text.is_empty()).collect();
            return self.satisfied(subject, check, said.join("; "));
        }
        for finding in against.into_iter().filter(|finding| finding.severity > Severity::Info) {
            let verdict = verdict_of(finding);
            self.add(subject, check, verdict, finding.message.clone(), finding.remedy.clone());
        }
    }

    /// As [`Self::judge`], about several nodes at once: of those that are silent nothing is known.
    pub(super) fn judge_all(
        &mut self,
        subject: &Subject,
        check: Check,
        ids: &[FindingId],
        seen: String,
        nodes: &[&str],
    ) {
        let silent: Vec<&str> = nodes.iter().copied().filter(|node| self.silent.contains_key(*node)).collect();
        if silent.is_empty() || self.against(subject, ids) {
            return self.judge(subject, check, ids, seen);
        }
        let message = format!("not known of {}, which is silent", silent.join(", "));
        self.add(subject, check, Verdict::Unknown, message, SPEAK);
    }

    /// True when a finding above a remark contradicts it.
    pub(super) fn against(&self, subject: &Subject, ids: &[FindingId]) -> bool {
        subject.places.iter().any(|place| {
            let here = self.by_place.get(&(subject.node.as_deref(), place.as_str())).into_iter().flatten();
            let mut found = here.filter_map(|index| self.findings.get(*index));
            found.any(|finding| ids.contains(&finding.id) && finding.severity > Severity::Info)
        })
    }

    /// A tick. A node that is silent gets none: what was good once may be over.
    pub(super) fn satisfied(&mut self, subject: &Subject, check: Check, seen: impl Into<String>) {
        let silence = subject.node.as_ref().and_then(|node| self.silent.get(node));
        match silence {
            None => self.push(subject, check, Verdict::Satisfied, seen.into(), None),
            Some(why) => {
                let why = why.clone();
                self.push(subject, check, Verdict::Unknown, why, Some(SPEAK.to_owned()));
            }
        }
    }

    /// A tick that does not depend on what the node says.
    pub(super) fn known(&mut self, subject: &Subject, check: Check, seen: impl Into<String>) {
        self.push(subject, check, Verdict::Satisfied, seen.into(), None);
    }

    /// What is not satisfied, or not known.
    pub(super) fn add(
        &mut self,
        subject: &Subject,
        check: Check,
        verdict: Verdict,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(subject, check, verdict, message.into(), Some(remedy.into()));
    }

    /// True when somebody could not look at something whose name begins like this.
    pub(super) fn unseen(&self, begins: &str) -> bool {
        self.findings.iter().any(|finding| finding.id == FindingId::NotSeen && finding.object.starts_with(begins))
    }

    /// Takes findings up without an item: another item says the same.
    pub(super) fn take(&mut self, subject: &Subject, ids: &[FindingId]) -> Vec<&'a Finding> {
        let mut found = Vec::new();
        for place in &subject.places {
            for index in self.by_place.get(&(subject.node.as_deref(), place.as_str())).into_iter().flatten() {
                let finding = self.findings.get(*index).filter(|finding| ids.contains(&finding.id));
                if let (Some(finding), Some(taken)) = (finding, self.taken.get_mut(*index)) {
                    *taken = true;
                    found.push(finding);
                }
            }
        }
        found
    }

    /// The whole list. What `certctl check` would name and no item has asked for becomes an item of its own, in the group that `group` says.
    pub(super) fn close(mut self, group: impl Fn(&Finding) -> Group) -> Vec<Item> {
        let left: Vec<&Finding> = self
            .findings
            .iter()
            .zip(&self.taken)
            .filter(|(finding, taken)| !**taken && finding.severity > Severity::Info)
            .map(|(finding, _)| finding)
            .collect();
        for finding in left {
            let node = finding.node.clone().unwrap_or_default();
            let subject = Subject::on(group(finding), &node, finding.object.clone());
            let (message, remedy) = (finding.message.clone(), finding.remedy.clone());
            self.add(&subject, contradicted(finding.id), verdict_of(finding), message, remedy);
        }
        let mut items = self.items;
        items.sort_by(|a, b| (a.group, &a.node, &a.object).cmp(&(b.group, &b.node, &b.object)));
        items
    }

    fn push(&mut self, subject: &Subject, check: Check, verdict: Verdict, message: String, remedy: Option<String>) {
        let Subject { group, node, object, .. } = subject.clone();
        self.items.push(Item { group, check, node, object, verdict, message, remedy });
    }
}

/// What to do about a node that says nothing.
const SPEAK: &str = "see the item `agent` of this node";

fn verdict_of(finding: &Finding) -> Verdict {
    match finding.severity {
        _ if finding.id == FindingId::NotSeen => Verdict::Unknown,
        Severity::Error => Verdict::Failed,
        Severity::Warning | Severity::Info => Verdict::Warning,
    }
}
