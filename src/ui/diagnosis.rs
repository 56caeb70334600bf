//! The view of `certctl diagnose`: a checklist by groups, with a mark for each item and the remedy of what is not satisfied.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::View;
use super::inspect::escaped;
use super::printer::Ui;
use super::progress::Marks;
use super::table::Table;
use crate::diagnosis::{Item, Verdict};

/// How many items stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Those that hold.
    pub satisfied: usize,
    /// Those that nobody could judge.
    pub unknown: usize,
    /// Those that will break or weaken the cluster.
    pub warnings: usize,
    /// Those that are broken.
    pub failed: usize,
}

/// Every item, whether it is satisfied or not.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosisReport {
    /// How many stand how.
    pub summary: Summary,
    /// In the order of groups, nodes and objects.
    pub items: Vec<Item>,
    #[serde(skip)]
    #[schemars(skip)]
    marks: Marks,
}

impl DiagnosisReport {
    /// A report that can be shown with the marks of this terminal.
    #[must_use]
    pub fn new(items: Vec<Item>, ui: &Ui) -> Self {
        Self::with_marks(items, ui.marks())
    }

    fn with_marks(items: Vec<Item>, marks: Marks) -> Self {
        let count = |verdict| items.iter().filter(|item| item.verdict == verdict).count();
        let summary = Summary {
            satisfied: count(Verdict::Satisfied),
            unknown: count(Verdict::Unknown),
            warnings: count(Verdict::Warning),
            failed: count(Verdict::Failed),
        };
        Self { summary, items, marks }
    }

    const fn mark(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Satisfied => self.marks.done,
            Verdict::Unknown => self.marks.unknown,
            Verdict::Warning => self.marks.warned,
            Verdict::Failed => self.marks.stopped,
        }
    }

    /// One mark for all checks of one thing that say the same.
    fn line(&self, text: &mut String, same: &[&Item]) {
        let Some(first) = same.first() else { return };
        let checks: Vec<&str> = same.iter().map(|item| item.check.name()).collect();
        let place = place(first);
        // Writing to a String cannot fail.
        let _ = write!(text, "  {} {place} [{}]", self.mark(first.verdict), checks.join(" "));
        let said = first.verdict != Verdict::Satisfied || same.len() == 1;
        if said && !first.message.is_empty() {
            let _ = write!(text, " {}", first.message);
        }
        text.push('\n');
        if let Some(remedy) = &first.remedy {
            let _ = writeln!(text, "      {remedy}");
        }
    }
}

fn place(item: &Item) -> String {
    let node = item.node.as_ref().map(|node| format!("{node} ")).unwrap_or_default();
    format!("{node}{}", item.object)
}

/// Items of one thing that can share a line: of one verdict; what is not satisfied must also be so for one reason.
fn shares(one: &Item, other: &Item) -> bool {
    let same_words = one.message == other.message && one.remedy == other.remedy;
    one.verdict == other.verdict && (one.verdict == Verdict::Satisfied || same_words)
}

impl View for DiagnosisReport {
    const KIND: &'static str = "Diagnosis";

    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(&["GROUP", "NODE", "OBJECT", "CHECK", "VERDICT", "MESSAGE", "REMEDY"]);
        for item in &self.items {
            table.row([
                item.group.to_string(),
                item.node.clone().unwrap_or_default(),
                item.object.clone(),
                item.check.to_string(),
                item.verdict.word().to_owned(),
                item.message.clone(),
                item.remedy.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn text(&self, wide: bool) -> String {
        if wide {
            return format!("{}\n{}\n", self.table(true), self.summary.words());
        }
        let mut text = String::new();
        let mut group = None;
        let one_thing = |a: &Item, b: &Item| (a.group, &a.node, &a.object) == (b.group, &b.node, &b.object);
        for thing in self.items.chunk_by(one_thing) {
            let Some(first) = thing.first() else { continue };
            if group != Some(first.group) {
                text.push_str(if group.is_some() { "\n" } else { "" });
                let _ = writeln!(text, "{}", first.group);
                group = Some(first.group);
            }
            let mut rest: Vec<&Item> = thing.iter().collect();
            while let Some(first) = rest.first().copied() {
                let (same, others): (Vec<&Item>, Vec<&Item>) = rest.into_iter().partition(|item| shares(first, item));
                self.line(&mut text, &same);
                rest = others;
            }
        }
        text.push_str(if self.items.is_empty() { "" } else { "\n" });
        let _ = writeln!(text, "{}", self.summary.words());
        text
    }

    fn names(&self) -> Option<Vec<String>> {
        let name = |item: &Item| {
            let node = item.node.as_ref().map(|node| format!("{node}/")).unwrap_or_default();
            format!("{}/{node}{}/{}", item.group, item.object, item.check)
        };
        Some(self.items.iter().map(name).collect())
    }

    fn junit(&self) -> Option<String> {
        let failures = self.items.iter().filter(|item| item.verdict != Verdict::Satisfied).count();
        let counts = format!("tests=\"{}\" failures=\"{failures}\"", self.items.len());
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"certctl\" {counts}>\n"
        );
        for item in &self.items {
            let name = escaped(&format!("{} {}", place(item), item.check));
            let _ = write!(text, "<testcase classname=\"{}\" name=\"{name}\"", item.group);
            match &item.remedy {
                None => text.push_str("/>\n"),
                Some(remedy) => {
                    let (word, message, remedy) = (item.verdict.word(), escaped(&item.message), escaped(remedy));
                    let _ = writeln!(
                        text,
                        ">\n<failure type=\"{}\" message=\"{word}: {message}\">{remedy}</failure>\n</testcase>",
                        item.check
                    );
                }
            }
        }
        text.push_str("</testsuite>\n</testsuites>\n");
        Some(text)
    }
}

impl Summary {
    fn words(self) -> String {
        let Self { satisfied, unknown, warnings, failed } = self;
        let all = satisfied + unknown + warnings + failed;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        format!(
            "{all} item{}: {satisfied} satisfied, {warnings} warning{}, {failed} failed, {unknown} not known",
            plural(all),
            plural(warnings)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Check, Group};

    fn item(group: Group, node: &str, object: &str, check: Check, verdict: Verdict) -> Item {
        let bad = verdict != Verdict::Satisfied;
        Item {
            group,
            check,
            node: Some(node.to_owned()).filter(|node| !node.is_empty()),
            object: object.to_owned(),
            verdict,
            message: if bad { "it is <so>".to_owned() } else { "well".to_owned() },
            remedy: bad.then(|| "do that".to_owned()),
        }
    }

    fn report(marks: Marks) -> DiagnosisReport {
        let items = vec![
            item(Group::Nodes, "w-1", "node", Check::Ready, Verdict::Satisfied),
            item(Group::Nodes, "w-1", "node", Check::Clock, Verdict::Unknown),
            item(Group::Certificates, "cp-1", "apiserver", Check::Validity, Verdict::Satisfied),
            item(Group::Certificates, "cp-1", "apiserver", Check::Key, Verdict::Failed),
            item(Group::Certificates, "cp-1", "apiserver", Check::Usage, Verdict::Satisfied),
            item(Group::Objects, "", "configmap/a/b", Check::Trusts, Verdict::Warning),
        ];
        DiagnosisReport::with_marks(items, marks)
    }

    #[test]
    fn every_item_has_a_mark_and_what_is_satisfied_shares_a_line() {
        let expected = "\
nodes
  ✓ w-1 node [ready] well
  ? w-1 node [clock] it is <so>
      do that

certificates
  ✓ cp-1 apiserver [validity usage]
  ✗ cp-1 apiserver [key] it is <so>
      do that

objects
  ! configmap/a/b [trusts] it is <so>
      do that

6 items: 3 satisfied, 1 warning, 1 failed, 1 not known
";
        assert_eq!(report(Marks::UNICODE).text(false), expected);
        let ascii = report(Marks::ASCII).text(false);
        assert!(
            ascii.is_ascii() && ascii.contains("  x cp-1 apiserver [key]") && ascii.contains("  + w-1 node [ready]"),
            "{ascii}"
        );
    }

    #[test]
    fn programs_get_every_item_by_itself() {
        let report = report(Marks::ASCII);
        assert_eq!(report.names().unwrap_or_default()[3], "certificates/cp-1/apiserver/key");
        let wide = report.text(true);
        assert_eq!(wide.lines().filter(|line| line.contains("satisfied") && line.contains("apiserver")).count(), 2);
        let junit = report.junit().unwrap_or_default();
        assert!(junit.contains("<testsuites tests=\"6\" failures=\"3\">"), "{junit}");
        assert!(
            junit.contains("<failure type=\"key\" message=\"failed: it is &lt;so&gt;\">do that</failure>"),
            "{junit}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["summary"]["failed"], &json["items"][3]["verdict"]), (&1.into(), &"failed".into()));
        assert_eq!(json["items"][0].get("remedy"), None);
    }
}
