//! The one loop that joins sources, the core and effects.
//!
//! ```text
//!   kernel ──ring──▶ ActiveSource ─┐                      ┌─▶ Board ──▶ gRPC clients
//!   sockets ─dump──▶ Reader ───────┤ Signal ▶ Detector ▶ ─┼─▶ Metrics ▶ HTTP
//!   rtnetlink ─────▶ NetworkSource ┤                      │
//!   names ─────────▶ Resolver ─────┤                Effect├─▶ printer ▶ stdout
//!   clients ───────▶ Request ──────┤                      ├─▶ Protection ▶ cgroups
//!   what it did ───▶ Destroyer ────┘                      ├─▶ Correlations (what follows)
//!                                                         ├─▶ Reader (look again)
//!                                                         └─▶ Destroyer (free what is stuck)
//! ```
//!
//! All of the loop's futures are cancel-safe: channel receives, a timer, a signal, a change of the
//! network namespaces, and [`Source::next`](crate::source::Source::next), which promises it. The
//! loop never waits for anything else: whatever may block (dumps, lookups, slow clients) has a
//! thread or task and a bounded queue of its own. A recording has one, too ([`Taped`] is the
//! detector, and writes down a copy of every input).

mod layout;
mod namespaces;
mod outlets;
mod signals;
mod tasks;
mod watching;

use std::{future::pending, time::Duration};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use self::{layout::Layout, namespaces::LookedAt, outlets::Outlets};
use crate::{
    clock,
    config::Config,
    core::{Effect, OperationReport, PeerState, Signal},
    effect::{destroy::Destroyer, protect::Protection},
    insight::Correlations,
    netns::Following,
    record::{Recorder, Taped},
    serve::{Locks, Request},
    source::{
        ActiveSource, Source as _, Watched, network::NetworkSource, probe::Prober, resolve::Names,
        sock_diag::Reader,
    },
};

/// The most requests that wait for the loop before clients have to wait.
const REQUEST_QUEUE: usize = 256;

/// The most signals that are taken in before their effects are carried out.
const SIGNALS_AT_ONCE: usize = 64;

/// How often the source's counters are copied to the metrics, and a set of watched peers that the
/// source has refused is offered to it again.
const CHORES_EVERY: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT; `printer` is called with each published state,
/// `recorder` gets what goes into the core.
///
/// # Errors
///
/// If something it needs is not available: the socket, the metrics address, a source. It leaves
/// nothing behind, neither then nor at the orderly end.
pub async fn run(
    config: Config,
    printer: impl FnMut(&PeerState) + Send + 'static,
    recorder: Option<Recorder>,
) -> anyhow::Result<()> {
    let mut stop = signals::Shutdown::listen().context("cannot listen for SIGTERM")?;
    let bounds = config.core.bounds();
    let (stopping, stopped) = watch::channel(false);
    let (requests, asked) = mpsc::channel(REQUEST_QUEUE);
    let (signal_sender, signals) = mpsc::channel(bounds.signals());

    let (outlets, servers) = tasks::serve(&config, Box::new(printer), requests, &stopped)?;
    let (following, namespaces) = Following::start(&config.network_namespaces)
        .context("cannot look for network namespaces (network_namespaces)")?;
    let source = ActiveSource::open(&config, namespaces.clone())?;
    let reader = Reader::spawn(signal_sender.clone(), namespaces.clone(), bounds)
        .context("cannot read the kernel's sockets")?;
    let protection = Protection::load(&config).context(
        "services are to be protected (refuse_connects, tune_sockets, --protect) and cannot be",
    )?;
    let network = tasks::network(signal_sender.clone(), bounds);
    let destroyer = Destroyer::spawn(signal_sender.clone(), namespaces.clone(), bounds)
        .context("cannot destroy the kernel's sockets")?;
    tasks::allow_open_files(bounds);
    let prober = Prober::start(signal_sender.clone(), namespaces.clone(), bounds)
        .context("cannot probe the peers")?;
    let finder = tasks::find_peers(&config, signal_sender)?;

    let mut driver = Driver {
        detector: Taped::new(config.core.clone(), recorder),
        watched: Watched::new(),
        watch_due: false,
        unwatched: false,
        source,
        network,
        reader,
        protection,
        destroyer,
        prober,
        names: finder.names(),
        looked_at: LookedAt::new(namespaces),
        correlations: Correlations::default(),
        layout: Layout::new(&config),
        outlets,
    };
    driver.follow_namespaces();
    info!(
        socket = %config.socket.display(),
        peers = config.peers.len(),
        mode = config.core.mode.as_str(),
        "detector is running"
    );
    let result = driver.run(signals, asked, &mut stop).await;
    info!("stopping");
    driver.detector.finish(clock::now());
    drop(finder);
    drop(following);
    drop(driver);
    // Only the servers hold the other end, and all of them may have ended already.
    stopping.send_replace(true);
    servers.finish().await;
    result
}

struct Driver {
    detector: Taped,
    watched: Watched,
    /// Whether `watched` has changed and the sources do not know it yet.
    watch_due: bool,
    /// Whether the source has refused `watched` as it is now.
    unwatched: bool,
    source: ActiveSource,
    network: Option<NetworkSource>,
    reader: Reader,
    protection: Protection,
    destroyer: Destroyer,
    prober: Prober,
    names: Names,
    looked_at: LookedAt,
    correlations: Correlations,
    layout: Layout,
    outlets: Outlets,
}

impl Driver {
    async fn run(
        &mut self,
        mut signals: mpsc::Receiver<Signal>,
        mut requests: mpsc::Receiver<Request>,
        stop: &mut signals::Shutdown,
    ) -> anyhow::Result<()> {
        let mut chores = tokio::time::interval(CHORES_EVERY);
        loop {
            let timeout = self.detector.poll_timeout();
            tokio::select! {
                batch = self.source.next() => {
                    for signal in batch.context("the source has failed")? {
                        self.signal(signal);
                    }
                }
                Some(signal) = signals.recv() => self.signals(signal, &mut signals),
                Some(request) = requests.recv() => self.request(request),
                () = sleep_until(timeout) => self.detector.handle_timeout(clock::now()),
                () = self.looked_at.changed() => self.follow_namespaces(),
                _ = chores.tick() => self.chores(),
                () = stop.recv() => return Ok(()),
            }
            self.carry_out();
        }
    }

    fn chores(&mut self) {
        if self.unwatched {
            self.watch();
        }
        self.retry_namespaces();
        self.protection.chores();
        let metrics = &self.outlets.metrics;
        metrics.set_counters(self.source.kind(), self.source.counters());
        if let Some(network) = &self.network {
            metrics.set_network_counters(network.counters());
        }
        metrics.set_malformed_answers(self.prober.malformed());
        let now = clock::now();
        metrics.set_correlations(&self.correlations, now);
        if let Some(pools) = self.layout.outlook(&self.outlets) {
            metrics.set_outlook(&pools);
        }
        metrics.set_protection(&self.protection.refused(), self.protection.sockets_tuned());
    }

    /// Takes in the waiting signals: a change of many peers is one change for the sources.
    fn signals(&mut self, first: Signal, more: &mut mpsc::Receiver<Signal>) {
        self.signal(first);
        for _ in 1..SIGNALS_AT_ONCE {
            let Ok(signal) = more.try_recv() else { return };
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
        self.detector.handle_signal(clock::now(), signal);
    }

    fn request(&mut self, request: Request) {
        let now = clock::now();
        // A client that no longer waits for its answer is no error.
        match request {
            Request::Explain { peer, reply } => {
                let _ = reply.send(self.detector.explain(now, &peer));
            }
            Request::AcquireTrial { peer, reply } => {
                let _ = reply.send(self.detector.acquire_trial(now, &peer));
            }
            Request::FinishTrial {
                peer,
                trial,
                outcome,
                reply,
            } => {
                let finished = self.detector.finish_trial(now, &peer, trial, outcome);
                self.carry_out();
                let _ = reply.send(finished);
            }
            Request::ListTuned { reply } => tasks::list_tuned(self.protection.tuned(), reply),
            Request::Report {
                reports,
                dropped,
                reply,
            } => {
                let _ = reply.send(self.reported(reports, dropped));
            }
            Request::ListLocks { reply } => {
                let _ = reply.send(Locks {
                    lines: self.correlations.locks(now),
                    beyond_bound: self.correlations.locks_beyond_bound(),
                });
            }
            Request::ListCascades { reply } => {
                let _ = reply.send(self.correlations.cascades(now));
            }
            Request::QuorumOutlook { reply } => {
                let _ = reply.send(self.layout.outlook(&self.outlets));
            }
        }
    }

    /// Returns how many of the reports are about peers that are not watched.
    fn reported(&mut self, reports: Vec<OperationReport>, dropped: u64) -> u32 {
        self.outlets.metrics.reports_dropped(dropped);
        let named = reports.iter().filter_map(|report| report.peer.as_ref());
        let unknown = named
            .filter(|peer| !self.watched.contains_key(*peer))
            .count();
        if !reports.is_empty() {
            self.signal(Signal::Reported { reports });
        }
        u32::try_from(unknown).unwrap_or(u32::MAX)
    }

    /// Logs cascades that were detected just now.
    fn tell_cascades(&mut self) {
        for cascade in self.correlations.take_detected() {
            warn!(
                pattern = cascade.pattern.name,
                component = %cascade.component,
                "cascading failure: {}",
                cascade.summary()
            );
        }
    }

    fn carry_out(&mut self) {
        self.tell_who_watches();
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::ReadSockets { peer, addr } => self.reader.request(peer, addr),
                Effect::DestroySockets(teardown) => self.destroyer.request(teardown),
                Effect::CancelTeardown { peer, addr } => self.destroyer.call_off(peer, addr),
                Effect::Probe {
                    probe,
                    target,
                    give_up_after,
                } => self.prober.send(probe, target, give_up_after),
                Effect::Heard { peer, at } => self.outlets.heard(&peer, at),
                Effect::Publish(state) => {
                    // This comes first: it is what frees programs that do not read verdicts.
                    self.protection.publish(&state);
                    self.check_links(&state);
                    self.correlations.published(clock::now(), &state);
                    self.tell_cascades();
                    self.look_up(&state);
                    self.outlets.publish(state);
                }
                Effect::Retract { peer, revision } => {
                    self.protection.retract(&peer);
                    self.correlations.retracted(&peer);
                    self.outlets.retract(peer, revision);
                }
                Effect::ReportEstablished { peer, addr, on } => {
                    if let Err(error) = self.source.report_established(&peer, addr, on) {
                        warn!(%peer, error = format!("{error:#}"), "a returning peer is noticed later");
                    }
                }
            }
        }
    }
}

async fn sleep_until(at: Option<crate::core::Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => pending().await,
    }
}
