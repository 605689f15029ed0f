//! The one loop that joins sources, the core and effects.
//!
//! ```text
//!   kernel ──ring──▶ Source ───────┐                      ┌─▶ Board ──▶ gRPC clients
//!   sockets ─dump──▶ Reader ───────┤ Signal ▶ Detector ▶ ─┼─▶ Metrics ▶ HTTP
//!   rtnetlink ─────▶ NetworkSource ┤                      │
//!   names ─────────▶ Resolver ─────┤                Effect├─▶ printer ▶ stdout
//!   probes ────────▶ Prober ───────┤                      ├─▶ Protection ▶ cgroups
//!   what it did ───▶ Destroyer ────┘                      ├─▶ Correlations (what follows)
//!                                                         ├─▶ Reader (snapshots)
//!   clients ───────▶ Request                              └─▶ Destroyer (teardowns)
//! ```
//!
//! Signals arrive through one bounded channel ([`signals`]). The loop waits for the next `Event` and
//! for nothing else. Work that may block or that grows with the number of flows (socket snapshots,
//! the map of flows, lookups, slow clients, a recording) has a [`Worker`](crate::worker::Worker) or
//! a task of its own. [`Taped`] is the detector; it also records every input.

mod effects;
mod events;
mod layout;
mod manager;
mod namespaces;
mod outlets;
mod overrides;
mod reload;
mod requests;
mod shutdown;
mod tasks;
mod verdict_line;
mod watching;

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tracing::{debug, info};

pub use self::reload::ReadConfig;
use self::{
    events::{Event, Events},
    layout::Layout,
    manager::Manager,
    namespaces::LookedAt,
    outlets::Outlets,
    reload::Rereader,
    tasks::PeerFinder,
};
use crate::{
    clock,
    config::Config,
    core::Core as _,
    effect::{destroy::Destroyer, protect::Protection},
    insight::Correlations,
    model::{PeerState, Signal, Time},
    netns::{Following, Namespaces},
    overrides::Overrides,
    privileges::{Confined, Starting},
    process::Finder,
    record::{Recorder, Taped},
    remembered::DeadPeers,
    signals::{self, SignalSender},
    source::{
        self, Source, Watched,
        network::NetworkSource,
        probe::Prober,
        resolve::Names,
        sock_diag::Reader,
        stores::{self, FoundNow, StorePeers},
    },
};

/// The most requests that wait for the loop before clients have to wait.
const REQUEST_QUEUE: usize = 256;

/// The most signals that are taken in before their effects are carried out.
const SIGNALS_AT_ONCE: usize = 64;

/// How often the source's counters are copied to the metrics, and a set of watched peers that the
/// source has refused is offered to it again.
const CHORES_EVERY: Duration = Duration::from_secs(1);

/// How long the chores wait for something else to wake the loop.
const CHORES_CAN_WAIT: Duration = Duration::from_millis(500);

/// What the command line gives the daemon.
#[expect(missing_debug_implementations, reason = "it holds closures")]
pub struct Operator {
    /// Called with each published state.
    pub printer: Box<dyn FnMut(&PeerState) + Send>,
    /// Reads the configuration again.
    pub read_config: ReadConfig,
    /// Sets what is logged.
    pub set_log: SetLog,
    /// Gets what goes into the core.
    pub recorder: Option<Recorder>,
    /// The privileges with which it starts, and which it gives up when all is loaded.
    pub starting: Starting,
}

/// Sets what is logged: a level, or target=level pairs.
pub type SetLog = Box<dyn Fn(&str) -> anyhow::Result<()> + Send>;

/// Runs the daemon until SIGTERM or SIGINT; SIGHUP makes it read its configuration again.
///
/// # Errors
///
/// If something it needs is not available: the socket, the metrics address, a source. It leaves
/// nothing behind, neither then nor at the orderly end.
pub async fn run(config: Config, operator: Operator) -> anyhow::Result<()> {
    let stop = shutdown::Shutdown::listen().context("cannot listen for SIGTERM")?;
    let bounds = config.core.bounds();
    let (requests, asked) = mpsc::channel(REQUEST_QUEUE);
    let (signals, received) = signals::channel(bounds.signals());

    tasks::allow_open_files(bounds);
    let (outlets, servers) = tasks::serve(&config, operator.printer, requests)?;
    let finder = Finder::new().context("cannot look for processes and cgroups")?;
    let (following, namespaces, stores, found) = follow(&config, &finder)?;
    let source = source::open(&config, namespaces.clone(), signals.clone())?;
    let reader = Reader::spawn(signals.clone(), namespaces.clone(), bounds)
        .context("cannot read the kernel's sockets")?;
    let protection = Protection::load(&config, &finder)
        .context("cannot protect services (refuse_connects, tune_sockets, --protect, --rustfs)")?;
    let network = NetworkSource::start(signals.clone(), bounds)
        .context("cannot read links, routes and neighbours")?;
    let destroyer = Destroyer::spawn(signals.clone(), namespaces.clone(), bounds)
        .context("cannot destroy the kernel's sockets")?;
    let prober = Prober::start(signals.clone(), namespaces.clone(), bounds)
        .context("cannot probe the peers")?;
    let confined = operator.starting.finish(&config);
    let confined = confined.context("cannot give up privileges")?;
    outlets.metrics.set_privileges(&confined);
    let finding = tasks::find_peers(&config, &signals)?;
    let (rereader, reread) = Rereader::new(operator.read_config);
    let events = Events::new(
        (signals.clone(), received),
        asked,
        (namespaces.clone(), found.clone()),
        reread,
        stop,
    )
    .context("cannot make the loop's timer")?;

    let mut driver = Driver {
        detector: Taped::new(config.core.clone(), operator.recorder),
        watched: Watched::new(),
        watch_due: false,
        unwatched: false,
        signals,
        source,
        network,
        reader,
        protection,
        destroyer,
        prober,
        names: finding.names(),
        finding,
        stores: StorePeers::new(&config.peers, config.core.max_peers),
        found,
        looked_at: LookedAt::new(namespaces),
        correlations: Correlations::default(),
        overrides: Overrides::start(&config.state_directory, config.core.max_peers)
            .context("cannot keep overrides")?,
        dead_peers: DeadPeers::start(&config.state_directory, config.core.max_peers)
            .context("cannot keep which peers are dead")?,
        layout: Layout::new(&config),
        outlets,
        manager: Manager::new(config.peers.len()),
        rereader,
        set_log: operator.set_log,
        config,
        confined,
        chores_due: Time::default(),
    };
    driver.follow_namespaces();
    driver.follow_stores();
    tasks::announce(&driver.config);
    let result = driver.run(events).await;
    info!("stopping");
    driver.manager.stopping();
    driver.detector.finish(clock::now());
    drop(stores);
    drop(following);
    drop(driver);
    servers.finish();
    result
}

/// Begins to follow the network namespaces, and the programs whose peers are found.
fn follow(
    config: &Config,
    finder: &Finder,
) -> anyhow::Result<(Following, Namespaces, stores::Following, FoundNow)> {
    let (following, namespaces) = Following::start(&config.namespaces(), finder)
        .context("cannot look for network namespaces (network_namespaces)")?;
    let (stores, found) = stores::Following::start(&config.stores, finder)
        .context("cannot look for the programs whose peers are to be found (--rustfs)")?;
    Ok((following, namespaces, stores, found))
}

struct Driver {
    detector: Taped,
    watched: Watched,
    /// Whether `watched` has changed and the sources do not know it yet.
    watch_due: bool,
    /// Whether the source has refused `watched` as it is now.
    unwatched: bool,
    signals: SignalSender,
    source: Box<dyn Source>,
    network: NetworkSource,
    reader: Reader,
    protection: Protection,
    destroyer: Destroyer,
    prober: Prober,
    names: Names,
    finding: PeerFinder,
    stores: StorePeers,
    found: FoundNow,
    looked_at: LookedAt,
    correlations: Correlations,
    overrides: Overrides,
    dead_peers: DeadPeers,
    layout: Layout,
    outlets: Outlets,
    manager: Manager,
    rereader: Rereader,
    set_log: SetLog,
    /// The configuration by which the daemon works.
    config: Config,
    /// What it may still do.
    confined: Confined,
    chores_due: Time,
}

impl Driver {
    async fn run(&mut self, mut events: Events) -> anyhow::Result<()> {
        loop {
            match events.next(self.next_timeout()).await {
                Event::Signal(signal) => self.signals(signal, &mut events),
                Event::Request(request) => self.request(request),
                Event::Timeout => self.timeout(),
                Event::Namespaces => self.follow_namespaces(),
                Event::Stores => self.follow_stores(),
                Event::Reload => self.reload(),
                Event::Reread(reread) => self.reread(reread),
                Event::Failed(failure) => return Err(failure.into()),
                Event::Stop => return Ok(()),
            }
            self.carry_out();
            self.manager.known(self.watched.len());
            self.chores_when_due(clock::now());
        }
    }

    fn next_timeout(&self) -> Time {
        let timeouts = [self.detector.poll_timeout(), self.prober.due()];
        let chores = self.chores_due + CHORES_CAN_WAIT;
        timeouts.into_iter().flatten().fold(chores, Time::min)
    }

    fn timeout(&mut self) {
        self.take_answers();
        let now = clock::now();
        if self.detector.poll_timeout().is_some_and(|due| due <= now) {
            self.detector.handle_timeout(now);
        }
    }

    fn chores_when_due(&mut self, now: Time) {
        if self.chores_due <= now {
            self.chores_due = now + CHORES_EVERY;
            self.chores();
        }
    }

    fn chores(&mut self) {
        self.source.chores();
        if self.unwatched {
            self.watch();
        }
        self.retry_namespaces();
        let (peers, dead) = self.outlets.count();
        self.manager.chores(clock::now(), peers, dead);
        self.protection.chores();
        self.overrides.drop_expired(clock::now());
        let metrics = &self.outlets.metrics;
        metrics.set_counters(self.source.kind(), self.source.counters());
        metrics.set_network_counters(self.network.counters());
        metrics.set_malformed_answers(self.prober.malformed());
        metrics.set_dropped_signals(self.signals.dropped());
        let now = clock::now();
        metrics.set_correlations(&self.correlations, now);
        if let Some(pools) = self.layout.outlook(&self.outlets) {
            metrics.set_outlook(&pools);
        }
        metrics.set_protection(&self.protection.refused(), self.protection.sockets_tuned());
    }

    /// Takes in the waiting signals: a change of many peers is one change for the sources.
    fn signals(&mut self, first: Signal, events: &mut Events) {
        self.signal(first);
        for _ in 1..SIGNALS_AT_ONCE {
            let Some(signal) = events.waiting_signal() else {
                return;
            };
            self.signal(signal);
        }
    }

    fn signal(&mut self, mut signal: Signal) {
        if !self.drop_what_is_no_evidence(&mut signal) {
            return;
        }
        self.outlets.metrics.signal(&signal);
        match &signal {
            Signal::PeerConfigured {
                peer, endpoints, ..
            } => {
                self.watched.insert(peer.clone(), endpoints.clone());
                self.watch_due = true;
            }
            Signal::PeerRemoved { peer } => {
                self.watched.remove(peer);
                self.watch_due = true;
            }
            Signal::Flow(event) => {
                debug!(flow = %event.flow, kind = ?event.kind, at = event.at.as_nanos(), "event");
            }
            Signal::Probe(event) => {
                debug!(
                    probe = event.probe.0,
                    target = %event.target,
                    outcome = event.outcome.as_str(),
                    at = event.at.as_nanos(),
                    "probe"
                );
            }
            Signal::SocketsRead { .. }
            | Signal::SocketsUnreadable { .. }
            | Signal::Namespace { .. }
            | Signal::Network { .. } => {}
            Signal::Reported { reports } => {
                self.correlations.reported(clock::now(), reports);
                self.tell_cascades();
            }
            Signal::SocketsDestroyed { peer, result, .. } => {
                // A peer that is no longer watched has no series any more.
                if self.watched.contains_key(peer) {
                    self.outlets.metrics.sockets_destroyed(peer, *result);
                }
            }
        }
        let configured = match &signal {
            Signal::PeerConfigured { peer, .. } => Some(peer.clone()),
            _ => None,
        };
        self.detector.handle_signal(clock::now(), signal);
        if let Some(peer) = configured {
            self.keep_override(&peer);
            self.remember(&peer);
        }
    }
}
