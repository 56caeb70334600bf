//! What a certificate at a known place must be: whose signature, which usage, which names
//! (`cmd/kubeadm/app/phases/certs/certlist.go`, `util/pkiutil/pki_helpers.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::certificate::{is_weak, weakness};
use super::finding::about;
use super::{Finding, FindingId, InspectRow, Severity};
use crate::pki::CaId;
use crate::plan::{ApiserverFacts, CertificateKind, CertificateRow, NodeFacts};

const CLUSTER: &str = "/etc/kubernetes/pki/ca.crt";
const ETCD: &str = "/etc/kubernetes/pki/etcd/ca.crt";
const FRONT_PROXY: &str = "/etc/kubernetes/pki/front-proxy-ca.crt";
const SERVER: &str = "server auth";
const CLIENT: &str = "client auth";

pub(super) const APISERVER: &str = "/etc/kubernetes/pki/apiserver.crt";
pub(super) const ETCD_SERVER: &str = "/etc/kubernetes/pki/etcd/server.crt";
const ETCD_PEER: &str = "/etc/kubernetes/pki/etcd/peer.crt";

/// File, the CA that signs it, the usages it needs.
const LEAVES: [(&str, &str, &[&str]); 9] = [
    (APISERVER, CLUSTER, &[SERVER]),
    ("/etc/kubernetes/pki/apiserver-kubelet-client.crt", CLUSTER, &[CLIENT]),
    ("/etc/kubernetes/pki/front-proxy-client.crt", FRONT_PROXY, &[CLIENT]),
    (ETCD_SERVER, ETCD, &[SERVER, CLIENT]),
    (ETCD_PEER, ETCD, &[SERVER, CLIENT]),
    ("/etc/kubernetes/pki/etcd/healthcheck-client.crt", ETCD, &[CLIENT]),
    ("/etc/kubernetes/pki/apiserver-etcd-client.crt", ETCD, &[CLIENT]),
    ("/var/lib/kubelet/pki/kubelet-client-current.pem", CLUSTER, &[CLIENT]),
    // Its signer may be another one than the cluster's CA.
    ("/var/lib/kubelet/pki/kubelet-server-current.pem", "", &[SERVER]),
];

/// What is known about the CAs of one node, or of the files given by name. Made once: there may be ten thousand certificates.
#[derive(Default)]
struct Known<'a> {
    /// The CAs of each file.
    files: BTreeMap<&'a str, Vec<&'a CaId>>,
    /// Subjects of the CAs whose keys are of a kind of which no signature is checked here.
    unchecked: BTreeSet<&'a str>,
    /// The latest end of each CA.
    ends: BTreeMap<&'a CaId, i64>,
    /// The node's name, from the user name of its kubelet.
    name: Option<&'a str>,
}

/// [`Known`] by node.
pub(super) struct Index<'a>(BTreeMap<Option<&'a str>, Known<'a>>);

impl<'a> Index<'a> {
    pub(super) fn new(rows: &'a [InspectRow]) -> Self {
        let mut all: BTreeMap<Option<&str>, Known<'_>> = BTreeMap::new();
        for row in rows {
            let known = all.entry(row.node.as_deref()).or_default();
            let certificate = &row.certificate;
            if let Some(ca) = &certificate.ca_id {
                known.files.entry(&certificate.path).or_default().push(ca);
                let end = known.ends.entry(ca).or_insert(certificate.not_after_seconds);
                *end = certificate.not_after_seconds.max(*end);
                if weakness(&certificate.key_algorithm).is_some() {
                    known.unchecked.insert(&certificate.subject);
                }
            }
            if certificate.kind == CertificateKind::KubeletClient && certificate.index == 0 {
                known.name = certificate
                    .subject
                    .split_once("CN=system:node:")
                    .and_then(|(_, rest)| rest.split([',', '+']).next());
            }
        }
        Self(all)
    }
}

/// The host under which an endpoint was asked.
fn asked_for(row: &CertificateRow) -> Option<String> {
    let (host, _) = row.path.rsplit_once(':').filter(|_| row.kind == CertificateKind::Served && row.index == 0)?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

pub(super) fn judge(row: &InspectRow, index: &Index<'_>, facts: Option<&NodeFacts>, found: &mut Vec<Finding>) {
    let certificate = &row.certificate;
    let Some(known) = index.0.get(&row.node.as_deref()) else { return };
    if certificate.not_after.is_empty() {
        return;
    }
    if let Some((authority, usages)) = wanted(certificate) {
        let mut add = |id, message: String, remedy: String| {
            found.push(about(row.place(), Severity::Error, id, message, remedy));
        };
        issuer(row, known, authority, &mut add);
        let lacking: Vec<&str> =
            usages.iter().filter(|usage| !certificate.usages.iter().any(|has| has == *usage)).copied().collect();
        if !lacking.is_empty() {
            let message = format!("it may not be used for {}", lacking.join(" and "));
            add(
                FindingId::WrongUsage,
                message,
                format!("have it made anew with extended key usage {}", usages.join(", ")),
            );
        }
    }
    if let Some(facts) = facts {
        names(row, known, facts, found);
    }
    if let Some(host) = asked_for(certificate).filter(|host| !covers(&certificate.sans, host)) {
        let message = format!("it is not valid for {host}");
        let remedy = "clients that use this name refuse it: use another one, or have it made anew";
        found.push(about(row.place(), Severity::Error, FindingId::MissingSan, message, remedy));
    }
    outlives(row, known, found);
}

fn wanted(row: &CertificateRow) -> Option<(&'static str, &'static [&'static str])> {
    if row.index > 0 {
        return None;
    }
    if row.kind == CertificateKind::KubeconfigClient && row.path.starts_with("/etc/kubernetes/") {
        return Some((CLUSTER, &[CLIENT]));
    }
    LEAVES.iter().find(|(path, ..)| *path == row.path).map(|(_, authority, usages)| (*authority, *usages))
}

fn issuer(row: &InspectRow, known: &Known<'_>, authority: &str, add: &mut impl FnMut(FindingId, String, String)) {
    let Some(trusted) = known.files.get(authority) else { return };
    // Who made such a signature is not known, and what is wrong with it has a finding of its own.
    if is_weak(&row.certificate.signature_algorithm) || known.unchecked.contains(row.certificate.issuer.as_str()) {
        return;
    }
    if !row.certificate.issuer_id.as_ref().is_some_and(|issuer| trusted.contains(&issuer)) {
        let message = format!("`{}` signed it, and the CA of that key is not in {authority}", row.certificate.issuer);
        let remedy = format!(
            "find out which of the two is right: renew the certificate with the CA of {authority}, or put the right CA there"
        );
        add(FindingId::ForeignIssuer, message, remedy);
    }
}

/// kubeadm does not end a leaf with its CA; verifiers do.
fn outlives(row: &InspectRow, known: &Known<'_>, found: &mut Vec<Finding>) {
    let certificate = &row.certificate;
    let (Some(issuer), None) = (&certificate.issuer_id, &certificate.ca_id) else { return };
    if let Some(end) = known.ends.get(issuer).filter(|end| **end < certificate.not_after_seconds) {
        let end = jiff::Timestamp::from_second(*end).map(|end| end.to_string()).unwrap_or_default();
        let message = format!("it is valid until {}, but its CA ends at {end}", certificate.not_after);
        found.push(about(
            row.place(),
            Severity::Warning,
            FindingId::OutlivesCa,
            message,
            "renew the CA before it ends",
        ));
    }
}

fn names(row: &InspectRow, known: &Known<'_>, facts: &NodeFacts, found: &mut Vec<Finding>) {
    let certificate = &row.certificate;
    if certificate.index > 0 {
        return;
    }
    let needed = match certificate.path.as_str() {
        APISERVER => facts.apiserver.as_ref().map(|apiserver| apiserver_names(apiserver, facts)).unwrap_or_default(),
        ETCD_SERVER | ETCD_PEER if !facts.etcd_hosts.is_empty() => {
            let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            local.into_iter().chain(facts.etcd_hosts.iter().cloned()).collect()
        }
        "/var/lib/kubelet/pki/kubelet-server-current.pem" => Vec::new(),
        _ => return,
    };
    let lacking: Vec<String> = known
        .name
        .map(str::to_owned)
        .into_iter()
        .chain(needed)
        .filter(|name| !covers(&certificate.sans, name))
        .collect();
    if !lacking.is_empty() {
        let message = format!("it is not valid for {}", lacking.join(", "));
        let remedy = format!(
            "clients that use these names refuse it: have it made anew with them (`certctl renew {}` keeps the names it has)",
            super::row::kubeadm_name(&certificate.path)
        );
        found.push(about(row.place(), Severity::Error, FindingId::MissingSan, message, remedy));
    }
}

/// What kubeadm puts in, and every host that a kubeconfig of this node goes to.
fn apiserver_names(apiserver: &ApiserverFacts, facts: &NodeFacts) -> Vec<String> {
    let mut names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).to_vec();
    if !apiserver.dns_domain.is_empty() {
        names.push(format!("kubernetes.default.svc.{}", apiserver.dns_domain));
    }
    names.extend(first_address(&apiserver.service_range));
    names.extend(Some(apiserver.advertise_address.clone()).filter(|address| !address.is_empty()));
    let mut hosts: Vec<String> = facts.servers.values().filter(|host| !names.contains(host)).cloned().collect();
    hosts.sort();
    hosts.dedup();
    names.extend(hosts);
    names
}

/// The service `kubernetes` has the first address of the first range (`pkg/controlplane/instance.go`, `ServiceIPRange`).
fn first_address(range: &str) -> Option<String> {
    let (base, length) = range.split(',').next()?.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    // What stands behind the prefix does not count.
    let first = match base.parse().ok()? {
        IpAddr::V4(base) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            IpAddr::from(((base.to_bits() & mask).checked_add(1)?).to_be_bytes())
        }
        IpAddr::V6(base) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
            IpAddr::from(((base.to_bits() & mask).checked_add(1)?).to_be_bytes())
        }
    };
    Some(first.to_string())
}

/// Whether a certificate with these names is valid for `name`: addresses by value, names without regard to case, a wildcard for one label
/// (RFC 6125 section 6.4).
#[must_use]
pub fn covers(sans: &[String], name: &str) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        return sans.iter().any(|san| san.parse() == Ok(address));
    }
    let name = name.to_ascii_lowercase();
    sans.iter().map(|san| san.to_ascii_lowercase()).any(|san| {
        let wild = san.strip_prefix("*.").zip(name.split_once('.')).is_some_and(|(san, (_, rest))| san == rest);
        san == name || wild
    })
}
