//! The watch: a task that keeps [`PeerStates`] up to date with the daemon's messages.
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
    sync::{Mutex, PoisonError},
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

/// Keeps the states of this node's peers up to date with the daemon's messages.
///
/// It never fails. If there is no daemon, or if it is stopped, hangs or speaks another version of
/// the protocol, every peer is Unknown and every breaker Closed: the program behaves as it would
/// without a detector. [`status`](Self::status) says why.
///
/// | the daemon | the states |
/// |---|---|
/// | is not there when the watch starts | unknown, until it starts |
/// | dies, is stopped (SIGSTOP) or hangs | the last ones, for their time to live (3 s), then unknown |
/// | ends and is restarted | the last ones until the new daemon's snapshot, if that comes within the time to live |
/// | speaks another version of the protocol | unknown at once |
/// | sends values that this version does not know | these count as unknown |
///
/// The daemon's end says nothing about a peer, so it changes nothing by itself. A daemon that is
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
    pub(crate) states: PeerStates,
    status: watch::Receiver<WatchStatus>,
    reporter: Reporter,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    task: JoinHandle<()>,
}

impl PeerWatch {
    /// Starts a task on the current runtime that watches the daemon at `socket`.
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
    /// Panics outside a tokio runtime with time and I/O enabled.
    pub fn start(socket: impl AsRef<Path>) -> Self {
        Self::start_with(socket.as_ref(), ACQUIRE_LIMIT)
    }

    /// The same with another time limit for leasing a trial.
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
            stop: Mutex::new(Some(stop)),
            task,
        }
    }

    /// The states that this watch maintains.
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

    /// The reporter, which reports the program's own operations to the daemon.
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

    /// The status of the connection to the daemon.
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

    /// Waits until the daemon has sent the states of all peers, but at most for `within`; returns
    /// whether it has. A program need not wait: until then every peer is Unknown.
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

    /// Ends the watch after the queued reports have been sent, which may take at most two seconds,
    /// and waits for the end. From then on every peer is Unknown. Dropping the watch also ends it,
    /// but does not send the reports.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = detector_api::PeerWatch::start("/nowhere");
    /// watch.shutdown().await;
    /// # });
    /// ```
    pub async fn shutdown(&self) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(stop);
        // The task holds the sender until it ends, be it with its runtime.
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }
}

impl Drop for PeerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The data of the task.
struct Watching {
    socket: PathBuf,
    states: Ending,
    status: watch::Sender<WatchStatus>,
}

/// Resets the states when their watch ends, however it ends.
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
    // Nothing is ever sent: dropping the sender is the signal.
    let stopped = async { drop(stopped.await) };
    tokio::select! {
        () = session::run(&watching.socket, states, &watching.status) => {}
        () = expire(states) => {}
        () = reports.run(stopped) => {}
    }
}

/// Resets the states whenever their time to live ends, and wakes those who wait for that.
async fn expire(states: &PeerStates) {
    loop {
        states.until_fresh().await;
        while !states.expire() {
            tokio::time::sleep_until(states.source().until()).await;
        }
    }
}
