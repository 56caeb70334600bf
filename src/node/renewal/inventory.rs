//! What stands in the places of a node's certificates.

use std::fs;
use std::io::{self, Read as _};

use zeroize::Zeroizing;

use crate::node::layout::Layout;
use crate::pki::{Certificate, CertificateAuthority, Kubeconfig, PrivateKey};
use crate::plan::Conf;
use crate::plan::renewal::{AuthorityName, CertificateName, Held, Inventory, Place, Signer};

/// Larger files are none of kubeadm's.
pub(super) const LARGEST: u64 = 1 << 20;

/// Reads every leaf certificate and authority of the node. What cannot be read is told in its place and hides nothing else.
#[must_use]
pub fn inventory(layout: &Layout) -> Inventory {
    let held = CertificateName::ALL.into_iter().filter_map(|name| Some((name, held(layout, name)?))).collect();
    let signers = AuthorityName::ALL.into_iter().filter_map(|name| Some((name, signer(layout, name)?)));
    Inventory { held, authorities: signers.collect() }
}

fn held(layout: &Layout, name: CertificateName) -> Option<Held> {
    match name.place() {
        Place::Pair(stem) => {
            let [cert, key] = pair(stem);
            let absent =
                || layout.path(&key).exists().then(|| Held::Broken(format!("there is a {key}, but no {cert}")));
            let Some(pem) = small_file(layout, &cert).transpose() else { return absent() };
            Some(certificate(pem.and_then(|pem| first(&pem, &cert)), || kept_key(layout, &key)))
        }
        Place::Kubeconfig(conf) => {
            let named = on_node(conf);
            let text = small_file(layout, &named).transpose()?;
            Some(text.map_or_else(Held::Broken, |text| held_in(&String::from_utf8_lossy(&text), &named)))
        }
        Place::Linked(link) => {
            let pem = small_file(layout, link).transpose()?;
            Some(certificate(pem.and_then(|pem| first(&pem, link)), || kept_key(layout, link)))
        }
    }
}

fn certificate(found: Result<Certificate, String>, key: impl FnOnce() -> Result<PrivateKey, String>) -> Held {
    match found {
        Ok(certificate) => Held::Certificate { certificate, key: key().map(|key| key.algorithm()) },
        Err(problem) => Held::Broken(problem),
    }
}

fn held_in(text: &str, named: &str) -> Held {
    let kubeconfig = match Kubeconfig::parse(text) {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => return Held::Broken(format!("{named}: {error}")),
    };
    let Some(pem) = kubeconfig.client_certificate_pem() else {
        return Held::Elsewhere(kubeconfig.client_certificate_file().map_or_else(
            || format!("{named} holds no client certificate"),
            |file| format!("its client certificate is the file {file}"),
        ));
    };
    let no_key = || format!("{named} holds no key that can be read");
    certificate(first(&pem, named), || kubeconfig.client_key().ok_or_else(no_key))
}

pub(in crate::node) fn signer(layout: &Layout, name: AuthorityName) -> Option<Signer> {
    let pem = small_file(layout, name.certificate()).ok()??;
    let all: Vec<Certificate> = Certificate::each_from_pem(&pem).into_iter().flatten().collect();
    let first = all.first()?.clone();
    let elsewhere = |problem| Some(Signer { certificate: first.clone(), problem: Some(problem) });
    let key = match kept_key(layout, name.key()) {
        Ok(key) => key,
        Err(problem) => return elsewhere(problem),
    };
    let Some(own) = all.iter().find(|certificate| key.matches(certificate)) else {
        return elsewhere(format!("{} belongs to no certificate in {}", name.key(), name.certificate()));
    };
    let problem = CertificateAuthority::new(own.clone(), key).err().map(|error| error.to_string());
    Some(Signer { certificate: own.clone(), problem })
}

pub(in crate::node) fn pair(stem: &str) -> [String; 2] {
    ["crt", "key"].map(|end| format!("/etc/kubernetes/pki/{stem}.{end}"))
}

pub(in crate::node) fn on_node(conf: Conf) -> String {
    format!("/etc/kubernetes/{}", conf.file_name())
}

fn first(pem: &[u8], named: &str) -> Result<Certificate, String> {
    Certificate::first_from_pem(pem).map_err(|error| format!("{named}: {error}"))
}

pub(in crate::node) fn kept_key(layout: &Layout, on_node: &str) -> Result<PrivateKey, String> {
    let pem = small_file(layout, on_node)?.ok_or_else(|| format!("there is no {on_node}"))?;
    PrivateKey::from_pem(&pem).map_err(|error| format!("{on_node}: {error}"))
}

/// The content of a file of the node, or why it cannot be read; `None` without a file. What is no plain file is not opened: a FIFO would
/// hold the caller for ever.
pub(in crate::node) fn small_file(layout: &Layout, on_node: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let path = layout.resolve(&layout.path(on_node));
    let problem = |error: io::Error| format!("{on_node} cannot be read: {error}");
    let data = match fs::metadata(&path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(error)),
    };
    if !data.is_file() {
        return Err(format!("{on_node} is no regular file"));
    }
    if data.len() > LARGEST {
        return Err(format!("{on_node} has {} bytes, which is more than any certificate", data.len()));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default() + 1));
    let read = fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut content));
    read.map(|_| Some(content)).map_err(problem)
}
