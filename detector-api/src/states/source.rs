//! Where states come from: how long they may be believed, and the way to the daemon.

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

/// A source that never tells anything.
static NONE: LazyLock<Arc<Source>> = LazyLock::new(|| Arc::new(Source::new(None, Duration::ZERO)));

/// The one daemon that feeds a set of states.
#[derive(Debug)]
pub(crate) struct Source {
    origin: Instant,
    /// Until when what was told holds, in ns since `origin`.
    until: AtomicU64,
    fresh: watch::Sender<bool>,
    /// Present while the daemon is believed.
    client: watch::Sender<Option<DetectorClient<Channel>>>,
    /// Where calls are made that nobody waits for.
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

    /// Whether what was told still holds.
    pub(crate) fn holds(&self) -> bool {
        self.until() > Instant::now()
    }

    /// When what was told ceases to hold.
    pub(crate) fn until(&self) -> Instant {
        self.origin + Duration::from_nanos(self.until.load(Ordering::Acquire))
    }

    /// Lets what was told hold for `ttl` from now.
    pub(crate) fn renew(&self, ttl: Duration) {
        let until = (Instant::now() + ttl).duration_since(self.origin);
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(nanos, Ordering::Release);
    }

    /// Lets those know who wait for states: they are there now.
    pub(crate) fn announce(&self) {
        self.fresh
            .send_if_modified(|fresh| !std::mem::replace(fresh, true));
    }

    /// Nothing that was told holds any more.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.set_client(None);
        self.fresh
            .send_if_modified(|fresh| std::mem::replace(fresh, false));
    }

    /// Whether what was told has not been given up, though it may be due to be.
    pub(crate) fn is_told(&self) -> bool {
        *self.fresh.borrow()
    }

    /// Turns true when a live daemon tells of the peers, false when it no longer does.
    pub(crate) fn fresh(&self) -> watch::Receiver<bool> {
        self.fresh.subscribe()
    }

    /// The way to the daemon; `None` while none is believed.
    pub(crate) fn client(&self) -> Option<DetectorClient<Channel>> {
        self.client.borrow().clone()
    }

    /// Marked whenever the way opens or closes.
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

    /// Runs what nobody waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }
}
