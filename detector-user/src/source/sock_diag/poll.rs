//! The source that polls the socket table, for machines without eBPF.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::warn;

use super::{all_addresses, reader::unreadable, signals};
use crate::{
    model::{PeerName, Signal, SourceKind},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::{Namespaces, Set},
    signals::SignalSender,
    source::{Source, SourceCounters, Watched},
    worker::{Inbox, Worker},
};

/// The peers that are read, with their addresses.
type Peers = BTreeMap<PeerName, Vec<IpAddr>>;

/// The source for machines without eBPF: reads all sockets of the watched peers again and again, on
/// a thread of its own, and sends one [`Signal::SocketsRead`] for each peer and poll.
#[derive(Debug)]
pub struct SockDiagSource {
    /// Its inbox has the newest set of peers until the thread takes it.
    worker: Worker<Option<Peers>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    malformed: AtomicU64,
    flows: AtomicU64,
}

impl SockDiagSource {
    /// Starts the thread, which reads the caller's network namespace and the watched ones.
    pub fn spawn(
        interval: Duration,
        namespaces: Namespaces,
        signals: SignalSender,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::default());
        let poller = Poller {
            everywhere: Everywhere::open(namespaces)?,
            interval,
            signals: signals.clone(),
            counters: Arc::clone(&counters),
            failing: false,
        };
        let worker = Worker::essential("sock-diag-poll", &signals, Inbox::new(None), |peers| {
            poller.run(peers);
            Ok::<_, Infallible>(())
        });
        Ok(Self {
            worker: worker?,
            counters,
        })
    }
}

impl Source for SockDiagSource {
    fn kind(&self) -> SourceKind {
        SourceKind::SockDiag
    }

    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()> {
        let addrs = |endpoints: &Vec<crate::model::Endpoint>| {
            endpoints.iter().map(|endpoint| endpoint.addr).collect()
        };
        let peers = watched
            .iter()
            .map(|(peer, endpoints)| (peer.clone(), addrs(endpoints)))
            .collect();
        self.worker.inbox().put(|newest| *newest = Some(peers));
        Ok(())
    }

    /// Nothing to do: each poll shows which flows are established.
    fn report_established(
        &mut self,
        _peer: &PeerName,
        _addr: IpAddr,
        _on: bool,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Nothing to do: each poll reads the namespaces that are watched at that time.
    fn look_at(&mut self, _namespaces: &Arc<Set>) -> anyhow::Result<()> {
        Ok(())
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters {
            malformed_records: self.counters.malformed.load(Ordering::Relaxed),
            flows_tracked: self.counters.flows.load(Ordering::Relaxed),
            ..SourceCounters::default()
        }
    }
}

struct Poller {
    everywhere: Everywhere,
    interval: Duration,
    signals: SignalSender,
    counters: Arc<Counters>,
    /// Whether the last poll failed, so that a failure is logged once and not at each poll.
    failing: bool,
}

impl Poller {
    fn run(mut self, newest: &Inbox<Option<Peers>>) {
        let mut peers = Peers::new();
        while !newest.is_stopped() {
            peers = newest
                .wait_for(self.interval, Option::take)
                .unwrap_or(peers);
            if peers.is_empty() {
                continue;
            }
            for signal in self.poll(&peers) {
                if self.signals.blocking_send(signal).is_err() {
                    return;
                }
            }
        }
    }

    fn poll(&mut self, peers: &Peers) -> Vec<Signal> {
        match self.everywhere.read_peers(&all_addresses(peers)) {
            Ok((reading, unread)) => {
                self.failing = false;
                let flows = reading.flows.len() as u64;
                self.counters.flows.store(flows, Ordering::Relaxed);
                signals(reading, &unread, peers)
            }
            Err(error) => {
                if matches!(error, SockDiagError::Malformed(_)) {
                    self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                }
                if !self.failing {
                    warn!(%error, "polling the sockets failed; trying again at each poll");
                }
                self.failing = true;
                unreadable(peers)
            }
        }
    }
}
