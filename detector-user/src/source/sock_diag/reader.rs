use std::{collections::BTreeMap, net::IpAddr, sync::Arc, thread};

use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::{all_addresses, signals};
use crate::{
    core::{PeerName, Signal},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::Namespaces,
    pending::{MAX_PENDING, Pending},
};

/// A thread that reads the sockets of the peers it is asked for.
///
/// All peers that wait when a dump begins are answered from that one dump, so a thousand
/// peers that stall together cost no more than one. Stops when dropped.
#[derive(Debug)]
pub struct Reader {
    pending: Arc<Pending<Vec<IpAddr>>>,
    signals: Sender<Signal>,
}

impl Reader {
    /// Starts the thread, which reads the caller's network namespace and the watched ones.
    /// Each request is answered on `signals` with [`Signal::SocketsRead`] or
    /// [`Signal::SocketsUnreadable`].
    pub fn spawn(signals: Sender<Signal>, namespaces: Namespaces) -> Result<Self, SockDiagError> {
        let everywhere = Everywhere::open(namespaces)?;
        let pending = Arc::new(Pending::default());
        let worker = Worker {
            everywhere,
            pending: Arc::clone(&pending),
            signals: signals.clone(),
            failure: None,
        };
        thread::Builder::new()
            .name("sock-diag-read".into())
            .spawn(move || worker.run())
            .map_err(SockDiagError::Thread)?;
        Ok(Self { pending, signals })
    }

    /// Asks for the sockets with this peer's addresses. Never blocks. A request for a peer
    /// that still waits replaces it; one too many is answered as unreadable at once.
    pub fn request(&self, peer: PeerName, addrs: Vec<IpAddr>) {
        if self
            .pending
            .put(&peer, addrs, |waiting, addrs| *waiting = addrs)
            .is_none()
        {
            return;
        }
        warn!(%peer, "{MAX_PENDING} peers wait for their sockets to be read; this one is not");
        if let Err(error) = self.signals.try_send(Signal::SocketsUnreadable { peer }) {
            warn!(%error, "an answer of the socket reader was lost");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pending.stop();
    }
}

struct Worker {
    everywhere: Everywhere,
    pending: Arc<Pending<Vec<IpAddr>>>,
    signals: Sender<Signal>,
    /// Why the last dump failed.
    failure: Option<String>,
}

impl Worker {
    fn run(mut self) {
        while let Some(peers) = self.pending.take_all() {
            for signal in self.read(&peers) {
                if self.signals.blocking_send(signal).is_err() {
                    debug!("nobody takes the answers any more");
                    return;
                }
            }
        }
    }

    fn read(&mut self, peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> Vec<Signal> {
        match self.everywhere.read_peers(&all_addresses(peers)) {
            Ok((reading, unread)) => {
                self.failure = None;
                signals(reading, &unread, peers)
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
