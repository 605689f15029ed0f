//! Whether this process may send ARP and NDP probes.

use nix::errno::Errno;

use super::sockets;

/// The message about what is lost without the right to send raw packets.
pub(super) const WITHOUT: &str = "neighbour probes (ARP, NDP) cannot be sent without \
     CAP_NET_RAW, or where AF_PACKET is not allowed: peers are asked by TCP connects alone, \
     which know nothing of a peer whose ports are filtered; give the daemon CAP_NET_RAW";

/// Whether ARP and NDP probes can be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub arp: Result<(), Errno>,
    pub ndp: Result<(), Errno>,
}

impl Access {
    /// Opens the sockets for neighbour probes, and closes them again.
    pub fn try_out() -> Self {
        Self {
            arp: sockets::open_arp().map(drop),
            ndp: sockets::open_ndp().map(drop),
        }
    }
}
