//! `certctl get-credentials`: a kubeconfig for a user, from the CSR API or from the CA's key.

mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;

pub(super) use self::report::Credential;
use self::report::{Outcome, tell};
use super::credential_plugin;
use crate::cluster::{Access, Cluster};
use crate::context::Context;
use crate::engine::credentials::{
    Desk, Issued, MASTERS, Offline, Place, Subject, Written, place, sign, would_overwrite, write,
};
use crate::error::Error;
use crate::node::{KubeconfigFiles, in_full};
use crate::pki::{Conflict, Login, LoginNames, PLUGIN, credential_name};
use crate::ui::Format;

/// Lifetime of a credential unless the command says otherwise.
pub(super) const LIFETIME: &str = "24h";
/// The name of a file that means stdout.
const STDOUT: &str = "-";

/// Arguments of `certctl get-credentials`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  certctl get-credentials jane --group dev                 a context jane@CLUSTER in your kubeconfig, for a day
  certctl get-credentials jane --group dev -f jane.conf    in a kubeconfig of its own, to give to jane
  certctl get-credentials jane --group dev --exec          renewed by itself before it expires, on this machine
  certctl get-credentials ops --group kubeadm:cluster-admins --root /
                                                           on a control-plane node, with the API server down too")]
pub struct GetCredentialsArgs {
    /// The user (CN of the certificate)
    #[arg(value_name = "USER")]
    name: String,
    /// A group of the user (O of the certificate; repeatable, the order is kept)
    #[arg(short, long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long the credential is valid; the signer may give less, and at least 10m
    #[arg(long, value_name = "DURATION", default_value = LIFETIME, value_parser = crate::config::parse_duration)]
    lifetime: SignedDuration,
    /// The kubeconfig to write to, `-` for stdout (default: by kubectl's rules, $KUBECONFIG, ~/.kube/config)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name of the context to write (default: USER@CLUSTER)
    #[arg(long, value_name = "NAME")]
    context_name: Option<String>,
    /// Make the context the current one, also where there is one already
    #[arg(long)]
    set_current: bool,
    /// Overwrite entries of the same name that say something else, without asking
    #[arg(long)]
    overwrite_existing: bool,
    /// Write an entry that runs certctl, which keeps the credential in the cache folder and renews it before it expires
    #[arg(long)]
    exec: bool,
    /// Address of the API server for the new entry (default: as in your kubeconfig)
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Sign with the CA's key of this control-plane node, below this folder (`/` on the node itself); needs no API server
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Allow the group system:masters, which nothing but a CA rotation can take back
    #[arg(long)]
    break_glass: bool,
    /// Give up when nobody has approved the request for this long; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = crate::config::parse_timeout)]
    timeout: SignedDuration,
}

pub(crate) async fn run(context: &Context, args: &GetCredentialsArgs) -> Result<(), Error> {
    let subject = args.subject()?;
    args.check(context, &subject)?;
    let signer = args.signer(context).await?;
    let at = signer.place();
    at.warnings.iter().for_each(|warning| context.ui.warn(warning));
    let mut login = args.login(at);
    let cache = match args.exec {
        false => None,
        true => {
            let server = at.body["server"].as_str().unwrap_or_default();
            let name = credential_name(&subject.user, &subject.groups, &at.cluster, server);
            login = login.with_exec(&program()?, &arguments(&name, args.lifetime), INSTALL_HINT);
            Some(credential_plugin::cache(&name)?)
        }
    };
    let target = args.target()?;
    let allowed = match &target {
        Some(files) => args.allowed(context, files, &login).await?,
        None => Vec::new(),
    };
    let issued = signer.issue(context, &subject, args.timeout).await?;
    match &cache {
        Some(cache) => {
            cache.keep(&issued.certificate, &issued.key).map_err(|error| Error::failed(in_full(&error)))?;
        }
        None => login = login.with_client(&issued.certificate, &issued.key),
    }
    let mut written = Written::default();
    match &target {
        Some(files) => written = write(files, &login, args.set_current, &allowed).await?,
        None => context.ui.data(&login.to_yaml().map_err(Error::from_display)?)?,
    }
    let outcome = Outcome {
        subject: &subject,
        place: signer.place(),
        issued: &issued,
        login: &login,
        written: &written,
        exec: args.exec,
        file: args.file.as_deref(),
    };
    tell(context, &outcome)
}

/// What somebody sees whose kubectl does not find the program.
const INSTALL_HINT: &str =
    "certctl is not where it was when this entry was made: run `certctl get-credentials … --exec` again";

impl GetCredentialsArgs {
    fn subject(&self) -> Result<Subject, Error> {
        let named = |what: &str, value: &str| {
            let wrong = value.trim() != value || value.is_empty() || value.chars().any(char::is_control);
            let problem =
                format!("{what} {value:?} is no name: it is empty, or has blanks around it or control characters");
            if wrong { Err(Error::usage(problem)) } else { Ok(()) }
        };
        named("user", &self.name)?;
        self.groups.iter().try_for_each(|group| named("group", group))?;
        Ok(Subject { user: self.name.clone(), groups: self.groups.clone(), lifetime: self.lifetime })
    }

    /// What can be refused before anybody is asked anything.
    fn check(&self, context: &Context, subject: &Subject) -> Result<(), Error> {
        if subject.is_master() {
            self.check_masters(context, subject)?;
        }
        if self.to_stdout() && matches!(context.global.output, Some(Format::Json | Format::Yaml)) {
            return Err(Error::usage("`-f -` prints the kubeconfig, so there is no place for `-o`"));
        }
        let global = &context.global;
        let connects = [("--context", &global.context), ("--cluster", &global.cluster), ("--user", &global.user)];
        match connects.iter().find(|(_, value)| self.root.is_some() && value.is_some()) {
            Some((flag, _)) => {
                Err(Error::usage(format!("{flag} chooses a cluster to talk to, but with --root nobody is talked to"))
                    .hint("the new context gets its name with --context-name"))
            }
            None => Ok(()),
        }
    }

    fn check_masters(&self, context: &Context, subject: &Subject) -> Result<(), Error> {
        let again = "use a group that has a ClusterRoleBinding, for example `--group kubeadm:cluster-admins`";
        if !self.break_glass {
            let problem = format!("a member of {MASTERS} may do everything, and no authorizer can deny it anything");
            return Err(Error::refused(problem).hint(again).hint("for an emergency, add --break-glass"));
        }
        if self.root.is_none() {
            return Err(Error::refused(format!("the CSR API signs for no member of {MASTERS}"))
                .hint("on a control-plane node, `--root / --break-glass` signs with the CA's key")
                .hint(again));
        }
        if self.exec {
            return Err(Error::refused(format!(
                "an --exec entry renews itself through the CSR API, which signs for no member of {MASTERS}"
            ))
            .hint("leave --exec out; the credential ends by itself"));
        }
        context.ui.warn(&format!(
            "`{}` will be in {MASTERS}: until it ends in {:#}, nothing takes this credential back but a CA rotation \
             (`certctl rotate-ca`); the node's journal records it",
            subject.user, subject.lifetime
        ));
        Ok(())
    }

    fn to_stdout(&self) -> bool {
        self.file.as_deref().is_some_and(|file| file.as_os_str() == STDOUT)
    }

    async fn signer(&self, context: &Context) -> Result<Signer, Error> {
        let server = self.server.as_deref();
        if let Some(root) = &self.root {
            return Offline::open(root, server).map(Signer::Offline);
        }
        let hint = |error: Error| match &context.global.context {
            Some(_) => error
                .hint("--context chooses the cluster to talk to; the new context gets its name with --context-name"),
            None => error.hint("on a control-plane node, `--root /` needs no API server"),
        };
        let cluster = Cluster::connect(&context.access("get-credentials")).await.map_err(|error| hint(error.into()))?;
        cluster.version().await.map_err(|error| hint(error.into()))?;
        let place = place(&cluster, server).await?;
        Ok(Signer::Api { cluster: Box::new(cluster), place })
    }

    fn login(&self, at: &Place) -> Login {
        let context = self.context_name.clone().unwrap_or_else(|| format!("{}@{}", self.name, at.cluster));
        // Two clusters may have users of one name: kubeadm's form of a context tells their entries apart.
        let user = format!("{}@{}", self.name, at.cluster);
        let login = Login::new(LoginNames { context, cluster: at.cluster.clone(), user }, at.body.clone());
        match &at.as_held {
            Some(body) => login.or_cluster_as_held(body.clone()),
            None => login,
        }
    }

    /// The files to write to; `None` for stdout.
    fn target(&self) -> Result<Option<KubeconfigFiles>, Error> {
        let paths = match &self.file {
            Some(_) if self.to_stdout() => return Ok(None),
            Some(file) => vec![file.clone()],
            None => Access::listed_kubeconfigs(),
        };
        if paths.is_empty() {
            return Err(Error::failed("nothing says where your kubeconfig is").hint("name it with -f, or set HOME"));
        }
        Ok(Some(KubeconfigFiles::listed(paths)))
    }

    /// The entries that may be overwritten, after the administrator was asked about each.
    async fn allowed(&self, context: &Context, files: &KubeconfigFiles, login: &Login) -> Result<Vec<Conflict>, Error> {
        let conflicts = would_overwrite(files, login)?;
        for conflict in &conflicts {
            let Conflict { kind, name, fields, .. } = conflict;
            let path = files.path(conflict.file).display();
            let question = format!("{path} has another {kind} `{name}` ({}): overwrite it?", fields.join(", "));
            context.confirm_with(&question, self.overwrite_existing, "--overwrite-existing").await?;
        }
        Ok(conflicts)
    }
}

/// Who signs.
enum Signer {
    Api { cluster: Box<Cluster>, place: Place },
    Offline(Offline),
}

impl Signer {
    fn place(&self) -> &Place {
        match self {
            Self::Api { place, .. } => place,
            Self::Offline(offline) => offline.place(),
        }
    }

    async fn issue(&self, context: &Context, subject: &Subject, timeout: SignedDuration) -> Result<Issued, Error> {
        let cluster = match self {
            Self::Offline(offline) => return offline.issue(subject, context.now),
            Self::Api { cluster, .. } => cluster,
        };
        let waits = |name: &str| {
            context.ui.note(&format!(
                "you may not approve it yourself: somebody who may runs `kubectl certificate approve {name}`; waiting"
            ));
        };
        let timeout = Some(timeout.unsigned_abs()).filter(|timeout| *timeout != Duration::ZERO);
        let desk = Desk { timeout, waits_for_approval: &waits };
        // The request must be taken back before the process ends.
        let mut signal = context.interrupt.take_over();
        let stop = async {
            // The sender lives as long as the process.
            let _ = signal.wait_for(Option::is_some).await;
            context.interrupt.error().unwrap_or_else(|| Error::failed("interrupted"))
        };
        sign(cluster, subject, &desk, stop).await
    }
}

/// The path of this program: kubectl looks up a bare name in whatever PATH it has.
fn program() -> Result<String, Error> {
    let path = std::env::current_exe().map_err(|error| Error::failed(format!("cannot find my own path: {error}")))?;
    Ok(path.display().to_string())
}

fn arguments(name: &str, lifetime: SignedDuration) -> Vec<String> {
    let lifetime = format!("{lifetime:#}").replace(' ', "");
    [PLUGIN, "--credential", name, "--lifetime", &lifetime].map(str::to_owned).to_vec()
}
