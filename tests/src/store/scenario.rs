//! What happens to the store, and what its clients see of it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::time::sleep;

use super::{
    client::Pace,
    cluster::{Build, Cluster, NODES},
    load::{Load, Op, Running},
    measured::{Measured, milliseconds, seen},
};
use crate::{Cut, Loss, clock};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    Healthy,
    IdleCut,
    CutInTransfer,
    NodeReturn,
    TwoNodes,
    OneWayFrom,
    OneWayTo,
    DaemonKilled,
    DaemonStopped,
    DaemonRestarted,
    DaemonAbsent,
    DaemonLies,
}

impl Scenario {
    pub const ALL: [Self; 12] = [
        Self::Healthy,
        Self::IdleCut,
        Self::CutInTransfer,
        Self::NodeReturn,
        Self::TwoNodes,
        Self::OneWayFrom,
        Self::OneWayTo,
        Self::DaemonKilled,
        Self::DaemonStopped,
        Self::DaemonRestarted,
        Self::DaemonAbsent,
        Self::DaemonLies,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::IdleCut => "idle-cut",
            Self::CutInTransfer => "cut-in-transfer",
            Self::NodeReturn => "node-return",
            Self::TwoNodes => "two-nodes-cut",
            Self::OneWayFrom => "one-way-from-it",
            Self::OneWayTo => "one-way-to-it",
            Self::DaemonKilled => "daemon-killed",
            Self::DaemonStopped => "daemon-stopped",
            Self::DaemonRestarted => "daemon-restarted",
            Self::DaemonAbsent => "daemon-absent",
            Self::DaemonLies => "daemon-lies",
        }
    }

    /// The same, but for what happens to the daemon: what it is compared with.
    pub fn as_today(self) -> Self {
        match self {
            Self::DaemonKilled
            | Self::DaemonStopped
            | Self::DaemonRestarted
            | Self::DaemonAbsent
            | Self::DaemonLies => Self::CutInTransfer,
            other => other,
        }
    }

    /// How the nodes are built where they are not as today.
    pub fn build(self) -> Build {
        match self {
            Self::DaemonAbsent => Build::NoDaemon,
            Self::DaemonLies => Build::Liar,
            _ => Build::Detected,
        }
    }

    /// Whether big transfers are under way.
    fn has_transfers(self) -> bool {
        !matches!(self, Self::IdleCut | Self::NodeReturn)
    }
}

/// How long and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemons' `--source`.
    pub source: String,
    /// Their configuration file, if it is not the default.
    pub config: Option<&'static str>,
    pub cut: Cut,
    /// Of the big upload, and of the big download beside it.
    pub big_bytes: u64,
    pub pace: Pace,
    /// How long a cut lasts where a detector is at work, and where none is.
    pub window: Duration,
    pub window_today: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: "ebpf".to_owned(),
            config: None,
            cut: Cut::PortDown,
            big_bytes: 64 << 20,
            pace: Pace {
                bytes_per_second: 8 << 20,
            },
            window: Duration::from_secs(8),
            window_today: Duration::from_secs(42),
        }
    }
}

/// The cut falls when so much of the big transfers is done.
const CUT_AT: f64 = 0.45;
/// Small operations before anything happens.
const BEFORE: Duration = Duration::from_millis(1500);
/// A killed daemon is started again after this time.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// Runs one scenario on a cluster of its own.
pub async fn run(scenario: Scenario, build: Build, options: &Options) -> anyhow::Result<Measured> {
    let mut cluster = Cluster::start(build, &options.source, options.config).await?;
    let load = Load::new(cluster.client(1));
    let big = scenario.has_transfers().then_some(options.big_bytes);
    load.prepare(8, big).await?;
    sleep(BEFORE).await;
    let undetected = build != Build::Detected
        || matches!(scenario, Scenario::DaemonKilled | Scenario::DaemonStopped);
    let window = match undetected && scenario != Scenario::Healthy {
        true => options.window_today,
        false => options.window,
    };

    let mut running = Running::default();
    if !matches!(scenario, Scenario::IdleCut | Scenario::NodeReturn) {
        running = load.start(&Op::SMALL);
        sleep(BEFORE).await;
    }
    if let Some(size) = big {
        load.start_big(
            &mut running,
            size,
            options.pace,
            scenario != Scenario::TwoNodes,
        );
        sleep(options.pace.time(size).mul_f64(CUT_AT)).await;
    }
    let mut from_ns = happens(scenario, &cluster, options)?;
    to_daemons(scenario, &mut cluster).await?;
    if scenario == Scenario::IdleCut {
        sleep(Duration::from_secs(1)).await;
        running = load.start(&Op::SMALL);
    }
    let passed = clock::between(from_ns, clock::now_ns());
    sleep(window.saturating_sub(passed)).await;

    let mut until_ns = clock::now_ns();
    if scenario == Scenario::NodeReturn {
        running = load.start(&Op::SMALL);
    } else {
        running.stop().await;
        running = Running::default();
    }
    let undone_ns = undone(scenario, &cluster)?;
    cluster.of_full_service().await?;
    let full_service = clock::between(undone_ns, clock::now_ns());
    if scenario == Scenario::NodeReturn {
        sleep(BEFORE).await;
        (from_ns, until_ns) = (undone_ns, clock::now_ns());
        running.stop().await;
    }
    let (acknowledged, damaged) = load.verify().await;
    for daemon in cluster.daemons.drain(..) {
        // A stopped one ends as well.
        daemon.process().signal(Signal::SIGCONT)?;
        daemon.stop().await?;
    }
    Ok(Measured {
        scenario,
        detected: build != Build::Today,
        ops: seen(&load.done(), from_ns, until_ns),
        full_service_ms: milliseconds(full_service),
        acknowledged,
        damaged,
    })
}

/// To the network. Gives the moment.
fn happens(scenario: Scenario, cluster: &Cluster, options: &Options) -> anyhow::Result<u64> {
    let (lab, last) = (&cluster.lab, NODES);
    let at_ns = clock::now_ns();
    match scenario {
        Scenario::Healthy => {}
        Scenario::TwoNodes => {
            lab.cut(&[last - 1, last], options.cut)?;
        }
        Scenario::OneWayFrom => lab.drops(last, Some(Loss::AllFrom))?,
        Scenario::OneWayTo => lab.drops(last, Some(Loss::AllTo))?,
        _ => {
            lab.cut(&[last], options.cut)?;
        }
    }
    Ok(at_ns)
}

/// To the daemons, at the same moment.
async fn to_daemons(scenario: Scenario, cluster: &mut Cluster) -> anyhow::Result<()> {
    match scenario {
        Scenario::DaemonKilled | Scenario::DaemonRestarted => {
            for daemon in cluster.daemons.drain(..) {
                daemon.kill().await?;
            }
        }
        Scenario::DaemonStopped => {
            for daemon in &cluster.daemons {
                daemon.process().signal(Signal::SIGSTOP)?;
            }
        }
        _ => {}
    }
    if scenario == Scenario::DaemonRestarted {
        sleep(RESTART_AFTER).await;
        for number in 1..NODES {
            cluster.start_daemon(number).await?;
        }
    }
    Ok(())
}

/// Gives the moment from which the network is as it was.
fn undone(scenario: Scenario, cluster: &Cluster) -> anyhow::Result<u64> {
    let (lab, last) = (&cluster.lab, NODES);
    match scenario {
        Scenario::Healthy => {}
        Scenario::OneWayFrom | Scenario::OneWayTo => lab.drops(last, None)?,
        Scenario::TwoNodes => {
            lab.heal(&[last - 1, last])?;
        }
        _ => {
            lab.heal(&[last])?;
        }
    }
    Ok(clock::now_ns())
}
