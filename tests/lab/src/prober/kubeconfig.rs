//! Reads a kubeconfig as a client would and makes TLS configurations of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Which CA certificates of the kubeconfig the client believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All of them, as kubectl does.
    Bundle,
    /// Only the one that issued the client's own certificate: a client that knows one generation and no other.
    OwnIssuer,
}

/// What a client needs to talk to an API server.
pub struct Credentials {
    /// `host:port` of the kubeconfig.
    pub server: String,
    /// Key id of the CA that issued the client certificate.
    pub issuer: Vec<u8>,
    pub http1: Arc<ClientConfig>,
    pub http2: Arc<ClientConfig>,
}

impl Credentials {
    pub fn read(path: &Path, trust: Trust) -> Result<Credentials> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Credentials::parse(&text, trust).with_context(|| format!("cannot use {}", path.display()))
    }

    pub fn parse(text: &str, trust: Trust) -> Result<Credentials> {
        let file: File = serde_saphyr::from_str(text).context("not a kubeconfig")?;
        let (cluster, user) = file.current()?;
        let authorities = certificates(&cluster.certificate_authority_data)?;
        let chain = certificates(&user.client_certificate_data)?;
        let leaf = chain.first().context("no client certificate")?;
        let issuer = issuer_id(leaf)?;
        let believed = match trust {
            Trust::Bundle => authorities,
            Trust::OwnIssuer => only(&issuer, authorities)?,
        };
        let key =
            PrivateKeyDer::from_pem_slice(&STANDARD.decode(&user.client_key_data)?).context("no usable client key")?;
        let http1 = tls(&believed, &chain, &key, b"http/1.1")?;
        let http2 = tls(&believed, &chain, &key, b"h2")?;
        let server = cluster.server.strip_prefix("https://").context("the server is not https")?;
        Ok(Credentials { server: server.trim_end_matches('/').to_owned(), issuer, http1, http2 })
    }
}

fn tls(
    believed: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in believed {
        roots.add(certificate.clone()).context("unusable CA certificate")?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.to_vec(), key.clone_key())
        .context("the client certificate and its key do not go together")?;
    // A resumed session skips both certificates, and a fresh connection is there to have both checked.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

fn certificates(data: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = STANDARD.decode(data).context("not base64")?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().context("not PEM")
}

/// The CA certificates with this key id. A cross-signed twin has the same key, so it is as good as the self-signed one.
fn only(issuer: &[u8], authorities: Vec<CertificateDer<'static>>) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for authority in authorities {
        if subject_id(&authority)? == issuer {
            found.push(authority);
        }
    }
    if found.is_empty() {
        bail!("it does not hold the CA that issued its client certificate");
    }
    Ok(found)
}

/// The key id of a certificate's issuer; its name where there is no key id, which kubeadm never leaves out.
fn issuer_id(der: &[u8]) -> Result<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).context("unreadable client certificate")?;
    let id = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    Ok(id.unwrap_or_else(|| certificate.issuer().as_raw().to_vec()))
}

fn subject_id(der: &[u8]) -> Result<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).context("unreadable CA certificate")?;
    let id = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    Ok(id.unwrap_or_else(|| certificate.subject().as_raw().to_vec()))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<Named>,
    clusters: Vec<Named>,
    users: Vec<Named>,
}

/// The three lists of a kubeconfig have entries of one shape: a name and one of these.
#[derive(Deserialize)]
struct Named {
    name: String,
    context: Option<ContextEntry>,
    cluster: Option<Cluster>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

impl File {
    fn current(self) -> Result<(Cluster, User)> {
        let context = named(self.contexts, &self.current_context)?.context.context("the context is empty")?;
        let cluster = named(self.clusters, &context.cluster)?.cluster.context("the cluster is empty")?;
        let user = named(self.users, &context.user)?.user.context("the user is empty")?;
        Ok((cluster, user))
    }
}

fn named(entries: Vec<Named>, name: &str) -> Result<Named> {
    entries.into_iter().find(|entry| entry.name == name).with_context(|| format!("there is no entry {name}"))
}

#[cfg(test)]
pub mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    pub type Ca = CertifiedIssuer<'static, KeyPair>;

    /// Both generations have the same name, as kubeadm gives it: only the key ids tell them apart.
    pub fn authority() -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    pub fn kubeconfig(issuer: &Ca, bundle: &[&Ca]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, issuer).unwrap();
        let bundle: String = bundle.iter().map(|ca| ca.pem()).collect();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://172.30.0.1:6443\n  \
             name: kubernetes\ncontexts:\n- context:\n    cluster: kubernetes\n    user: admin\n  name: admin@kubernetes\n\
             current-context: admin@kubernetes\npreferences: {{}}\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(bundle),
            STANDARD.encode(leaf.pem()),
            STANDARD.encode(key.serialize_pem())
        )
    }

    #[test]
    fn the_issuer_is_told_apart_by_key_and_not_by_name() {
        let (first, second) = (authority(), authority());
        let old = Credentials::parse(&kubeconfig(&first, &[&first]), Trust::Bundle).unwrap();
        let new = Credentials::parse(&kubeconfig(&second, &[&first, &second]), Trust::Bundle).unwrap();
        assert_eq!(old.server, "172.30.0.1:6443");
        assert_ne!(old.issuer, new.issuer);
    }

    #[test]
    fn a_client_of_one_generation_believes_no_other() {
        let (first, second) = (authority(), authority());
        let both = [first.der().clone(), second.der().clone()];
        let issuer = Credentials::parse(&kubeconfig(&second, &[&second]), Trust::OwnIssuer).unwrap().issuer;
        assert_eq!(only(&issuer, both.to_vec()).unwrap(), vec![second.der().clone()]);
    }

    #[test]
    fn a_bundle_without_the_own_issuer_cannot_be_narrowed_to_it() {
        let (first, second) = (authority(), authority());
        assert!(Credentials::parse(&kubeconfig(&second, &[&first]), Trust::OwnIssuer).is_err());
        assert!(Credentials::parse(&kubeconfig(&second, &[&first]), Trust::Bundle).is_ok());
    }

    #[test]
    fn half_a_file_is_an_error() {
        let ca = authority();
        let text = kubeconfig(&ca, &[&ca]);
        assert!(Credentials::parse(&text[..text.len() / 2], Trust::Bundle).is_err());
        assert!(Credentials::parse("", Trust::Bundle).is_err());
    }
}
