//! Keeps one peer's name resolved.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::Lookup;
use crate::{
    config::PeerSpec,
    model::{Endpoint, MAX_ADDRESSES, Signal},
    signals::SignalSender,
};

/// How long one lookup may take. glibc gives each name server 5 s (resolv.conf(5)).
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// The first wait between lookups of a peer that has no address yet, or whose lookup was requested:
/// the wait doubles up to the interval. No name is looked up more often.
const FIRST_RETRY: Duration = Duration::from_secs(1);

pub(super) struct PeerTask<L> {
    pub peer: PeerSpec,
    /// Whether nothing is reported before its addresses are known.
    pub is_withheld: bool,
    /// Notified when a lookup is requested.
    pub asked: Arc<Notify>,
    pub interval: Duration,
    /// Closed when the peer is removed.
    pub lookup: watch::Receiver<Arc<L>>,
    /// The other end of it, for a peer that is never removed.
    pub keeps: Option<watch::Sender<Arc<L>>>,
    pub slots: Arc<Semaphore>,
    pub signals: SignalSender,
}

/// What is known of the peer, and was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Addresses(Vec<IpAddr>),
    /// It is no peer.
    ThisNode,
}

/// Why a wait has ended.
enum Woken {
    InTime,
    Asked,
    Changed,
    Removed,
}

impl<L: Lookup> PeerTask<L> {
    pub(super) async fn run(mut self) {
        if !self.peer.addresses.is_empty() {
            return self.run_fixed().await;
        }
        // The peer is reported before the lookup, which may take long.
        let mut known = match self.is_withheld {
            true => Known::Nothing,
            false => Known::Addresses(Vec::new()),
        };
        let mut open = self.report(&known, &Known::Nothing).await;
        let mut failing = false;
        let mut wait = self.first_retry();
        while open {
            match self.resolve().await {
                Ok(now) => {
                    if std::mem::take(&mut failing) {
                        info!(peer = %self.peer.name, "the name resolves again");
                    }
                    if known != now {
                        open = self.report(&now, &known).await;
                        known = now;
                        wait = self.interval;
                    }
                }
                // Logged once for each outage: further failures show nothing new.
                Err(error) if !std::mem::replace(&mut failing, true) => self.warn(&error, &known),
                Err(_) => {}
            }
            wait = match self.wait(wait).await {
                Woken::Asked | Woken::Changed => self.first_retry(),
                Woken::InTime => (wait * 2).min(self.interval),
                Woken::Removed => {
                    self.report(&Known::ThisNode, &known).await;
                    return;
                }
            };
        }
    }

    /// Fixed addresses are reported once, until the peer is removed.
    async fn run_fixed(mut self) {
        let fixed = canonical(self.peer.addresses.iter().copied());
        let fixed = Known::Addresses(fixed);
        if self.report(&fixed, &Known::Nothing).await {
            while self.lookup.changed().await.is_ok() {}
            self.report(&Known::ThisNode, &fixed).await;
        }
    }

    fn first_retry(&self) -> Duration {
        FIRST_RETRY.min(self.interval)
    }

    /// Waits for this time, or until a lookup is requested, or the peer changes.
    async fn wait(&mut self, wait: Duration) -> Woken {
        let first = self.first_retry();
        let asked = async {
            sleep(first).await;
            self.asked.notified().await;
        };
        tokio::select! {
            changed = self.lookup.changed() => match changed {
                Ok(()) => Woken::Changed,
                Err(_) => Woken::Removed,
            },
            asked = timeout(wait, asked) => match asked {
                Ok(()) => Woken::Asked,
                Err(_) => Woken::InTime,
            },
        }
    }

    async fn resolve(&mut self) -> io::Result<Known> {
        let PeerSpec { host, port, .. } = &self.peer;
        let lookup = Arc::clone(&self.lookup.borrow_and_update());
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        let found = timeout(LOOKUP_LIMIT, lookup.lookup(host, *port)).await??;
        let addresses = canonical(found);
        if addresses.is_empty() {
            let message = "the name has no usable address";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        match lookup.is_this_node(&addresses).await {
            Some(true) => Ok(Known::ThisNode),
            Some(false) => Ok(Known::Addresses(addresses)),
            None => {
                let message = "it cannot be told whether it is this node itself";
                Err(io::Error::other(message))
            }
        }
    }

    /// Reports what has changed; returns whether the signal was taken. It is not when the resolver
    /// has been dropped.
    async fn report(&self, now: &Known, before: &Known) -> bool {
        match (now, before) {
            (Known::Addresses(addresses), _) => self.send(addresses).await,
            (Known::ThisNode, Known::Addresses(_)) => {
                let peer = self.peer.name.clone();
                self.signals
                    .send(Signal::PeerRemoved { peer })
                    .await
                    .is_ok()
            }
            (Known::ThisNode | Known::Nothing, _) => true,
        }
    }

    async fn send(&self, addresses: &[IpAddr]) -> bool {
        let endpoint = |&addr| Endpoint {
            addr,
            port: self.peer.port,
        };
        let signal = Signal::PeerConfigured {
            peer: self.peer.name.clone(),
            endpoints: addresses.iter().map(endpoint).collect(),
            discovered: false,
        };
        self.signals.send(signal).await.is_ok()
    }

    fn warn(&self, error: &io::Error, known: &Known) {
        let PeerSpec { name, host, .. } = &self.peer;
        match known {
            Known::Addresses(addresses) if !addresses.is_empty() => {
                warn!(peer = %name, host, %error, "the name no longer resolves; its last addresses are kept");
            }
            Known::ThisNode => {
                warn!(peer = %name, host, %error, "the name of this node no longer resolves");
            }
            _ => {
                warn!(peer = %name, host, %error, "the name does not resolve; the peer is unknown until it does");
            }
        }
    }
}

/// Addresses without v4-mapped forms, sorted, each once, bounded; addresses that cannot be a host's
/// are left out.
pub(super) fn canonical(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let canonical: BTreeSet<IpAddr> = addresses
        .into_iter()
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .collect();
    canonical.into_iter().take(MAX_ADDRESSES).collect()
}
