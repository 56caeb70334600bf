//! The certificate that kubeadm would put in a place, for a node that has lost it: subject, names and usages, over a key that is thrown away.
//! Sources: `cmd/kubeadm/app/phases/certs/certlist.go` and `phases/kubeconfig/kubeconfig.go`, `util/pkiutil/pki_helpers.go`
//! (`GetAPIServerAltNames`, `GetEtcdAltNames`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};

use crate::pki::{Certificate, CertificateAuthority, KeyAlgorithm, PkiError, PrivateKey, ServerNames};
use crate::plan::Conf;
use crate::plan::renewal::CertificateName;

/// What the manifests and kubeconfigs of a node say about the names in its certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name of the Node.
    pub node: Option<String>,
    /// The address under which this API server is known (`--advertise-address`).
    pub advertised: Option<IpAddr>,
    /// First addresses of the services' ranges (`--service-cluster-ip-range`).
    pub service_addresses: Vec<IpAddr>,
    /// The DNS domain of services.
    pub domain: Option<String>,
    /// Host of the control plane's endpoint, from the kubeconfigs.
    pub endpoint: Option<String>,
    /// Minor version of kube-apiserver's image.
    pub minor: Option<u32>,
}

impl NodeFacts {
    /// A certificate with kubeadm's contents for this place, valid from `now` for `validity`. It was signed by nobody and its key is gone.
    ///
    /// # Errors
    /// What is not known.
    pub fn pattern(
        &self,
        name: CertificateName,
        algorithm: KeyAlgorithm,
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Certificate, String> {
        let made = |error: PkiError| error.to_string();
        let nobody = CertificateAuthority::generate("nobody", KeyAlgorithm::EcdsaP256, validity, now).map_err(made)?;
        let key = PrivateKey::generate(algorithm).map_err(made)?;
        let spki = key.spki_der();
        let issued = match name {
            CertificateName::Apiserver => {
                nobody.issue_server("kube-apiserver", &self.apiserver_names()?, spki, validity, now)
            }
            CertificateName::EtcdServer | CertificateName::EtcdPeer => {
                nobody.issue_peer(self.node()?, &self.etcd_names()?, spki, validity, now)
            }
            _ => {
                let (user, groups) = self.user(name)?;
                nobody.issue_client(&user, &groups, spki, validity, now)
            }
        };
        issued.map_err(made)
    }

    fn user(&self, name: CertificateName) -> Result<(String, Vec<String>), String> {
        let user = match name {
            CertificateName::EtcdHealthcheckClient => "kube-etcd-healthcheck-client",
            CertificateName::ApiserverEtcdClient => "kube-apiserver-etcd-client",
            CertificateName::FrontProxyClient => "front-proxy-client",
            CertificateName::Conf(Conf::ControllerManager) => "system:kube-controller-manager",
            CertificateName::Conf(Conf::Scheduler) => "system:kube-scheduler",
            CertificateName::ApiserverKubeletClient => {
                return Ok(("kube-apiserver-kubelet-client".to_owned(), self.kubelet_admin()?));
            }
            CertificateName::Conf(Conf::Admin) => {
                let group = if self.minor()? < 29 { "system:masters" } else { "kubeadm:cluster-admins" };
                return Ok(("kubernetes-admin".to_owned(), vec![group.to_owned()]));
            }
            CertificateName::Conf(Conf::SuperAdmin) => {
                return Ok(("kubernetes-super-admin".to_owned(), vec!["system:masters".to_owned()]));
            }
            CertificateName::KubeletClient | CertificateName::Conf(Conf::Kubelet) => {
                return Ok((format!("system:node:{}", self.node()?), vec!["system:nodes".to_owned()]));
            }
            _ => return Err("the kubelet makes it by itself".to_owned()),
        };
        Ok((user.to_owned(), Vec::new()))
    }

    /// `system:masters` until 1.28, kubeadm's own group from 1.29 (kubernetes#121837), a ClusterRoleBinding of the user from 1.37 (#138957).
    fn kubelet_admin(&self) -> Result<Vec<String>, String> {
        Ok(match self.minor()? {
            ..29 => vec!["system:masters".to_owned()],
            29..37 => vec!["kubeadm:cluster-admins".to_owned()],
            _ => Vec::new(),
        })
    }

    fn apiserver_names(&self) -> Result<ServerNames, String> {
        let domain = self.domain.as_deref().unwrap_or("cluster.local");
        let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
        let mut dns = vec![self.node()?.to_owned()];
        dns.extend(service);
        dns.push(format!("kubernetes.default.svc.{domain}"));
        let mut ips = self.service_addresses.clone();
        if ips.is_empty() {
            return Err("kube-apiserver's manifest has no --service-cluster-ip-range".to_owned());
        }
        ips.push(self.advertised()?);
        match self.endpoint.as_deref().map(|host| (host, host.parse::<IpAddr>())) {
            Some((_, Ok(ip))) if !ips.contains(&ip) => ips.push(ip),
            Some((host, Err(_))) if !dns.iter().any(|name| name == host) => dns.push(host.to_owned()),
            _ => {}
        }
        Ok(ServerNames { dns, ips })
    }

    fn etcd_names(&self) -> Result<ServerNames, String> {
        let dns = vec![self.node()?.to_owned(), "localhost".to_owned()];
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        Ok(ServerNames { dns, ips: std::iter::once(self.advertised()?).chain(loopback).collect() })
    }

    fn node(&self) -> Result<&str, String> {
        self.node.as_deref().ok_or_else(|| "the name of the Node is in no file here".to_owned())
    }

    fn advertised(&self) -> Result<IpAddr, String> {
        self.advertised.ok_or_else(|| "kube-apiserver's manifest has no --advertise-address".to_owned())
    }

    fn minor(&self) -> Result<u32, String> {
        self.minor.ok_or_else(|| "kube-apiserver's manifest names no image with a version".to_owned())
    }
}
