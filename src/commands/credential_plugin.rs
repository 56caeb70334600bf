//! `certctl credential-plugin`: what kubectl runs for an entry that `certctl get-credentials --exec` has written.

use clap::Args;
use jiff::SignedDuration;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cluster::exec;
use crate::context::Context;
use crate::engine::credentials::{Given, Renewal};
use crate::error::Error;
use crate::node::CredentialCache;
use crate::pki::{EXEC_API_VERSION, Login, LoginNames};

/// Arguments of `certctl credential-plugin`.
#[derive(Args, Debug)]
#[command(after_help = "\
kubectl and every other client of the kubeconfig run it by themselves. What it prints is a private key:
it is for the program that called it, and for nobody to look at.")]
pub struct CredentialPluginArgs {
    /// Which credential of the user's cache folder
    #[arg(long, value_name = "NAME")]
    credential: String,
    /// Lifetime to ask for at a renewal
    #[arg(long, value_name = "DURATION", default_value = super::get_credentials::LIFETIME, value_parser = crate::config::parse_duration)]
    lifetime: SignedDuration,
}

pub(crate) async fn run(context: &Context, args: &CredentialPluginArgs) -> Result<(), Error> {
    let cluster = exec::called_for()?.ok_or_else(|| {
        Error::usage("nobody called who wants a credential: KUBERNETES_EXEC_INFO is not set")
            .hint("kubectl runs this; use the kubeconfig with it")
    })?;
    let cache = cache(&args.credential)?;
    let names = LoginNames {
        context: args.credential.clone(),
        cluster: args.credential.clone(),
        user: args.credential.clone(),
    };
    let renewal =
        Renewal { cache: &cache, login: Login::new(names, cluster), lifetime: args.lifetime, now: context.now };
    let given = renewal.give().await?;
    if let Some(problem) = &given.problem {
        context.ui.warn(&format!("the credential is not renewed yet: {problem}"));
    }
    Ok(context.ui.data(&document(&given)?)?)
}

/// The credential of this name in the user's cache folder.
///
/// # Errors
/// A name that is none, or an environment that says nothing about the user's folders.
pub(super) fn cache(name: &str) -> Result<CredentialCache, Error> {
    let folder = exec::cache_folder().ok_or_else(|| {
        Error::failed("nothing says where the user's cache folder is").hint("set HOME or XDG_CACHE_HOME")
    })?;
    CredentialCache::new(folder.join("certctl").join("credentials"), name).map_err(Error::usage)
}

/// An ExecCredential (`k8s.io/client-go/pkg/apis/clientauthentication/v1/types.go`).
fn document(given: &Given) -> Result<Zeroizing<String>, Error> {
    let status = json!({
        "expirationTimestamp": given.until,
        "clientCertificateData": given.credential.certificate.to_pem(),
        "clientKeyData": given.credential.key.to_pem().as_str(),
    });
    let document = json!({ "apiVersion": EXEC_API_VERSION, "kind": "ExecCredential", "status": status });
    let text = serde_json::to_string(&document).map_err(std::io::Error::from)?;
    Ok(Zeroizing::new(text + "\n"))
}
