//! `certctl renew`: new leaf certificates, for a node on the node itself, or for the nodes of a running cluster through their agents.

mod fleet;
mod local;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use jiff::SignedDuration;

use crate::config::{MaxUnavailable, Waiver};
use crate::context::Context;
use crate::error::Error;
use crate::pki::KeyAlgorithm;
use crate::plan::renewal::{CertificateName, Due, Request};

/// Arguments of `certctl renew`.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("which").required(true).multiple(true).args(["names", "all", "only_due", "within", "csr_only", "import"])),
    after_help = "\
Examples:
  certctl renew --all --dry-run                     show what would be renewed and restarted on every node
  certctl renew --only-due --yes                    on every node, through the agents: what is at 80 % of its life
  certctl renew apiserver --node cp-1               one certificate of one node
  certctl renew kubelet-client                      the kubelets' client certificates
  certctl renew --root / --all --yes                on a node, API server up or down: every certificate of this node
  certctl renew --root / --only-due --yes           for a timer: only what is at 80 % of its life
  certctl renew --root / apiserver --validity 90d   one certificate, for 90 days
  certctl renew --root / --csr-only DIR             requests for a CA elsewhere, then --import DIR"
)]
pub struct RenewArgs {
    /// Certificates, by the names of `kubeadm certs renew`, kubelet.conf, kubelet-client or kubelet-server
    #[arg(value_name = "NAME")]
    names: Vec<CertificateName>,
    /// Every certificate but those that the kubelet renews by itself
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Without the agents: the node's files below this folder (`/` on the node itself; elsewhere only files are written)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only what is at 80 % of its life, or has expired
    #[arg(long)]
    only_due: bool,
    /// Only what ends within this time
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration, conflicts_with = "only_due")]
    within: Option<SignedDuration>,
    /// Kind of the new keys, as kubeadm calls it; without it as the keys replaced
    #[arg(long, value_name = "ALGORITHM", value_parser = key_algorithm, conflicts_with = "reuse_key")]
    key_algorithm: Option<KeyAlgorithm>,
    /// Keep the keys
    #[arg(long)]
    reuse_key: bool,
    /// Lifetime of the new certificates; without it as long as that of the ones replaced
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration, conflicts_with_all = ["csr_only", "import"])]
    validity: Option<SignedDuration>,
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write keys and certificate requests into this folder, to be signed elsewhere
    #[arg(long, value_name = "DIR", conflicts_with = "import", requires = "root")]
    csr_only: Option<PathBuf>,
    /// Put the certificates NAME.crt of this folder, signed elsewhere, into their places
    #[arg(long, value_name = "DIR", requires = "root")]
    import: Option<PathBuf>,
    /// The time that this node shows is right, although etcd has not written here for more than a year
    #[arg(long, requires = "root")]
    clock_is_right: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What a renewal through the agents takes besides.
#[derive(Args, Debug)]
pub struct FleetArgs {
    /// Only this node (repeatable); without it every node
    #[arg(long, value_name = "NAME", conflicts_with = "root")]
    node: Vec<String>,
    /// Configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    config: Option<PathBuf>,
    /// Leave this node out, by name: node/NAME (repeatable)
    #[arg(long, value_name = "node/NAME", conflicts_with = "root")]
    waive: Vec<Waiver>,
    /// Give up when nothing has moved for this long; 0 waits for ever
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_timeout, conflicts_with = "root")]
    timeout: Option<SignedDuration>,
    /// How many kubelets of workers may restart at the same time, as a number or a percentage
    #[arg(long, value_name = "N", conflicts_with = "root")]
    max_unavailable: Option<MaxUnavailable>,
}

impl RenewArgs {
    /// What is asked for, wherever it is done.
    fn request(&self) -> Request {
        let late = self.only_due.then_some(Due::Late);
        Request {
            names: self.names.clone(),
            due: self.within.map(Due::Within).or(late),
            algorithm: self.key_algorithm,
            reuse_key: self.reuse_key,
            validity: self.validity,
            signed_elsewhere: false,
            csr_api: false,
        }
    }
}

fn key_algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    let algorithm: KeyAlgorithm = text.parse().map_err(|error: crate::pki::PkiError| error.to_string())?;
    let refused = "kubeadm cannot read Ed25519 keys; use one of the others";
    if algorithm == KeyAlgorithm::Ed25519 { Err(refused.to_owned()) } else { Ok(algorithm) }
}

pub(crate) async fn run(context: &Context, args: &RenewArgs) -> Result<(), Error> {
    match &args.root {
        Some(root) => local::run(context, args, root).await,
        None => fleet::run(context, args).await,
    }
}
