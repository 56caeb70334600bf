//! Makes starts of named things out of a journal. Pure.
//!
//! containerd names a container by its id when it starts it, and says what the id means when it makes the container and
//! its sandbox. All three are in the journal.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::count::{Thing, Unit};
use super::journal::Entry;

/// What happened on a node, oldest first.
#[derive(Debug, Default)]
pub struct History {
    pub boots: Vec<Timestamp>,
    pub starts: Vec<(Timestamp, Thing)>,
}

impl History {
    pub fn units(&self, node: &str) -> BTreeSet<Unit> {
        self.starts.iter().map(|(_, thing)| Unit { node: node.to_owned(), thing: thing.clone() }).collect()
    }
}

pub fn history(entries: Vec<Entry>) -> History {
    let mut history = History::default();
    let mut ids = Ids::default();
    for entry in entries {
        match entry {
            Entry::Boot(time) => history.boots.push(time),
            Entry::KubeletStarted(time) => history.starts.push((time, Thing::Kubelet)),
            Entry::Containerd(time, line) => history.starts.extend(ids.learn(&line).map(|thing| (time, thing))),
        }
    }
    history
}

/// What containerd's ids stand for.
#[derive(Default)]
struct Ids {
    /// Sandbox to namespace and pod.
    sandboxes: HashMap<String, (String, String)>,
    /// Container to what it is.
    containers: HashMap<String, Thing>,
}

impl Ids {
    /// Takes in a line; returns what it says was started.
    fn learn(&mut self, line: &str) -> Option<Thing> {
        let line = line.replace("\\\"", "\"");
        if let Some((what, sandbox)) = parts(&line, "RunPodSandbox for &PodSandboxMetadata{", "} returns sandbox id \"")
        {
            self.sandboxes.insert(sandbox, (field(what, "Namespace:")?, field(what, "Name:")?));
            return None;
        }
        if let Some((what, id)) = parts(&line, "CreateContainer within sandbox \"", "} returns container id \"") {
            let (sandbox, metadata) = what.split_once("\" for &ContainerMetadata{")?;
            let (namespace, pod) = self.sandboxes.get(sandbox).cloned().unwrap_or_default();
            self.containers.insert(id, Thing::Container { namespace, pod, container: field(metadata, "Name:")? });
            return None;
        }
        let id = between(&line, "StartContainer for \"", "\" returns successfully")?;
        // An id that nobody explained is a start all the same.
        let unknown = || Thing::Container {
            namespace: String::new(),
            pod: String::new(),
            container: id.chars().take(12).collect(),
        };
        Some(self.containers.get(id).cloned().unwrap_or_else(unknown))
    }
}

/// What is between the two texts, and the quoted word after the second.
fn parts<'a>(line: &'a str, before: &str, after: &str) -> Option<(&'a str, String)> {
    let (what, rest) = line.split_once(before)?.1.split_once(after)?;
    Some((what, rest.split_once('"')?.0.to_owned()))
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(line.split_once(before)?.1.split_once(after)?.0)
}

/// A field of a Go struct as `%+v` prints it. `Name:` must not find `Namespace:` nor the end of another field's name.
fn field(text: &str, name: &str) -> Option<String> {
    text.split(',').find_map(|part| part.strip_prefix(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<Thing> {
        let time = Timestamp::from_second(1).unwrap();
        let entries = lines.iter().map(|line| Entry::Containerd(time, (*line).to_owned())).collect();
        history(entries).starts.into_iter().map(|(_, thing)| thing).collect()
    }

    #[test]
    fn a_start_is_traced_to_its_pod() {
        let found = lines(&[
            r#"time="2026" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:etcd-cp-1,Uid:54ef,Namespace:kube-system,Attempt:0,}""#,
            r#"time="2026" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:etcd-cp-1,Uid:54ef,Namespace:kube-system,Attempt:0,} returns sandbox id \"5429\"""#,
            r#"time="2026" level=info msg="CreateContainer within sandbox \"5429\" for container &ContainerMetadata{Name:etcd,Attempt:0,}""#,
            r#"time="2026" level=info msg="CreateContainer within sandbox \"5429\" for &ContainerMetadata{Name:etcd,Attempt:0,} returns container id \"1088\"""#,
            r#"time="2026" level=info msg="StartContainer for \"1088\"""#,
            r#"time="2026" level=info msg="StartContainer for \"1088\" returns successfully""#,
        ]);
        let etcd = Thing::Container {
            namespace: "kube-system".to_owned(),
            pod: "etcd-cp-1".to_owned(),
            container: "etcd".to_owned(),
        };
        assert_eq!(found, [etcd]);
    }

    #[test]
    fn a_start_without_its_beginning_is_counted_all_the_same() {
        let found = lines(&[r#"msg="StartContainer for \"0123456789abcdef\" returns successfully""#]);
        assert!(matches!(&found[..], [Thing::Container { container, .. }] if container == "0123456789ab"));
    }

    #[test]
    fn a_start_that_failed_is_none() {
        assert_eq!(lines(&[r#"level=error msg="StartContainer for \"1088\" failed" error="no such file""#]), []);
    }
}
