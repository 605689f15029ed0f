use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::{all_addresses, signals};
use crate::{
    core::{PeerName, Signal},
    netlink::sock_diag::{SockDiag, SockDiagError},
};

/// The most peers that can wait for an answer: as many as there can be peers, and some.
const MAX_PENDING: usize = 4096;

/// A thread that reads the sockets of the peers it is asked for.
///
/// All peers that wait when a dump begins are answered from that one dump, so a thousand
/// peers that stall together cost no more than one. Stops when dropped.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    signals: Sender<Signal>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    pending: BTreeMap<PeerName, Vec<IpAddr>>,
    stopped: bool,
}

impl Reader {
    /// Starts the thread, in the caller's network namespace. Each request is answered on
    /// `signals` with [`Signal::SocketsRead`] or [`Signal::SocketsUnreadable`].
    pub fn spawn(signals: Sender<Signal>) -> Result<Self, SockDiagError> {
        let sock_diag = SockDiag::open()?;
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            sock_diag,
            shared: Arc::clone(&shared),
            signals: signals.clone(),
            failure: None,
        };
        thread::Builder::new()
            .name("sock-diag-read".into())
            .spawn(move || worker.run())
            .map_err(SockDiagError::Thread)?;
        Ok(Self { shared, signals })
    }

    /// Asks for the sockets with this peer's addresses. Never blocks. A request for a peer
    /// that still waits replaces it; one too many is answered as unreadable at once.
    pub fn request(&self, peer: PeerName, addrs: Vec<IpAddr>) {
        let mut queue = self.shared.lock();
        if queue.pending.len() < MAX_PENDING || queue.pending.contains_key(&peer) {
            queue.pending.insert(peer, addrs);
            drop(queue);
            self.shared.changed.notify_one();
            return;
        }
        drop(queue);
        warn!(%peer, "{MAX_PENDING} peers wait for their sockets to be read; this one is not");
        if let Err(error) = self.signals.try_send(Signal::SocketsUnreadable { peer }) {
            warn!(%error, "an answer of the socket reader was lost");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole after each statement under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is asked for, as soon as there is any; `None` when it is time to stop.
    fn take(&self) -> Option<BTreeMap<PeerName, Vec<IpAddr>>> {
        let queue = self.lock();
        let mut queue = self
            .changed
            .wait_while(queue, |queue| queue.pending.is_empty() && !queue.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        (!queue.stopped).then(|| std::mem::take(&mut queue.pending))
    }
}

struct Worker {
    sock_diag: SockDiag,
    shared: Arc<Shared>,
    signals: Sender<Signal>,
    /// Why the last dump failed.
    failure: Option<String>,
}

impl Worker {
    fn run(mut self) {
        while let Some(peers) = self.shared.take() {
            for signal in self.read(&peers) {
                if self.signals.blocking_send(signal).is_err() {
                    debug!("nobody takes the answers any more");
                    return;
                }
            }
        }
    }

    fn read(&mut self, peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> Vec<Signal> {
        match self.sock_diag.read_peers(&all_addresses(peers)) {
            Ok(reading) => {
                self.failure = None;
                signals(reading, peers)
            }
            Err(error) => {
                // Peers are asked for ten times a second: a kernel without tcp_diag would
                // fill the log.
                let failure = error.to_string();
                if self.failure.as_ref() != Some(&failure) {
                    warn!(
                        error = failure,
                        "the sockets of {} peers could not be read; not told again while it \
                         stays so",
                        peers.len()
                    );
                    self.failure = Some(failure);
                }
                unreadable(peers)
            }
        }
    }
}

/// The answer for each peer when the dump failed.
pub(super) fn unreadable(peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> Vec<Signal> {
    let unreadable = |peer: &PeerName| Signal::SocketsUnreadable { peer: peer.clone() };
    peers.keys().map(unreadable).collect()
}
