//! Items about endpoints: what they serve, and whom they let in.

use std::collections::BTreeMap;

use super::check::{Check, Group};
use super::ledger::{Ledger, Subject};
use super::{Sight, Verdict};
use crate::inspection::{Evidence, FindingId, InspectRow, NodeView};
use crate::pki::CaId;
use crate::plan::{EndpointState, NodeState, Verdict as Answer};
use crate::rotation::verdict;

/// Endpoint, and the files that it may serve; without one it makes a certificate of its own at its start
/// (kubeadm gives kube-controller-manager and kube-scheduler no `--tls-cert-file`).
const ENDPOINTS: [(&str, &[&str]); 5] = [
    ("kube-apiserver", &["/etc/kubernetes/pki/apiserver.crt"]),
    ("kube-controller-manager", &[]),
    ("kube-scheduler", &[]),
    ("etcd", &["/etc/kubernetes/pki/etcd/server.crt"]),
    ("kubelet", &["/var/lib/kubelet/pki/kubelet-server-current.pem", "/var/lib/kubelet/pki/kubelet.crt"]),
];

pub(super) fn judge(evidence: &Evidence, sight: Option<&Result<Sight, String>>, ledger: &mut Ledger<'_>) {
    // There may be thousands of nodes.
    let mut rows: BTreeMap<&str, Vec<&InspectRow>> = BTreeMap::new();
    for row in &evidence.rows {
        rows.entry(row.node.as_deref().unwrap_or_default()).or_default().push(row);
    }
    for (name, view) in &evidence.nodes {
        let Some(state) = &view.state else { continue };
        for (endpoint, files) in ENDPOINTS.iter().filter(|(endpoint, _)| runs_there(endpoint, view)) {
            let subject = Subject::on(Group::Serving, name, *endpoint).at(files.iter().map(|file| (*file).to_owned()));
            match state.endpoints.get(*endpoint) {
                Some(answer) if !answer.serial.is_empty() => {
                    serves(&subject, answer, rows.get(name.as_str()).map(Vec::as_slice).unwrap_or_default(), ledger);
                    clients(&subject, answer, state, ledger);
                }
                // Who reads files only leaves out what does not answer.
                None if sight.is_some() => ledger.add(
                    &subject,
                    Check::Serves,
                    Verdict::Unknown,
                    "the node's agent has not asked it",
                    "bring the agents to this version with `certctl install`",
                ),
                _ => ledger.add(&subject, Check::Serves, Verdict::Failed, "it does not answer", remedy(endpoint)),
            }
        }
    }
}

fn runs_there(endpoint: &str, view: &NodeView) -> bool {
    match endpoint {
        "kubelet" => view.facts.kubelet.is_some(),
        "etcd" => !view.facts.etcd_hosts.is_empty(),
        _ => view.facts.control_plane,
    }
}

fn remedy(endpoint: &str) -> String {
    match endpoint {
        "kubelet" => "look at `systemctl status kubelet` and `journalctl -u kubelet` on that node".to_owned(),
        _ => format!("look at `crictl ps -a --name {endpoint}` and its log on that node"),
    }
}

fn serves(subject: &Subject, answer: &EndpointState, rows: &[&InspectRow], ledger: &mut Ledger<'_>) {
    let served =
        |row: &&&InspectRow| row.certificate.serial == answer.serial && subject.places.contains(&row.certificate.path);
    let on_disk = rows.iter().find(served);
    let seen = match on_disk {
        Some(row) => format!("serial {} of {}", answer.serial, row.certificate.path),
        None if subject.places.is_empty() => "a certificate that it made at its start".to_owned(),
        None => format!("serial {}, of no file that kubeadm knows", answer.serial),
    };
    ledger.judge(subject, Check::Serves, &[FindingId::NotServed], seen);
}

/// Whom it lets in, as throw-away clients of each CA were answered. A worker has no CA key to make one with.
fn clients(subject: &Subject, answer: &EndpointState, state: &NodeState, ledger: &mut Ledger<'_>) {
    if answer.clients.is_empty() {
        return;
    }
    let bundle = &state.disk.ca_bundle;
    let others: Vec<&CaId> = answer.clients.keys().filter(|ca| !bundle.contains(ca)).collect();
    let asked = bundle.iter().filter(|ca| answer.clients.contains_key(ca)).collect::<Vec<_>>();
    if !asked.is_empty() {
        let remedy = "compare pki/ca.crt of that node with the others'; if it is right, restart the component";
        answers(subject, Check::Accepts, answer, (&asked, Answer::Accepted), remedy, ledger);
    }
    if !others.is_empty() {
        let remedy = "`certctl rotate-ca finalize` writes the CAs that it follows anew; if that does not help, restart the component";
        answers(subject, Check::Refuses, answer, (&others, Answer::Refused), remedy, ledger);
    }
}

fn answers(
    subject: &Subject,
    check: Check,
    answer: &EndpointState,
    (cas, wanted): (&[&CaId], Answer),
    remedy: &str,
    ledger: &mut Ledger<'_>,
) {
    let names = |which: &dyn Fn(Answer) -> bool| -> Vec<&str> {
        cas.iter().filter(|ca| which(verdict(answer, ca))).map(|ca| ca.short()).collect()
    };
    let wrong = names(&|got| got != wanted && got != Answer::Unreachable);
    let silent = names(&|got| got == Answer::Unreachable);
    if !wrong.is_empty() {
        let does = if wanted == Answer::Accepted { "refuses" } else { "accepts" };
        let message = format!("it {does} clients of CA {}", wrong.join(" "));
        ledger.add(subject, check, Verdict::Failed, message, remedy);
    } else if silent.is_empty() {
        ledger.satisfied(subject, check, format!("clients of CA {}", names(&|_| true).join(" ")));
    } else {
        let message = format!("it gave a client of CA {} no answer", silent.join(" "));
        ledger.add(
            subject,
            check,
            Verdict::Unknown,
            message,
            "ask again in a moment; then look at its log on that node",
        );
    }
}
