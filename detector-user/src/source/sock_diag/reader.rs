//! The thread that reads a peer's sockets when the core requests them.

use std::{collections::BTreeMap, convert::Infallible, net::IpAddr, time::Duration};

use tracing::{debug, warn};

use super::{all_addresses, signals};
use crate::{
    clock,
    model::{Bounds, PeerName, Signal},
    netlink::sock_diag::Everywhere,
    netns::Namespaces,
    pending::Pending,
    signals::SignalSender,
    worker::{Inbox, Worker},
};

type Requests = Pending<PeerName, Vec<IpAddr>>;

/// If so many peers wait when a dump ends, the next one begins after a rest as long as that dump.
/// Where very many connections stall at once, dumps without a rest take the processor that probes
/// need, and a peer is judged by its probes.
const CROWD: usize = 64;

const REST_AT_MOST: Duration = Duration::from_secs(1);

/// A thread that reads the sockets of peers on request.
///
/// All peers that wait when a dump begins are answered from that one dump, so a thousand
/// peers that stall together cost no more than one. Stops when dropped.
#[derive(Debug)]
pub struct Reader {
    worker: Worker<Requests>,
    signals: SignalSender,
}

impl Reader {
    /// Starts the thread, which reads the caller's network namespace and the watched ones.
    /// Each request is answered on `signals` with [`Signal::SocketsRead`] or
    /// [`Signal::SocketsUnreadable`].
    pub fn spawn(
        signals: SignalSender,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> anyhow::Result<Self> {
        let table = Table {
            everywhere: Everywhere::open(namespaces)?,
            failure: None,
        };
        let (inbox, answers) = (Inbox::new(Pending::new(bounds)), signals.clone());
        let worker = Worker::essential("sock-diag-read", &signals, inbox, move |requests| {
            answer(table, requests, &answers);
            Ok::<_, Infallible>(())
        });
        Ok(Self {
            worker: worker?,
            signals,
        })
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
        let put =
            |pending: &mut Requests| pending.put(&peer, vec![addr], join).map(|_| pending.most());
        if let Some(most) = self.worker.inbox().put(put) {
            warn!(%peer, "{most} peers wait for their sockets to be read; this one is not");
            self.signals.offer(Signal::SocketsUnreadable { peer, addr });
        }
    }
}

fn answer(mut table: Table, requests: &Inbox<Requests>, signals: &SignalSender) {
    while let Some(peers) = requests.wait(Pending::take_all) {
        let begun = clock::now();
        let read = table.read(&peers);
        let took = clock::now().since(begun);
        for signal in read {
            if requests.is_stopped() || signals.blocking_send(signal).is_err() {
                debug!("nobody takes the answers any more");
                return;
            }
        }
        if requests.take(|pending| pending.waiting().count()) >= CROWD {
            requests.sleep(took.min(REST_AT_MOST));
        }
    }
}

struct Table {
    everywhere: Everywhere,
    /// Why the last dump failed, so that the same failure is logged once.
    failure: Option<String>,
}

impl Table {
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
