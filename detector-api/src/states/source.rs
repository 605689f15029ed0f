//! The source of states: how long they are valid, and the connection to the daemon.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, time::Instant};
use tonic::transport::Channel;

use crate::v1::detector_client::DetectorClient;

/// A source without a daemon.
static NONE: LazyLock<Arc<Source>> = LazyLock::new(|| Arc::new(Source::new(None, Duration::ZERO)));

/// The one daemon that feeds a set of states.
#[derive(Debug)]
pub(crate) struct Source {
    origin: Instant,
    /// Until when the states are valid, in ns since `origin`.
    until: AtomicU64,
    fresh: watch::Sender<bool>,
    /// Present while the daemon's states are valid.
    client: watch::Sender<Option<DetectorClient<Channel>>>,
    /// Runs calls whose results are not awaited.
    runtime: Option<Handle>,
    acquire_limit: Duration,
}

impl Source {
    pub(crate) fn new(runtime: Option<Handle>, acquire_limit: Duration) -> Self {
        Self {
            origin: Instant::now(),
            until: AtomicU64::new(0),
            fresh: watch::Sender::new(false),
            client: watch::Sender::new(None),
            runtime,
            acquire_limit,
        }
    }

    pub(crate) fn none() -> Arc<Self> {
        Arc::clone(&NONE)
    }

    /// Whether there is a watch that may feed the states.
    pub(crate) fn is_watched(&self) -> bool {
        self.runtime.is_some()
    }

    /// Whether the states are still valid.
    pub(crate) fn holds(&self) -> bool {
        self.until() > Instant::now()
    }

    /// When the states cease to be valid.
    pub(crate) fn until(&self) -> Instant {
        self.origin + Duration::from_nanos(self.until.load(Ordering::Acquire))
    }

    /// Makes the states valid for `ttl` from now.
    pub(crate) fn renew(&self, ttl: Duration) {
        let until = (Instant::now() + ttl).duration_since(self.origin);
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(nanos, Ordering::Release);
    }

    /// Wakes those who wait for valid states.
    pub(crate) fn announce(&self) {
        self.fresh
            .send_if_modified(|fresh| !std::mem::replace(fresh, true));
    }

    /// Makes all states invalid.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.set_client(None);
        self.fresh
            .send_if_modified(|fresh| std::mem::replace(fresh, false));
    }

    /// Whether the states have not been reset, although their time to live may be over.
    pub(crate) fn is_told(&self) -> bool {
        *self.fresh.borrow()
    }

    /// Becomes true when the states come from a live daemon, and false when they no longer do.
    pub(crate) fn fresh(&self) -> watch::Receiver<bool> {
        self.fresh.subscribe()
    }

    /// The connection to the daemon; `None` while it is away.
    pub(crate) fn client(&self) -> Option<DetectorClient<Channel>> {
        self.client.borrow().clone()
    }

    /// Marked as changed when the connection opens or closes.
    pub(crate) fn clients(&self) -> watch::Receiver<Option<DetectorClient<Channel>>> {
        self.client.subscribe()
    }

    /// How long the daemon may take to lease a trial.
    pub(crate) fn acquire_limit(&self) -> Duration {
        self.acquire_limit
    }

    pub(crate) fn set_client(&self, client: Option<DetectorClient<Channel>>) {
        self.client.send_replace(client);
    }

    /// Runs a task whose result is not awaited.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }
}
