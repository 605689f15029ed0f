//! Every bound that follows from how many peers there may be (`max_peers`), in one place.
//!
//! Whatever is kept, queued or asked for each peer has room for all of them at once: the day on
//! which every peer falls silent is the day on which none may be refused. What does not grow
//! with the peers (a socket's name, a line of the log) is bounded where it is.

/// The most peers that may be configured.
pub const MAX_PEERS: usize = 65_536;

/// The most addresses that one peer has: two families on several networks.
pub const MAX_ADDRESSES: usize = 16;

/// The most network namespaces that are watched beside the daemon's own: each is read with
/// every socket snapshot.
pub const MAX_NAMESPACES: usize = 16;

/// The most gateways that are asked as witnesses: the next hops of one host, which do not grow
/// with the peers behind them. Each is asked on its link every few seconds, for as long as the
/// daemon runs.
pub(super) const MAX_GATEWAYS: usize = 16;

/// The most links whose neighbour probes are counted; by more of them no neighbour is probed.
pub(super) const MAX_LINKS: usize = 1024;

/// A new namespace may be told before the one that it replaces is gone.
pub(super) const NAMESPACES_KEPT: usize = 2 * MAX_NAMESPACES;

/// Queues are not shorter than this, however few the peers.
const LEAST_QUEUE: usize = 256;

/// The bounds of a daemon with this many peers at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    max_peers: usize,
}

impl Bounds {
    pub const fn new(max_peers: usize) -> Self {
        let max_peers = match max_peers {
            0 => 1,
            MAX_PEERS.. => MAX_PEERS,
            some => some,
        };
        Self { max_peers }
    }

    /// The addresses of all peers: whose routes are asked for, and connects to which are
    /// refused. A watched endpoint is an address with a port, and a peer has one port.
    pub const fn addresses(self) -> usize {
        self.max_peers * MAX_ADDRESSES
    }

    /// The same as the size of a map of the kernel's.
    pub fn map_entries(self) -> u32 {
        u32::try_from(self.addresses()).unwrap_or(u32::MAX)
    }

    /// The addresses that something is known of. Peers move, and the kernel goes on to tell of
    /// an address for a while: four times as many.
    pub(super) const fn known_addresses(self) -> usize {
        4 * self.addresses()
    }

    /// Requests that wait for a thread: one for each address of each peer.
    pub const fn waiting(self) -> usize {
        self.addresses()
    }

    /// Probes that wait to be sent, and that wait for their answers: a suspect is asked in four
    /// ways (on the link, at its port, at a port beside it, on a flow).
    pub const fn probes(self) -> usize {
        self.for_each_peer(4)
    }

    /// Signals that wait for the loop before their senders do: of each peer its sockets, and
    /// the answers to what it was asked on the link, at its port and beside it.
    pub const fn signals(self) -> usize {
        self.for_each_peer(4)
    }

    /// Published changes that a watcher may lag behind: a peer that dies and is back is
    /// Suspect, Dead, HalfOpen and Alive.
    pub const fn changes(self) -> usize {
        self.for_each_peer(4)
    }

    /// A replay's own questions that a recorded answer may belong to: those of the last two
    /// times that all were asked.
    pub const fn replayed_probes(self) -> usize {
        2 * self.probes()
    }

    /// Descriptors that the process may need: each connect that waits for its answer has one,
    /// and connects get half of all.
    pub const fn open_files(self) -> usize {
        2 * self.probes()
    }

    const fn for_each_peer(self, some: usize) -> usize {
        let all = some * self.max_peers;
        if all < LEAST_QUEUE { LEAST_QUEUE } else { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_each_peer_needs_has_room_for_fewer() {
        for peers in [1, 1024, 5000, MAX_PEERS] {
            let bounds = Bounds::new(peers);
            for room in [
                bounds.waiting() / MAX_ADDRESSES,
                bounds.probes() / 4,
                bounds.signals() / 4,
                bounds.changes() / 4,
                bounds.addresses() / MAX_ADDRESSES,
                bounds.known_addresses() / MAX_ADDRESSES,
                bounds.map_entries() as usize / MAX_ADDRESSES,
            ] {
                assert!(room >= peers, "{room} for {peers}");
            }
        }
    }

    /// A recording may name any number.
    #[test]
    fn the_bounds_are_bounded() {
        assert_eq!(Bounds::new(0), Bounds::new(1));
        assert_eq!(Bounds::new(usize::MAX), Bounds::new(MAX_PEERS));
    }
}
