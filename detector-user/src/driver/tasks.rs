//! What runs besides the loop: the servers, and what finds the peers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
};
use tracing::{info, warn};

use super::outlets::{Outlets, Printer};
use crate::{
    clock,
    config::Config,
    effect::protect::{Tuned, TunedSockets},
    files,
    model::Bounds,
    object::OBJECT,
    overrides::Administrators,
    serve::{self, BoundSocket, Metrics, Request, board::Board, grpc, http},
    signals::SignalSender,
    source::{
        discover::Discoverer,
        resolve::{ConfiguredPeers, Names, Resolver},
    },
    worker::{Inbox, Worker},
};

/// How long the servers have to end; each cuts its open calls before that.
const SERVERS_END_WITHIN: Duration = Duration::from_millis(1500);

/// The running servers, on a thread of their own, so that clients cannot delay a verdict.
pub(super) struct Servers {
    /// Dropped before the worker, which it ends as well.
    stopping: watch::Sender<bool>,
    worker: Worker<()>,
}

impl Servers {
    /// Stops them, and waits until they have ended.
    pub(super) fn finish(self) {
        self.stopping.send_replace(true);
        if !self.worker.finish(SERVERS_END_WITHIN) {
            warn!("open calls were cut");
        }
    }
}

/// Starts gRPC, metrics and the status page.
pub(super) fn serve(
    config: &Config,
    printer: Printer,
    requests: mpsc::Sender<Request>,
) -> anyhow::Result<(Outlets, Servers)> {
    let board = Board::new(instance(), config.core.bounds());
    let metrics = Metrics::new().context("cannot set up the metrics")?;
    metrics.set_build_info(env!("CARGO_PKG_VERSION"), OBJECT.is_some());
    let administrators = Administrators::look_up(&config.admin_users, &config.admin_groups)?;
    let (stopping, stopped) = watch::channel(false);
    let mut serving = Serving {
        socket: config.socket.clone(),
        group: config.socket_group.clone(),
        bound: Some(serve::bind(&config.socket, config.socket_group.as_deref())?),
        address: config.metrics,
        bounds: config.core.bounds(),
        board: board.clone(),
        metrics: metrics.clone(),
        administrators,
        requests,
        stopped,
    };
    let worker = Worker::optional("serve", Inbox::new(()), move |_| serving.serve())?;
    let servers = Servers { stopping, worker };
    Ok((Outlets::new(board, metrics, printer), servers))
}

/// What the servers need, each time that they start.
struct Serving {
    socket: PathBuf,
    group: Option<String>,
    /// The socket, bound at the start so that another daemon's is an error.
    bound: Option<BoundSocket>,
    address: Option<SocketAddr>,
    bounds: Bounds,
    board: Board,
    metrics: Metrics,
    administrators: Administrators,
    requests: mpsc::Sender<Request>,
    stopped: watch::Receiver<bool>,
}

impl Serving {
    /// Serves until it is time to stop.
    fn serve(&mut self) -> anyhow::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let bound = match self.bound.take() {
            Some(bound) => bound,
            None => serve::bind(&self.socket, self.group.as_deref())?,
        };
        let (board, requests) = (self.board.clone(), self.requests.clone());
        let stopped = || until(self.stopped.clone());
        let pages = http::Pages {
            metrics: self.metrics.clone(),
            board: board.clone(),
            requests: requests.clone(),
        };
        let administrators = self.administrators.clone();
        let grpc = grpc::serve(
            bound,
            self.bounds,
            board,
            requests,
            administrators,
            stopped(),
        );
        let http = async {
            if let Some(address) = self.address {
                http::serve(address, pages, stopped()).await;
            }
            Ok(())
        };
        let served = runtime.block_on(async { tokio::try_join!(grpc, http) });
        runtime.shutdown_background();
        served.map(|_| ()).context("nobody is served")
    }
}

/// Answers outside the loop: with thousands of sockets this takes milliseconds.
pub(super) fn list_tuned(sockets: Option<TunedSockets>, reply: oneshot::Sender<Vec<Tuned>>) {
    tokio::task::spawn_blocking(move || {
        let list = sockets.map_or_else(Vec::new, |sockets| sockets.list());
        // A client that no longer waits for its answer is no error.
        let _ = reply.send(list);
    });
}

/// Raises the limit of open files to what probes may need, as far as the hard limit permits. What
/// opens files is started afterwards: its share follows from the limit.
pub(super) fn allow_open_files(bounds: Bounds) {
    let needed = bounds.open_files() as u64 + files::OURS;
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

/// Starts what finds the peers: the resolver of the names that are configured or found, or, with
/// neither, discovery.
pub(super) fn find_peers(config: &Config, signals: &SignalSender) -> anyhow::Result<PeerFinder> {
    if config.peers.is_empty() && config.stores.is_empty() {
        let discoverer = Discoverer::spawn(config.discover_limit, signals.clone())
            .context("cannot read the kernel's sockets to discover peers")?;
        return Ok(PeerFinder::Discoverer(discoverer));
    }
    let mut resolver = Resolver::new(config.resolve_interval, signals);
    let mut configured = ConfiguredPeers::default();
    configured.follow(&config.peers, &mut resolver);
    Ok(PeerFinder::Resolver(resolver, configured))
}

/// Finds peers until it is dropped.
pub(super) enum PeerFinder {
    Resolver(Resolver, ConfiguredPeers),
    Discoverer(#[expect(dead_code, reason = "held for its thread")] Discoverer),
}

impl PeerFinder {
    /// The handle for looking up configured names; it does nothing for discovered peers.
    pub(super) fn names(&self) -> Names {
        match self {
            Self::Resolver(resolver, _) => resolver.names(),
            Self::Discoverer(_) => Names::default(),
        }
    }
}

pub(super) fn announce(config: &Config) {
    info!(
        socket = %config.socket.display(),
        peers = config.peers.len(),
        mode = config.core.mode.as_str(),
        "detector is running"
    );
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the driver is gone, which is a reason to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// An identifier of this run of the daemon: no two runs on a machine start at the same nanosecond.
fn instance() -> String {
    format!("{}-{:x}", clock::boot(), clock::now().as_nanos())
}
