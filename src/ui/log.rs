//! The log: what happened inside, on stderr, for whoever asks with `-v` or `RUST_LOG`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings by default, our own doings with `-v`, their details with `-vv`, everybody's with `-vvv`.
/// `RUST_LOG` wins over all of them. Called once; a second call changes nothing.
pub fn start_log(verbosity: u8) {
    let default = match verbosity {
        // The client logs at error level what it also returns, and we say it better.
        0 => "warn,kube_client=off",
        1 => "warn,kube_client=off,certctl=info",
        2 => "info,certctl=debug",
        _ => "debug,certctl=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    if log.try_init().is_err() {
        tracing::debug!("the log was started before");
    }
}
