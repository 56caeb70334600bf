//! `lab`: a real kubeadm cluster on one machine. See README.md.

mod balancer;
mod cleanup;
mod cli;
mod clients;
mod cluster;
mod container;
mod distribution;
mod images;
mod kernel;
mod kubeadm;
mod lock;
mod machines;
mod network;
mod node;
mod packages;
mod paths;
mod prober;
mod process;
mod record;
mod restarts;
mod rootfs;
mod scenarios;
mod snapshot;
mod ssh;
mod status;
mod step;
mod template;
mod up;
mod versions;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
