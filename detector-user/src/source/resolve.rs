//! Resolves peers' names into endpoints: at the start, and again at an interval.
//!
//! One task for each peer looks up the host and sends `Signal::PeerConfigured` when the set of
//! addresses has changed. A name that no longer resolves keeps its last known addresses: a dead
//! name server must not hide a dead peer.
//!
//! A peer that died may come back under another address: when it becomes Dead its name is looked up
//! at once ([`Names::look_up`]), and again after 1 s, 2 s, 4 s and so on.
//!
//! A name may turn out to be this node itself ([`Lookup::is_this_node`]): then there is no such
//! peer.

mod configured;
mod task;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    task::JoinSet,
};

pub use self::configured::ConfiguredPeers;
use self::task::PeerTask;
use crate::{config::PeerSpec, model::PeerName, signals::SignalSender};

/// The most lookups at the same time: each holds a thread while `getaddrinfo` blocks.
const CONCURRENT_LOOKUPS: usize = 16;

/// Looks up a host's addresses.
pub trait Lookup: Send + Sync + 'static {
    fn lookup(&self, host: &str, port: u16)
    -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;

    /// Whether a host with these addresses is this node; `None` if that cannot be told now.
    fn is_this_node(&self, _: &[IpAddr]) -> impl Future<Output = Option<bool>> + Send {
        async { Some(false) }
    }
}

/// The system's own resolver (`getaddrinfo(3)`: hosts file, DNS, whatever nsswitch says).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        Ok(found.map(|addr: SocketAddr| addr.ip()).collect())
    }
}

/// Keeps peers' names resolved. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Resolver {
    interval: Duration,
    slots: Arc<Semaphore>,
    signals: SignalSender,
    names: Names,
    tasks: JoinSet<()>,
}

/// A handle for looking up names before the interval ends. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<BTreeMap<PeerName, Arc<Notify>>>>);

impl Names {
    /// Requests a lookup of this peer's name now, and then at intervals that begin short and grow.
    /// No name is looked up more than once a second. Never blocks.
    pub fn look_up(&self, peer: &PeerName) {
        if let Some(asked) = self.lock().get(peer) {
            asked.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerName, Arc<Notify>>> {
        // The map is whole after each statement under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer that may be removed again, or looked up in another way.
#[derive(Debug)]
pub struct Resolved<L> {
    peer: PeerName,
    lookup: watch::Sender<Arc<L>>,
    ended: oneshot::Receiver<()>,
}

impl<L> Resolved<L> {
    /// From now on the name is looked up like this, at once for the first time.
    pub fn look_up_by(&self, lookup: Arc<L>) {
        self.lookup.send_replace(lookup);
    }
}

/// A peer that was removed, whose last signal is perhaps still on its way.
#[derive(Debug)]
pub struct Leaving(oneshot::Receiver<()>);

impl Leaving {
    /// Whether its last signal was sent.
    pub fn has_left(&mut self) -> bool {
        !matches!(self.0.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }
}

impl Resolver {
    /// Resolves nothing yet.
    pub fn new(interval: Duration, signals: &SignalSender) -> Self {
        Self {
            interval,
            slots: Arc::new(Semaphore::new(CONCURRENT_LOOKUPS)),
            signals: signals.clone(),
            names: Names::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts resolving; must be called within a tokio runtime.
    ///
    /// The first signal of a peer is sent at once, with no endpoints while its name has not been
    /// resolved, so that every configured peer is known to the core.
    pub fn start(
        peers: Vec<PeerSpec>,
        interval: Duration,
        lookup: impl Lookup,
        signals: &SignalSender,
    ) -> Self {
        let mut resolver = Self::new(interval, signals);
        let (sender, lookup) = watch::channel(Arc::new(lookup));
        for peer in peers {
            let mut task = resolver.task(peer, lookup.clone());
            // It never ends: the sender lives as long as the task.
            task.keeps = Some(sender.clone());
            resolver.tasks.spawn(task.run());
        }
        resolver
    }

    fn task<L: Lookup>(&self, peer: PeerSpec, lookup: watch::Receiver<Arc<L>>) -> PeerTask<L> {
        let mut names = self.names.lock();
        let asked = names.entry(peer.name.clone()).or_default();
        PeerTask {
            asked: Arc::clone(asked),
            peer,
            is_withheld: false,
            interval: self.interval,
            lookup,
            keeps: None,
            slots: Arc::clone(&self.slots),
            signals: self.signals.clone(),
        }
    }

    /// Adds a peer. One that is withheld is not reported before its addresses are known: it is
    /// perhaps this node. If a peer of this name has just been removed, it leaves first.
    pub fn add<L: Lookup>(
        &mut self,
        peer: PeerSpec,
        is_withheld: bool,
        lookup: Arc<L>,
        before: Option<Leaving>,
    ) -> Resolved<L> {
        let name = peer.name.clone();
        let (sender, lookup) = watch::channel(lookup);
        let (ends, ended) = oneshot::channel();
        let mut task = self.task(peer, lookup);
        task.is_withheld = is_withheld;
        self.tasks.spawn(async move {
            if let Some(Leaving(before)) = before {
                // An error means that it has ended in another way.
                let _ = before.await;
            }
            task.run().await;
            // Nobody may wait for it.
            let _ = ends.send(());
        });
        // The tasks that have ended are let go.
        while self.tasks.try_join_next().is_some() {}
        Resolved {
            peer: name,
            lookup: sender,
            ended,
        }
    }

    /// Removes a peer: [`Signal::PeerRemoved`](crate::model::Signal::PeerRemoved) follows.
    pub fn remove<L>(&mut self, resolved: Resolved<L>) -> Leaving {
        self.names.lock().remove(&resolved.peer);
        Leaving(resolved.ended)
    }

    /// The handle for looking up these names before the interval ends.
    pub fn names(&self) -> Names {
        self.names.clone()
    }
}

#[cfg(test)]
mod tests;
