//! The source that polls the socket table, for machines without eBPF.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use tracing::warn;

use super::{all_addresses, reader::unreadable, signals};
use crate::{
    core::{PeerName, Signal},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::Namespaces,
    source::{Source, SourceCounters, Watched},
};

/// The most changes of the watched peers that may wait for a dump to end.
const MAX_CHANGES: usize = 64;

/// The source for machines without eBPF: reads all sockets of the watched peers again and again, on
/// a thread of its own, and yields one [`Signal::SocketsRead`] for each peer and poll. The next
/// poll waits until the signals of the last one were taken.
#[derive(Debug)]
pub struct SockDiagSource {
    changes: SyncSender<BTreeMap<PeerName, Vec<IpAddr>>>,
    batches: mpsc::Receiver<Vec<Signal>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    malformed: AtomicU64,
    flows: AtomicU64,
}

impl SockDiagSource {
    /// Starts the thread, which reads the caller's network namespace and the watched ones.
    pub fn spawn(interval: Duration, namespaces: Namespaces) -> Result<Self, SockDiagError> {
        let everywhere = Everywhere::open(namespaces)?;
        let (changes, changed) = sync_channel(MAX_CHANGES);
        let (sender, batches) = mpsc::channel(1);
        let counters = Arc::new(Counters::default());
        let poller = Poller {
            everywhere,
            interval,
            changed,
            batches: sender,
            counters: Arc::clone(&counters),
            failing: false,
        };
        thread::Builder::new()
            .name("sock-diag-poll".into())
            .spawn(move || poller.run())
            .map_err(SockDiagError::Thread)?;
        Ok(Self {
            changes,
            batches,
            counters,
        })
    }
}

impl Source for SockDiagSource {
    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()> {
        let addrs = |endpoints: &Vec<crate::core::Endpoint>| {
            endpoints.iter().map(|endpoint| endpoint.addr).collect()
        };
        let peers = watched
            .iter()
            .map(|(peer, endpoints)| (peer.clone(), addrs(endpoints)))
            .collect();
        self.changes
            .try_send(peers)
            .context("the sock_diag thread does not take the new set of peers")
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
    fn look_at(&mut self, _namespaces: &BTreeSet<u32>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<Vec<Signal>> {
        self.batches
            .recv()
            .await
            .ok_or_else(|| anyhow!("the sock_diag thread has ended"))
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
    changed: Receiver<BTreeMap<PeerName, Vec<IpAddr>>>,
    batches: mpsc::Sender<Vec<Signal>>,
    counters: Arc<Counters>,
    /// Whether the last poll failed, so that a failure is logged once and not at each poll.
    failing: bool,
}

impl Poller {
    fn run(mut self) {
        let mut peers = BTreeMap::new();
        loop {
            match self.changed.recv_timeout(self.interval) {
                Ok(changed) => {
                    peers = changed;
                    peers = self.changed.try_iter().last().unwrap_or(peers);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if peers.is_empty() {
                continue;
            }
            let batch = self.poll(&peers);
            if self.batches.blocking_send(batch).is_err() {
                return;
            }
        }
    }

    fn poll(&mut self, peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> Vec<Signal> {
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
