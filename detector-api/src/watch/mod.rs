//! The watch: one task that keeps [`PeerStates`] as the daemon tells them.
//!
//! ```text
//!            connect, WatchPeers(instance, last revision)
//! session ────────────────────────────────────────────────▶ daemon
//!    │   ◀─── Snapshot │ Changed │ Removed │ Current (at least every second) ───
//!    ├─ feed: checks the protocol, writes states, renews their time to live
//!    └─ over? wait 100 ms … 5 s, again
//! expiry: forgets every state when the time to live ends, whatever the session does
//! reports: sends what the reporters queued
//! ```

mod backoff;
mod feed;
mod session;
mod status;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

pub use self::status::WatchStatus;
use crate::{
    PeerStates,
    admission::ACQUIRE_LIMIT,
    report::{self, Reporter},
};

/// Keeps the states of this node's peers as the daemon tells them, for as long as it lives.
///
/// It never fails. While there is no daemon, or one that is stopped, hangs or speaks another
/// version of the protocol, every peer is unknown and every breaker Closed: the program does
/// what it did without a detector. [`status`](Self::status) says why.
///
/// | the daemon | the states |
/// |---|---|
/// | is not there when the watch starts | unknown, until it is |
/// | dies, is stopped (SIGSTOP) or hangs | as last told for their time to live (3 s), then unknown |
/// | ends and is started anew | as last told until the new one's snapshot, if that comes within the time to live |
/// | speaks another protocol | unknown at once |
/// | says what this version does not know | that part counts as unknown |
///
/// A daemon's end says nothing about a peer, so it changes nothing by itself: one that is
/// restarted for an upgrade is back within the time to live, and breakers stay as they were.
///
/// ```
/// use std::time::Duration;
///
/// use detector_api::{PeerWatch, v1::Breaker};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # use detector_api::{testing::FakeDaemon, v1::Verdict};
/// # let daemon = FakeDaemon::start().await;
/// # daemon.publish(FakeDaemon::state("http://node4:9000", Verdict::Dead, Breaker::Open));
/// # let socket = daemon.socket();
/// // As a rule `DEFAULT_SOCKET`.
/// let watch = PeerWatch::start(socket);
/// if !watch.ready(Duration::from_secs(1)).await {
///     println!("no detector yet: {}", watch.status());
/// }
/// let states = watch.states();
/// assert_eq!(states.get("http://node4:9000/data/rustfs1").breaker, Breaker::Open);
/// assert_eq!(states.get("http://node3:9000/data/rustfs1").breaker, Breaker::Closed);
/// watch.shutdown().await;
/// # });
/// ```
#[derive(Debug)]
pub struct PeerWatch {
    states: PeerStates,
    status: watch::Receiver<WatchStatus>,
    reporter: Reporter,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl PeerWatch {
    /// Starts to watch, in a task of the current runtime, the daemon that listens at `socket`.
    ///
    /// ```no_run
    /// # async fn example() {
    /// use detector_api::{DEFAULT_SOCKET, PeerWatch};
    ///
    /// let watch = PeerWatch::start(DEFAULT_SOCKET);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O enabled.
    pub fn start(socket: impl AsRef<Path>) -> Self {
        Self::start_with(socket.as_ref(), ACQUIRE_LIMIT)
    }

    /// The same with another limit to how long the daemon may take to lease a trial.
    pub(crate) fn start_with(socket: &Path, acquire_limit: Duration) -> Self {
        let runtime = Handle::current();
        let states = PeerStates::watched_on(runtime.clone(), acquire_limit);
        let (show, status) = watch::channel(WatchStatus::Connecting);
        let (reporter, reports) = report::queue(states.source().clone());
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(watch_until(
            stopped,
            Watching {
                socket: socket.to_owned(),
                states: Ending(states.clone()),
                status: show,
            },
            reports,
        ));
        Self {
            states,
            status,
            reporter,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// The states that this watch keeps.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let watch = detector_api::PeerWatch::start("/nowhere");
    /// let states = watch.states();
    /// assert!(!states.is_fresh());
    /// # });
    /// ```
    pub fn states(&self) -> PeerStates {
        self.states.clone()
    }

    /// Tells this watch's daemon how the program's own operations went.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use detector_api::{Report, v1::{Operation, Outcome}};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let watch = detector_api::PeerWatch::start("/nowhere");
    /// let reporter = watch.reporter();
    /// let took = Duration::from_secs(10);
    /// reporter.report(Report::new(Operation::IamRead, Outcome::TimedOut, took));
    /// # });
    /// ```
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// How it goes with the daemon.
    ///
    /// ```
    /// use detector_api::{PeerWatch, WatchStatus};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = PeerWatch::start("/nowhere");
    /// assert!(!matches!(watch.status(), WatchStatus::Live { .. }));
    /// # });
    /// ```
    pub fn status(&self) -> WatchStatus {
        self.status.borrow().clone()
    }

    /// The status, to be awaited.
    ///
    /// ```
    /// use detector_api::{PeerWatch, WatchStatus};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = PeerWatch::start("/nowhere");
    /// let mut changes = watch.status_changes();
    /// let away = changes.wait_for(|s| matches!(s, WatchStatus::Away { .. })).await.unwrap();
    /// assert!(away.to_string().contains("no detector daemon answers at /nowhere"));
    /// # });
    /// ```
    pub fn status_changes(&self) -> watch::Receiver<WatchStatus> {
        self.status.clone()
    }

    /// Waits until the daemon has told of every peer, for `within` at most; whether it has.
    /// A program need not wait: until then every peer is unknown.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = detector_api::PeerWatch::start("/nowhere");
    /// assert!(!watch.ready(Duration::from_millis(10)).await);
    /// # });
    /// ```
    pub async fn ready(&self, within: Duration) -> bool {
        let mut status = self.status.clone();
        let live = status.wait_for(|status| matches!(status, WatchStatus::Live { .. }));
        timeout(within, live).await.is_ok_and(|live| live.is_ok())
    }

    /// Ends the watch, once the reports that lie ready have been sent, for which the daemon has
    /// two seconds at most. Every peer is unknown from then on. Dropping the watch ends it as
    /// well, without the reports.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = detector_api::PeerWatch::start("/nowhere");
    /// watch.shutdown().await;
    /// # });
    /// ```
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            // An error is the runtime's own end.
            let _ = task.await;
        }
    }
}

impl Drop for PeerWatch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What the task works on.
struct Watching {
    socket: PathBuf,
    states: Ending,
    status: watch::Sender<WatchStatus>,
}

/// States that are unknown once their watch is over, however it ends.
struct Ending(PeerStates);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn watch_until(
    stopped: oneshot::Receiver<()>,
    watching: Watching,
    mut reports: report::Queue,
) {
    let states = &watching.states.0;
    // Nothing is ever sent: the sender's end is the signal.
    let stopped = async { drop(stopped.await) };
    tokio::select! {
        () = session::run(&watching.socket, states, &watching.status) => {}
        () = expire(states) => {}
        () = reports.run(stopped) => {}
    }
}

/// Forgets the states whenever their time to live ends, and wakes who waits for them.
async fn expire(states: &PeerStates) {
    loop {
        states.until_fresh().await;
        while !states.expire() {
            tokio::time::sleep_until(states.source().until()).await;
        }
    }
}
