//! What runs besides the loop: the servers, and what finds the peers.

use std::{thread, time::Duration};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::warn;

use super::outlets::{Outlets, Printer};
use crate::{
    clock,
    config::Config,
    core::{Bounds, Signal},
    effect::protect::{Tuned, TunedSockets},
    object::OBJECT,
    serve::{Metrics, Request, board::Board, grpc, http},
    source::{
        discover::Discoverer,
        network::NetworkSource,
        resolve::{Names, Resolver, SystemLookup},
    },
};

/// How long the servers have to end; each cuts its open calls before that.
const SERVERS_END_WITHIN: Duration = Duration::from_millis(1500);

/// The running servers, on a thread of their own, so that clients cannot delay a verdict.
pub(super) struct Servers {
    ended: oneshot::Receiver<()>,
}

impl Servers {
    /// Waits until they have ended, which they do after they were notified to stop.
    pub(super) async fn finish(self) {
        // An error means that the thread has ended.
        if tokio::time::timeout(SERVERS_END_WITHIN, self.ended)
            .await
            .is_err()
        {
            warn!("open calls were cut");
        }
    }
}

/// Starts gRPC and metrics; both end when `stopped` turns true.
pub(super) fn serve(
    config: &Config,
    printer: Printer,
    requests: mpsc::Sender<Request>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<(Outlets, Servers)> {
    let board = Board::new(instance(), config.core.bounds());
    let metrics = Metrics::new().context("cannot set up the metrics")?;
    metrics.set_build_info(env!("CARGO_PKG_VERSION"), OBJECT.is_some());
    let bound = crate::serve::bind(&config.socket, config.socket_group.as_deref())?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the servers' runtime")?;

    let grpc = grpc::serve(bound, board.clone(), requests, until(stopped.clone()));
    let http = {
        let (metrics, stopped) = (metrics.clone(), until(stopped.clone()));
        let address = config.metrics;
        async move {
            if let Some(address) = address {
                http::serve(address, metrics, stopped).await;
            }
        }
    };
    let both = async {
        let (grpc, ()) = tokio::join!(grpc, http);
        if let Err(error) = grpc {
            warn!(%error, "the gRPC server has ended");
        }
    };
    let (ending, ended) = oneshot::channel();
    thread::Builder::new()
        .name("serve".to_owned())
        .spawn(move || {
            runtime.block_on(both);
            runtime.shutdown_background();
            // The driver may have stopped waiting.
            let _ = ending.send(());
        })
        .context("cannot start the servers' thread")?;
    Ok((Outlets::new(board, metrics, printer), Servers { ended }))
}

/// Answers outside the loop: with thousands of sockets this takes milliseconds.
pub(super) fn list_tuned(sockets: Option<TunedSockets>, reply: oneshot::Sender<Vec<Tuned>>) {
    tokio::task::spawn_blocking(move || {
        let list = sockets.map_or_else(Vec::new, |sockets| sockets.list());
        // A client that no longer waits for its answer is no error.
        let _ = reply.send(list);
    });
}

/// Raises the limit of open files to what probes may need, as far as the hard limit permits.
pub(super) fn allow_open_files(bounds: Bounds) {
    let needed = bounds.open_files() as u64;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = needed.min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map(|()| wanted)
    });
    match raised {
        Ok(allowed) if allowed < needed => warn!(
            allowed,
            needed,
            "with fewer open files (LimitNOFILE in the unit, ulimit -Hn) fewer peers are probed \
             at a time than max_peers may need"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit of open files (RLIMIT_NOFILE)"),
    }
}

/// Starts what finds the peers: the resolver of the configured names, or, with none
/// configured, discovery.
pub(super) fn find_peers(
    config: &Config,
    signals: mpsc::Sender<Signal>,
) -> anyhow::Result<PeerFinder> {
    if config.peers.is_empty() {
        let discoverer = Discoverer::spawn(config.discover_limit, signals)
            .context("cannot read the kernel's sockets to discover peers")?;
        return Ok(PeerFinder::Discoverer(discoverer));
    }
    let mut resolver = Resolver::start(config.peers.clone(), config.resolve_interval, SystemLookup);
    let names = resolver.names();
    let forward = tokio::spawn(async move {
        while let Some(signal) = resolver.next().await {
            if signals.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok(PeerFinder::Resolver(forward, names))
}

/// Starts the source of links, routes and neighbours. Without it the daemon runs with less
/// evidence.
pub(super) fn network(signals: mpsc::Sender<Signal>, bounds: Bounds) -> Option<NetworkSource> {
    NetworkSource::start(signals, bounds)
        .inspect_err(|error| {
            warn!(
                %error,
                "doing without links, routes and neighbours: a cut of this host itself is not \
                 told by its links, and peers are not asked by ARP or neighbour discovery"
            );
        })
        .ok()
}

/// Finds peers until it is dropped.
pub(super) enum PeerFinder {
    Resolver(JoinHandle<()>, Names),
    Discoverer(#[expect(dead_code, reason = "held for its thread")] Discoverer),
}

impl PeerFinder {
    /// The handle for looking up configured names; it does nothing for discovered peers.
    pub(super) fn names(&self) -> Names {
        match self {
            Self::Resolver(_, names) => names.clone(),
            Self::Discoverer(_) => Names::default(),
        }
    }
}

impl Drop for PeerFinder {
    fn drop(&mut self) {
        if let Self::Resolver(task, _) = self {
            task.abort();
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the driver is gone, which is a reason to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// An identifier of this run of the daemon: no two runs on a machine start at the same nanosecond.
fn instance() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{}-{:x}", boot.trim(), clock::now().as_nanos())
}
