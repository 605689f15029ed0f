//! A fake daemon for tests. It runs in the test's process behind a real Unix socket, and publishes
//! what the test wants.

mod log;
mod service;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UnixListener,
    runtime::{self, Runtime},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tonic::{Code, Status, transport::Server};

use self::{log::Log, service::Service};
use crate::{
    PROTOCOL, PeerWatch,
    v1::{self, Breaker, PeerState, Reason, Verdict, detector_server::DetectorServer},
};

/// Distinguishes the runs of fakes.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// The name of the socket in its directory.
const SOCKET: &str = "detector.sock";

/// How long leasing a trial may take: tests share their machine with others.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// A daemon that publishes what a test wants, over a socket in its own directory. It ends when it
/// is dropped.
#[derive(Debug)]
pub struct FakeDaemon {
    socket: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
    /// It has its own runtime, so that its end closes every connection.
    runtime: Option<Runtime>,
    /// Of the socket, where it is the fake's own.
    directory: Option<Arc<tempfile::TempDir>>,
}

/// What the fake answers to questions that are no part of a watch; it does not know the
/// calls for which there is nothing here.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// About any peer that is published.
    pub explain: Option<v1::ExplainPeerResponse>,
    /// About every peer.
    pub history: Option<v1::GetHistoryResponse>,
    /// About every socket.
    pub tuned_sockets: Option<v1::ListTunedSocketsResponse>,
    /// About every lock.
    pub locks: Option<v1::ListLocksResponse>,
    /// About every chain of failures.
    pub cascades: Option<v1::ListCascadesResponse>,
    /// The daemon refuses it where no layout is configured.
    pub quorum: Option<Result<v1::GetQuorumOutlookResponse, Status>>,
    /// Where all peers come from, part of the list of peers.
    pub sources: Vec<v1::PeerSource>,
}

/// What the fake says about itself.
#[derive(Clone, Debug)]
struct Words {
    protocol: u32,
    ttl: Option<Duration>,
    heartbeat: Duration,
    /// The answer to `Report`.
    report: Code,
    /// The answer to `AcquireTrial`; `None` means that it depends on the number of trials.
    acquire: Option<Code>,
}

#[derive(Debug, Default)]
struct Trials {
    free: usize,
    next: u64,
    finished: Vec<v1::FinishTrialRequest>,
    asked: usize,
}

#[derive(Debug)]
struct Shared {
    words: Mutex<Words>,
    answers: Mutex<Answers>,
    log: Log,
    trials: Mutex<Trials>,
    /// Rises with each outcome of a trial.
    finished: watch::Sender<usize>,
    reports: watch::Sender<Vec<v1::ReportRequest>>,
    watches: watch::Sender<Vec<v1::WatchPeersRequest>>,
    /// Whether the fake acts as if stopped.
    paused: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    /// Counts how often all streams were ended.
    streams: watch::Sender<u64>,
}

impl FakeDaemon {
    /// Starts a daemon that watches no peers yet, speaks this crate's protocol, and announces a
    /// time to live of 3 s.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let socket = directory.path().join(SOCKET);
        Self::listen(socket, Some(Arc::new(directory)))
    }

    /// The same on a socket of the caller's, whose file it replaces: for programs that are
    /// tests' own processes.
    pub fn start_at(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        Self::listen(socket.to_owned(), None)
    }

    fn listen(socket: PathBuf, directory: Option<Arc<tempfile::TempDir>>) -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the daemon");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).expect("a socket to listen on")
        };
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            words: Mutex::new(Words {
                protocol: PROTOCOL,
                ttl: Some(Duration::from_secs(3)),
                heartbeat: Duration::from_secs(1),
                report: Code::Ok,
                acquire: None,
            }),
            answers: Mutex::default(),
            log: Log::new(format!("fake-{run}")),
            trials: Mutex::default(),
            finished: watch::Sender::new(0),
            reports: watch::Sender::default(),
            watches: watch::Sender::default(),
            paused: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            streams: watch::Sender::new(0),
        });
        let server = runtime.spawn(serve(listener, Arc::clone(&shared)));
        Self {
            socket,
            shared,
            server: Some(server),
            runtime: Some(runtime),
            directory,
        }
    }

    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A watch of this daemon, like that of [`PeerWatch::start`], but with a longer time limit for
    /// leases.
    pub fn watch(&self) -> PeerWatch {
        PeerWatch::start_with(&self.socket, ACQUIRE_LIMIT)
    }

    /// Identifies this run of the daemon.
    pub fn instance(&self) -> &str {
        self.shared.log.instance()
    }

    /// A state to publish.
    pub fn state(peer: &str, verdict: Verdict, breaker: Breaker) -> PeerState {
        PeerState {
            peer: peer.to_owned(),
            verdict: verdict.into(),
            breaker: breaker.into(),
            would_be_breaker: breaker.into(),
            reason: Reason::RtoUnanswered.into(),
            mode: v1::Mode::Enforce.into(),
            ..PeerState::default()
        }
    }

    /// Publishes a peer's new state; this sets its revision.
    pub fn publish(&self, state: PeerState) {
        self.shared.log.publish(state);
    }

    /// Publishes the peer as Dead, with its breaker Open.
    pub fn open(&self, peer: &str) {
        self.publish(Self::state(peer, Verdict::Dead, Breaker::Open));
    }

    /// Publishes that the peer may be back: its breaker is HalfOpen.
    pub fn half_open(&self, peer: &str) {
        self.publish(Self::state(peer, Verdict::Unknown, Breaker::HalfOpen));
    }

    /// Publishes the peer as Alive, with its breaker Closed.
    pub fn close(&self, peer: &str) {
        self.publish(Self::state(peer, Verdict::Alive, Breaker::Closed));
    }

    /// Publishes that the peer is no longer watched.
    pub fn remove(&self, peer: &str) {
        self.shared.log.remove(peer);
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.shared.log.revision()
    }

    /// Sets the protocol version that it claims to speak.
    pub fn set_protocol(&self, protocol: u32) {
        self.words().protocol = protocol;
    }

    /// Sets the time to live of its states; `None` sends none.
    pub fn set_ttl(&self, ttl: Option<Duration>) {
        self.words().ttl = ttl;
    }

    /// Sets the interval of heartbeats.
    pub fn set_heartbeat(&self, heartbeat: Duration) {
        self.words().heartbeat = heartbeat;
    }

    /// What it answers to other questions.
    pub fn set_answers(&self, answers: Answers) {
        *lock(&self.shared.answers) = answers;
    }

    /// How it answers reports; they are kept in any case.
    pub fn answer_reports_with(&self, code: Code) {
        self.words().report = code;
    }

    /// Sets the answer to requests for a trial; `None` leases free trials.
    pub fn answer_trials_with(&self, code: Option<Code>) {
        self.words().acquire = code;
    }

    /// Sets the number of free trials.
    pub fn allow_trials(&self, free: usize) {
        self.trials().free = free;
    }

    /// How often a trial was requested.
    pub fn trials_asked(&self) -> usize {
        self.trials().asked
    }

    /// The outcomes of trials, when there are at least this many.
    pub async fn finished_trials(&self, at_least: usize) -> Vec<v1::FinishTrialRequest> {
        let mut finished = self.shared.finished.subscribe();
        // The sender lives in this fake.
        let _ = finished.wait_for(|&count| count >= at_least).await;
        self.trials().finished.clone()
    }

    /// The batches of reports that arrived, to be awaited.
    pub fn reports(&self) -> watch::Receiver<Vec<v1::ReportRequest>> {
        self.shared.reports.subscribe()
    }

    /// The watch requests that arrived, to be awaited.
    pub fn watches(&self) -> watch::Receiver<Vec<v1::WatchPeersRequest>> {
        self.shared.watches.subscribe()
    }

    /// Ends all streams; the daemon continues.
    pub fn end_streams(&self) {
        self.shared.streams.send_modify(|ended| *ended += 1);
    }

    /// Acts as after SIGSTOP: it neither accepts, answers nor sends, and its connections stay open.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Acts as after SIGCONT.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Ends as the daemon does on SIGTERM: it removes the socket first, then ends every stream with
    /// an error.
    pub async fn stop(mut self) -> Stopped {
        let _ = std::fs::remove_file(&self.socket);
        self.shared.stopping.send_replace(true);
        if let Some(server) = self.server.take() {
            // Clients that keep their connection are cut off.
            let _ = timeout(Duration::from_secs(1), server).await;
        }
        self.end()
    }

    /// Ends as after SIGKILL: every connection closes, and the socket's file remains.
    pub async fn kill(mut self) -> Stopped {
        self.end()
    }

    fn end(&mut self) -> Stopped {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        Stopped {
            socket: self.socket.clone(),
            directory: self.directory.clone(),
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.shared.words()
    }

    fn trials(&self) -> MutexGuard<'_, Trials> {
        lock(&self.shared.trials)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// A daemon that has ended and can be restarted on the same socket.
#[derive(Debug)]
pub struct Stopped {
    socket: PathBuf,
    directory: Option<Arc<tempfile::TempDir>>,
}

impl Stopped {
    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Starts another run, which watches no peers yet.
    pub async fn restart(self) -> FakeDaemon {
        let _ = std::fs::remove_file(&self.socket);
        FakeDaemon::listen(self.socket, self.directory)
    }
}

impl Shared {
    fn words(&self) -> MutexGuard<'_, Words> {
        lock(&self.words)
    }

    /// Waits while the fake acts as if stopped.
    async fn running(&self) {
        let mut paused = self.paused.subscribe();
        // The sender belongs to `self`.
        let _ = paused.wait_for(|&paused| !paused).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let gate = Arc::clone(&shared);
    let incoming = UnixListenerStream::new(listener).then(move |connection| {
        let gate = Arc::clone(&gate);
        async move {
            gate.running().await;
            connection
        }
    });
    let mut stopping = shared.stopping.subscribe();
    let graceful = async move {
        let _ = stopping.wait_for(|&stopping| stopping).await;
    };
    // Tests see the effects of an error.
    let _ = Server::builder()
        .add_service(DetectorServer::new(Service { shared }))
        .serve_with_incoming_shutdown(incoming, graceful)
        .await;
}
