//! One run of the prober, from the first look at the cluster to the last line of the report.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

use super::connection::{address, fetch};
use super::dispatch::Dispatcher;
use super::kubeconfig::{Credentials, Trust};
use super::lane::Lane;
use super::newcomer::Newcomer;
use super::outcome::{Mode, STARTING_CLIENT};
use super::report::{Line, Recorder};
use super::request::{build, namespace};
use super::source::{KubeconfigFile, Source};
use super::targets::{Pod, Proxies, Target, api_lanes, log_lanes, pods};
use super::welcome::{Reception, Welcome, watch as watch_for_newcomer};
use crate::paths;
use crate::record::Record;

/// Calls through kubelets per second, all nodes together.
const KUBELET_RATE: u32 = 4;
const FOLLOW_PODS_EVERY: Duration = Duration::from_secs(5);

pub struct Settings<'a> {
    pub report: &'a Path,
    pub rate: u32,
    pub duration: Option<Duration>,
    pub kubeconfig: PathBuf,
}

/// Everything that a run is made of.
struct Cast {
    targets: Vec<Target>,
    both: Rc<KubeconfigFile>,
    newcomer: Rc<Newcomer>,
    proxies: Proxies,
    lanes: Vec<Lane>,
    log_lanes: Vec<Lane>,
}

pub fn run(settings: &Settings) -> Result<ExitCode> {
    let record = Record::load()?;
    enter_the_lab()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, probe(settings, &record))?;
    Ok(ExitCode::SUCCESS)
}

/// The lab's network cannot be reached from the machine's own. Threads started later inherit this one's.
fn enter_the_lab() -> Result<()> {
    let path = Path::new("/run/netns").join(paths::name());
    let namespace = File::open(&path).with_context(|| format!("cannot open {} (is the lab up?)", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter the lab's network")
}

async fn probe(settings: &Settings<'_>, record: &Record) -> Result<()> {
    let cast = gather(settings, record).await?;
    let recorder = Rc::new(RefCell::new(Recorder::create(settings.report)?));
    let targets = cast.targets.iter().map(|target| target.name.clone()).collect();
    recorder.borrow_mut().write(&Line::Start { time: Timestamp::now(), rate: settings.rate, targets })?;
    if cast.proxies.count() == 0 || cast.log_lanes.is_empty() {
        let message =
            "no clients in the cluster (`lab deploy-clients`): neither proxies nor calls through kubelets are probed";
        eprintln!("lab probe: {message}");
        recorder.borrow_mut().event(message.to_owned())?;
    }
    let (stop, stopped) = watch::channel(false);
    let (lane_sender, arrivals) = mpsc::unbounded_channel();
    let (_no_more, nobody) = mpsc::unbounded_channel();
    let balancer = cast.targets[0].clone();
    let answers = RefCell::new(vec![Reception::Unknown; cast.targets.len()]);
    let welcome = Welcome {
        newcomer: cast.newcomer,
        targets: cast.targets,
        lanes: lane_sender,
        recorder: Rc::clone(&recorder),
        answers,
    };
    spawn_local(watch_for_newcomer(Rc::new(welcome)));
    spawn_local(follow_pods(cast.proxies, balancer, cast.both));
    spawn_local(stop_when_told(settings.duration, stop));
    let api = Dispatcher {
        rate: settings.rate,
        lanes: cast.lanes.into(),
        arrivals,
        recorder: Rc::clone(&recorder),
        stop: stopped.clone(),
    };
    let via_kubelet = Dispatcher {
        rate: KUBELET_RATE,
        lanes: cast.log_lanes.into(),
        arrivals: nobody,
        recorder: Rc::clone(&recorder),
        stop: stopped,
    };
    let lines = async { tokio::try_join!(api.run(), via_kubelet.run()) };
    let (lost, _) = tokio::select! {
        done = lines => done?,
        error = flush_each_second(&recorder) => return Err(error),
    };
    let now = Timestamp::now();
    recorder.borrow_mut().flush(now)?;
    recorder.borrow_mut().write(&Line::End { time: now, lost })
}

/// Reads the credentials, finds the pods and makes the lanes. The balancer is the first target.
async fn gather(settings: &Settings<'_>, record: &Record) -> Result<Cast> {
    let path = settings.kubeconfig.clone();
    let starting = Rc::new(Credentials::read(&path, Trust::OwnIssuer)?);
    let both = Rc::new(KubeconfigFile::new(path, Trust::Bundle));
    let current = both.current().map_err(|reason| anyhow!("{reason}"))?;
    let entrance = address(&current.server)?;
    let mut targets = vec![Target::balancer(entrance)];
    let servers: Vec<_> = record.nodes.iter().filter(|node| node.is_control_plane()).collect();
    for node in &servers {
        targets.push(Target::server(&node.name, &node.ip())?);
    }
    fetch(entrance, Rc::clone(&current), build(entrance, Mode::Fresh, namespace()))
        .await
        .context("cannot ask the cluster")?;
    let found: Vec<Pod> = pods(entrance, current).await?;
    let proxies = Proxies::of(&found);
    let files =
        servers.iter().map(|node| KubeconfigFile::new(node.root().join("etc/kubernetes/admin.conf"), Trust::OwnIssuer));
    let newcomer = Rc::new(Newcomer::new(starting.issuer.clone(), files.collect()));
    let (fixed, live) = (Source::Fixed(starting), Source::File(Rc::clone(&both)));
    let mut lanes = proxies.lanes();
    for target in &targets {
        lanes.extend(api_lanes(STARTING_CLIENT, target, &fixed));
        lanes.extend(api_lanes("both", target, &live));
    }
    let log_lanes = log_lanes(&found, &targets[0], &live);
    Ok(Cast { targets, both, newcomer, proxies, lanes, log_lanes })
}

async fn follow_pods(proxies: Proxies, balancer: Target, both: Rc<KubeconfigFile>) {
    loop {
        tokio::time::sleep(FOLLOW_PODS_EVERY).await;
        // Not counted, and another look follows: no answer is no news.
        if let Ok(credentials) = both.current()
            && let Ok(found) = pods(balancer.place.get(), credentials).await
        {
            proxies.follow(&found);
        }
    }
}

/// Ends only if the report cannot be written.
async fn flush_each_second(recorder: &RefCell<Recorder>) -> anyhow::Error {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if let Err(error) = recorder.borrow_mut().flush(Timestamp::now()) {
            return error;
        }
    }
}

async fn stop_when_told(duration: Option<Duration>, stop: watch::Sender<bool>) {
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = told(SignalKind::interrupt()) => {}
        () = told(SignalKind::terminate()) => {}
    }
    let _ = stop.send(true);
}

async fn told(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        // Without a handler the signal still ends the program, and the report is good up to its last second.
        Err(_) => std::future::pending().await,
    }
}
