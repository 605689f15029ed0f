//! Every bound that follows from the number of peers (`max_peers`), in one place.
//!
//! Whatever is kept, queued or requested for each peer has room for all peers at once: when every
//! peer falls silent together, no request may be dropped. Bounds that do not grow with the peers (a
//! socket's name, a line of the log) stand beside the code that needs them, or here if several
//! modules do.

/// The most peers that may be configured.
pub const MAX_PEERS: usize = 65_536;

/// The most addresses that one peer has: two families on several networks.
pub const MAX_ADDRESSES: usize = 16;

/// The most network namespaces that are watched besides the daemon's own: each of them is read for
/// every socket snapshot.
pub const MAX_NAMESPACES: usize = 16;

/// The most gateways that are probed as witnesses. They are the next hops of one host, and their
/// number does not grow with the peers behind them. Each is probed on its link every few seconds
/// for as long as the daemon runs.
pub(crate) const MAX_GATEWAYS: usize = 16;

/// The most links whose neighbour probes are counted; on further links no neighbour is probed.
pub(crate) const MAX_LINKS: usize = 1024;

/// A new namespace may be reported before the one that it replaces is gone.
pub(crate) const NAMESPACES_KEPT: usize = 2 * MAX_NAMESPACES;

/// More than the published state of a peer with several addresses.
const UNREAD_FOR_EACH: usize = 1 << 10;

/// The shortest queue, however few peers there are.
const LEAST_QUEUE: usize = 256;

/// The bounds of a daemon with at most this many peers.
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

    /// The most addresses of all peers together: their routes are requested, and connects to them
    /// may be refused. It is also the number of watched endpoints, for a peer has one port.
    pub const fn addresses(self) -> usize {
        self.max_peers * MAX_ADDRESSES
    }

    /// The most addresses, as the size of a BPF map.
    pub fn map_entries(self) -> u32 {
        u32::try_from(self.addresses()).unwrap_or(u32::MAX)
    }

    /// The most addresses about which anything is remembered: four times as many, because peers
    /// move and the kernel goes on reporting an old address for a while.
    pub(crate) const fn known_addresses(self) -> usize {
        4 * self.addresses()
    }

    /// The most requests that wait for a thread: one for each address of each peer.
    pub const fn waiting(self) -> usize {
        self.addresses()
    }

    /// The most probes that wait to be sent, and the most that wait for an answer: a Suspect peer
    /// is probed in four ways (on the link, at its port, at a closed port, on a flow).
    pub const fn probes(self) -> usize {
        self.for_each_peer(4)
    }

    /// The most signals that wait for the driver loop before their senders have to wait: for each
    /// peer a socket snapshot, and the answers to probes on the link, at its port and at a closed
    /// port.
    pub const fn signals(self) -> usize {
        self.for_each_peer(4)
    }

    /// The most published changes that a watcher may lag behind: a peer that dies and returns is
    /// Suspect, Dead, HalfOpen and Alive.
    pub const fn changes(self) -> usize {
        self.for_each_peer(4)
    }

    /// The most bytes of answers that a process may leave unread: the states of all peers, and more.
    pub const fn unread_bytes(self) -> usize {
        (1 << 20) + self.max_peers * UNREAD_FOR_EACH
    }

    /// The most probes of a replay to which a recorded answer may belong: those of the last two
    /// rounds in which all targets were probed.
    pub const fn replayed_probes(self) -> usize {
        2 * self.probes()
    }

    /// The most file descriptors that the process may need: each connect that waits for its answer
    /// has one, and connects get half of them all.
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
