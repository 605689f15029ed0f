//! The scenarios: what happens to the store, and what its clients measure.

use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::{task::JoinSet, time::sleep};

use self::{Begins::*, Fault::*};
use super::{
    client::Content,
    cluster::{Cluster, NODES},
    load::Load,
    measured::{Measured, milliseconds, seen},
};
use crate::{Cut, DaemonOptions, Lab, Loss, clock};

/// A row of the benchmark's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub name: &'static str,
    fault: Fault,
    begins: Begins,
    pub daemons: Daemons,
}

/// What happens to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// So many nodes are cut off.
    CutOff(usize),
    /// The last node's frames are lost for so many milliseconds.
    Flap(u64),
    /// The last node's frames are lost in one direction.
    OneWay(Loss),
}

/// When clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// Before it happens, and transfers are under way.
    Before,
    After,
    WhenUndone,
}

/// How the nodes are built, and what happens to the daemons of those that are not cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemons {
    /// There are none, and the nodes are as RustFS is today.
    Today,
    /// They run beside nodes as of today, and destroy the sockets of a dead peer.
    Outside,
    /// They run, and the nodes have `detector-api`, as in all that follow.
    Run,
    Killed,
    Stopped,
    Restarted,
    Absent,
    /// They speak another protocol, and say that everybody is down.
    Lie,
}

/// All of them.
pub const SCENARIOS: [Scenario; 15] = [
    Scenario::new("healthy", Nothing, Before, Daemons::Run),
    Scenario::new("idle-cut", CutOff(1), After, Daemons::Run),
    Scenario::new("cut-in-transfer", CutOff(1), Before, Daemons::Run),
    Scenario::new("node-return", CutOff(1), WhenUndone, Daemons::Run),
    Scenario::new("two-nodes-cut", CutOff(2), Before, Daemons::Run),
    Scenario::new(
        "one-way-from-it",
        OneWay(Loss::AllFrom),
        Before,
        Daemons::Run,
    ),
    Scenario::new("one-way-to-it", OneWay(Loss::AllTo), Before, Daemons::Run),
    Scenario::new("daemon-killed", CutOff(1), Before, Daemons::Killed),
    Scenario::new("daemon-stopped", CutOff(1), Before, Daemons::Stopped),
    Scenario::new("daemon-restarted", CutOff(1), Before, Daemons::Restarted),
    Scenario::new("daemon-absent", CutOff(1), Before, Daemons::Absent),
    Scenario::new("daemon-lies", CutOff(1), Before, Daemons::Lie),
    Scenario::new("daemon-outside", CutOff(1), Before, Daemons::Outside),
    Scenario::new("flap-250ms", Flap(250), Before, Daemons::Outside),
    Scenario::new("flap-400ms", Flap(400), Before, Daemons::Outside),
];

/// The one of this name.
pub fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let found = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
    found.with_context(|| format!("there is no scenario {name}"))
}

impl Scenario {
    const fn new(name: &'static str, fault: Fault, begins: Begins, daemons: Daemons) -> Self {
        Self {
            name,
            fault,
            begins,
            daemons,
        }
    }

    /// The same with other daemons.
    pub fn with(self, daemons: Daemons) -> Self {
        Self { daemons, ..self }
    }

    /// Whether the same happens to both, but for the daemons.
    pub fn is_like(self, other: Self) -> bool {
        (self.fault, self.begins) == (other.fault, other.begins)
    }

    /// Whether operations may fail: they need a quorum that is lost.
    pub fn loses_quorum(self) -> bool {
        matches!(self.fault, CutOff(nodes) if nodes > 1)
    }

    /// Whether small operations must all succeed: the detector is at work, and the quorum is there.
    pub fn fails_nothing(self) -> bool {
        let at_work = matches!(self.daemons, Daemons::Run | Daemons::Outside);
        at_work && !self.loses_quorum()
    }

    /// How long it lasts.
    fn window(self, options: &Options) -> Duration {
        use Daemons::{Outside, Restarted, Run};
        let short = matches!(self.daemons, Outside | Run | Restarted)
            || matches!(self.fault, Nothing | Flap(_));
        if short {
            options.window
        } else {
            options.window_today
        }
    }
}

/// How long and how much.
#[derive(Clone, Debug)]
pub struct Options {
    pub daemon: DaemonOptions,
    pub cut: Cut,
    /// What is uploaded, and downloaded beside it.
    pub big: Content,
    /// How long a cut lasts where a detector is at work, and where none is.
    pub window: Duration,
    pub window_today: Duration,
}

impl Options {
    /// The daemons' signals come from this source. A quick run shows that it works.
    pub fn new(source: &str, quick: bool) -> Self {
        let mut daemon = DaemonOptions::default().source(source);
        daemon.log = "warn".to_owned();
        daemon.show_log = false;
        let pick = |whole, short| if quick { short } else { whole };
        Self {
            daemon,
            cut: Cut::PortDown,
            big: Content {
                seed: 0,
                size: pick(64, 16) << 20,
                pace: pick(8, 4) << 20,
            },
            window: Duration::from_secs(pick(8, 5)),
            window_today: Duration::from_secs(pick(42, 35)),
        }
    }
}

/// The cut falls when so much of the transfers is done.
const CUT_AT: f64 = 0.45;
/// How long a killed daemon is away, how long an idle store has been cut when clients come, and
/// how long clients are watched after a node's return.
const RESTART_AFTER: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(1);
const AFTER_RETURN: Duration = Duration::from_millis(1500);

/// Runs one scenario on a cluster of its own.
pub async fn run(scenario: Scenario, options: &Options) -> anyhow::Result<Measured> {
    let mut cluster = Cluster::start(scenario.daemons, options.daemon.clone()).await?;
    let (load, big) = (Load::new(cluster.client(), options.big), options.big);
    let mut running = JoinSet::new();
    load.prepare().await?;
    if scenario.begins == Before {
        load.start(&mut running);
        load.succeeding().await?;
        load.start_transfers(&mut running);
        sleep(big.time(big.size).mul_f64(CUT_AT)).await;
    }
    let mut from_ns = clock::now_ns();
    network(scenario.fault, Some(options.cut), &cluster.lab)?;
    if let Flap(ms) = scenario.fault {
        sleep(Duration::from_millis(ms)).await;
        network(scenario.fault, None, &cluster.lab)?;
    }
    daemons(scenario.daemons, &mut cluster).await?;
    if scenario.begins == After {
        sleep(IDLE).await;
        load.start(&mut running);
    }
    let passed = clock::between(from_ns, clock::now_ns());
    sleep(scenario.window(options).saturating_sub(passed)).await;

    let mut until_ns = clock::now_ns();
    match scenario.begins {
        WhenUndone => load.start(&mut running),
        Before | After => load.stop(&mut running).await,
    }
    let undone_ns = clock::now_ns();
    network(scenario.fault, None, &cluster.lab)?;
    cluster.of_full_service().await?;
    let full_service = clock::between(undone_ns, clock::now_ns());
    if scenario.begins == WhenUndone {
        sleep(AFTER_RETURN).await;
        (from_ns, until_ns) = (undone_ns, clock::now_ns());
        load.stop(&mut running).await;
    }
    let (acknowledged, damaged) = load.verify().await;
    Ok(Measured {
        ops: seen(load.done.all(), from_ns, until_ns),
        full_service_ms: milliseconds(full_service),
        acknowledged,
        damaged,
    })
}

/// What happens, or undoes it.
fn network(fault: Fault, cut: Option<Cut>, lab: &Lab) -> anyhow::Result<()> {
    let last = |nodes| (NODES - nodes + 1..=NODES).collect::<Vec<_>>();
    match (fault, cut) {
        (Nothing, _) => {}
        // Of a port that goes down the kernel makes a longer cut.
        (Flap(_), Some(_)) => _ = lab.cut(&last(1), Cut::SilentDrop)?,
        (Flap(_), None) => _ = lab.heal(&last(1))?,
        (OneWay(loss), cut) => lab.drops(NODES, cut.map(|_| loss))?,
        (CutOff(nodes), Some(cut)) => _ = lab.cut(&last(nodes), cut)?,
        (CutOff(nodes), None) => _ = lab.heal(&last(nodes))?,
    }
    Ok(())
}

/// What happens to the daemons at the same moment.
async fn daemons(daemons: Daemons, cluster: &mut Cluster) -> anyhow::Result<()> {
    if matches!(daemons, Daemons::Killed | Daemons::Restarted) {
        for daemon in cluster.daemons.drain(..) {
            daemon.kill().await?;
        }
    }
    match daemons {
        Daemons::Stopped => {
            let mut all = cluster.daemons.iter();
            all.try_for_each(|daemon| daemon.process().signal(Signal::SIGSTOP))
        }
        Daemons::Restarted => {
            sleep(RESTART_AFTER).await;
            cluster.start_daemons().await
        }
        _ => Ok(()),
    }
}
