//! `certctl repair`: brings back a node, and from it the cluster, whose certificates have expired; with nothing running.

mod local;
mod others;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::SignedDuration;

use super::on_node::{certificate_count, failed, plausible};
use crate::agent::alone;
use crate::context::Context;
use crate::error::Error;
use crate::node::{Layout, Node, renewal, repair};
use crate::pki::{Certificate, CertificateRequest, PlainRequest};
use crate::plan::repair::{Plan, Wish};
use crate::ui::repair::RepairReport;
use crate::ui::{Format, View as _};

/// How long a repair waits for the control plane unless told otherwise.
const WAIT: &str = "5m";
/// Larger input is no certificate.
const LARGEST: u64 = 1 << 20;

/// Arguments of `certctl repair`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  certctl repair --dry-run                    on a control-plane node: what is wrong, and what would be done
  certctl repair                              repair this node, then say what to do on the others
  certctl repair --config certctl.yaml        the same, and repair its `nodes:` through ssh
  certctl repair --ssh                        the same; the other nodes as the API server names them
  certctl repair --print-join                 without ssh: one command for each node that is silent, to be run there
  certctl repair --undo                       put back the files as they were before
  certctl repair --sign - < request.pem       sign what `certctl repair` on a worker has printed
  certctl repair --import - < answer.pem      on the worker: put in place what was signed")]
pub struct RepairArgs {
    /// The node's files below this folder (`/` on the node itself; elsewhere only files are written)
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Show what is wrong and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Put back the files as they were before the last repair
    #[arg(long, conflicts_with_all = ["dry_run", "validity", "ca_validity", "import", "sign", "config", "ssh"])]
    undo: bool,
    /// Lifetime of the new certificates; without it as long as that of the ones replaced
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    validity: Option<SignedDuration>,
    /// From now to the new end of a CA that has expired; without it as long as it was made for, ten years at most
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    ca_validity: Option<SignedDuration>,
    /// The time that this node shows is right, whatever its files suggest
    #[arg(long)]
    clock_is_right: bool,
    /// How long to wait for the control plane and the nodes; `0`: for ever
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_timeout, default_value = WAIT)]
    timeout: SignedDuration,
    /// Do not wait for the control plane
    #[arg(long)]
    no_wait: bool,
    /// Configuration whose `nodes:` are repaired through ssh
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Repair the other nodes through ssh, at the addresses that the API server knows
    #[arg(long, value_name = "USER", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    ssh: Option<String>,
    /// Certificates (PEM) of another node: signed requests, and CAs with a new end
    #[arg(long, value_name = "FILE|-", conflicts_with = "sign")]
    import: Option<PathBuf>,
    /// Sign a kubelet's request (PEM) with this node's CA and print what `--import` takes
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["dry_run", "config", "ssh"])]
    sign: Option<PathBuf>,
    /// On a worker: fetch the kubelet's certificate from the API server, with the bootstrap token (and CAs, PEM) on stdin
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "import", "sign", "config", "ssh"])]
    join: bool,
    /// On a control-plane node that is up: make a bootstrap token for each silent node and print the command to be run there
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "import", "sign", "config", "ssh", "join", "validity", "ca_validity"])]
    print_join: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: &RepairArgs) -> Result<(), Error> {
    let node = Node::open(&args.root);
    let job = Job { context, args, node: &node, layout: node.layout(), own: alone::is_own_root(&args.root) };
    // To anybody else every key looks lost, and the plan would say so.
    if job.own && !nix::unistd::geteuid().is_root() {
        return Err(Error::failed("only root can read the keys of this node")
            .hint(format!("run `sudo {}`", context.invocation)));
    }
    if let Some(file) = &args.sign {
        return job.sign(file);
    }
    if args.undo {
        return job.undo().await;
    }
    if args.print_join {
        return job.print_join().await;
    }
    let mut brought = args.import.as_deref().map(certificates).transpose()?.unwrap_or_default();
    if args.join {
        brought = job.fetched().await?;
    }
    let plan = job.plan(&brought)?;
    if args.dry_run {
        job.show(&job.report(&plan))?;
        return job.refuse(&plan);
    }
    job.refuse(&plan)?;
    job.ask(&plan).await?;
    let outcome = job.repair(&brought).await?;
    job.follow_up(outcome).await
}

struct Job<'a> {
    context: &'a Context,
    args: &'a RepairArgs,
    node: &'a Node,
    layout: &'a Layout,
    /// The files are those of this machine, and so are the processes.
    own: bool,
}

impl Job<'_> {
    fn plan(&self, brought: &[Certificate]) -> Result<Plan, Error> {
        let seen = repair::see(self.layout, brought, self.args.ca_validity, self.context.now);
        if seen.inventory.held.is_empty() && seen.patterns.is_empty() {
            let root = self.args.root.display();
            return Err(Error::failed(format!("no certificate of a node below {root}"))
                .hint("run it on a node of the cluster, or give the folder that holds etc/kubernetes with --root"));
        }
        let wish = Wish { validity: self.args.validity, clock_is_right: self.args.clock_is_right };
        Ok(Plan::new(&seen, &wish, self.context.now))
    }

    fn report(&self, plan: &Plan) -> RepairReport {
        let mut report = RepairReport::new(plan, repair::node_name(self.layout), self.context.now);
        if !self.own {
            report.restarts.clear();
        }
        report
    }

    fn show(&self, report: &RepairReport) -> Result<(), Error> {
        if report.certificates.is_empty() {
            self.context.say("every certificate of this node is in order");
        }
        Ok(self.context.ui.show(report, self.context.format_or(Format::Table), self.context.now)?)
    }

    /// With a wrong clock everything would be made worse: certificates that nobody accepts, or that seem to have expired.
    fn refuse(&self, plan: &Plan) -> Result<(), Error> {
        plausible(&plan.clock, self.context.now)
    }

    async fn ask(&self, plan: &Plan) -> Result<(), Error> {
        if plan.changes_nothing() {
            return Ok(());
        }
        if let Some(why) = renewal::rotation_under_way(self.layout) {
            let after =
                "certificates are made with the CA of ca.key; see `certctl status` when the control plane is back";
            self.context.ui.warn(&format!("a CA rotation is under way ({why}): {after}"));
        }
        let report = self.report(plan);
        self.context.say(report.text(false).trim_end());
        let count = plan.steps.len() + plan.authorities.len() + plan.trust.len();
        let restarts = if report.restarts.is_empty() {
            String::new()
        } else {
            format!(", and restart {}", report.restarts.join(", "))
        };
        let question = format!("It is {} now. Repair {}{restarts}?", self.context.now, certificate_count(count));
        self.context.confirm(&question, self.args.yes).await
    }

    /// Signs for the node that the request names, and for a kubelet only: whoever asks for more is refused.
    fn sign(&self, file: &Path) -> Result<(), Error> {
        let pem = input(file)?;
        let node = CertificateRequest::from_pem(&pem)
            .ok()
            .and_then(|request| Some(request.subject().strip_prefix("CN=system:node:")?.split(',').next()?.to_owned()));
        let node = node.ok_or_else(|| {
            Error::refused(format!("{} holds no request of a kubelet; nothing was signed", file.display()))
                .hint("`certctl repair` on the other node prints one")
        })?;
        let answer = self.signed_for(&node, &pem)?;
        self.context.say(&format!("signed for node {node}: give it to `certctl repair --import -` there"));
        Ok(self.context.ui.data(&answer)?)
    }

    /// The certificate for a kubelet's request, followed by this node's CAs; PEM.
    fn signed_for(&self, node: &str, request: &[u8]) -> Result<String, Error> {
        let asked = PlainRequest::from_pem(request).map_err(|error| Error::refused(format!("node {node}: {error}")))?;
        let user = format!("system:node:{node}");
        let groups = ["system:nodes".to_owned()];
        if !asked.asks_for(&user, &groups) {
            return Err(Error::refused(format!(
                "the request is not that of the kubelet of {node}; nothing was signed"
            )));
        }
        let certificate =
            repair::sign_client(self.layout, (&user, &groups), asked.spki_der(), self.args.validity, self.context.now);
        let certificate = certificate.map_err(failed)?;
        let authorities = repair::authorities(self.layout);
        Ok(std::iter::once(&certificate).chain(&authorities).map(Certificate::to_pem).collect())
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::all_from_pem(&input(file)?);
    found.map_err(|error| Error::failed(format!("{}: {error}", file.display())))
}

fn input(file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)
    } else {
        #[expect(clippy::disallowed_methods, reason = "the file that the administrator has named")]
        let opened = std::fs::File::open(file);
        opened.and_then(|opened| opened.take(LARGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| Error::failed(format!("cannot read {}: {error}", file.display())))?;
    Ok(bytes)
}
