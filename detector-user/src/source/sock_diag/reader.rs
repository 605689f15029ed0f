//! The thread that reads a peer's sockets when the core requests them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, thread};

use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::{all_addresses, signals};
use crate::{
    core::{Bounds, PeerName, Signal},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::Namespaces,
    pending::Pending,
};

/// A thread that reads the sockets of peers on request.
///
/// All peers that wait when a dump begins are answered from that one dump, so a thousand
/// peers that stall together cost no more than one. Stops when dropped.
#[derive(Debug)]
pub struct Reader {
    pending: Arc<Pending<PeerName, Vec<IpAddr>>>,
    signals: Sender<Signal>,
}

impl Reader {
    /// Starts the thread, which reads the caller's network namespace and the watched ones.
    /// Each request is answered on `signals` with [`Signal::SocketsRead`] or
    /// [`Signal::SocketsUnreadable`].
    pub fn spawn(
        signals: Sender<Signal>,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> Result<Self, SockDiagError> {
        let everywhere = Everywhere::open(namespaces)?;
        let pending = Arc::new(Pending::new(bounds));
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

    /// Requests the sockets with this address of a peer. Never blocks. A request for a peer that
    /// still waits joins the earlier one; a request beyond the limit is answered as unreadable at
    /// once.
    pub fn request(&self, peer: PeerName, addr: IpAddr) {
        let join = |waiting: &mut Vec<IpAddr>, new: Vec<IpAddr>| {
            waiting.extend(new);
            waiting.sort_unstable();
            waiting.dedup();
        };
        if self.pending.put(&peer, vec![addr], join).is_none() {
            return;
        }
        let most = self.pending.most();
        warn!(%peer, "{most} peers wait for their sockets to be read; this one is not");
        if let Err(error) = self
            .signals
            .try_send(Signal::SocketsUnreadable { peer, addr })
        {
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
    pending: Arc<Pending<PeerName, Vec<IpAddr>>>,
    signals: Sender<Signal>,
    /// Why the last dump failed, so that the same failure is logged once.
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
                // Sockets are requested up to ten times a second: a kernel without tcp_diag would
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
    let of_peer = |(peer, addrs): (&PeerName, &Vec<IpAddr>)| {
        let unreadable = |addr: &IpAddr| Signal::SocketsUnreadable {
            peer: peer.clone(),
            addr: *addr,
        };
        addrs.iter().map(unreadable).collect::<Vec<_>>()
    };
    peers.iter().flat_map(of_peer).collect()
}
