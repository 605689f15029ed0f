//! Ending single sockets: `SOCK_DESTROY`, Linux 4.5 (`tcp_diag_destroy` of net/ipv4/tcp_diag.c).
//!
//! `tcp_abort` of net/ipv4/tcp.c ends the socket at once: whoever waits on it gets
//! ECONNABORTED, a RST goes out where the state asks for one. Orphans, which no program waits
//! for, end as well on 6.18; kernels without "tcp: fix forever orphan socket caused by
//! tcp_abort" (2024) say so too, but leave them to their own timers.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use netlink_packet_sock_diag::inet::SocketId;
#[cfg(test)]
use netlink_packet_sock_diag::{AF_INET, AF_INET6};
use nix::libc::{ENOENT, EOPNOTSUPP, EPERM};
use thiserror::Error;

use super::{Reading, SockDiag, SockDiagError, decode::Response};
use crate::core::FlowReading;

/// Names one socket, in the kernel's own words: the family and form of the addresses under
/// which it is hashed, the interface it is bound to, and the cookie, which no other socket
/// has had since boot.
///
/// It only comes from a dump, so each of these is right: a v4-mapped socket is named as one,
/// and one that is bound to a device is found (`inet_diag_find_one_icsk` compares it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketKey {
    pub(super) family: u8,
    pub(super) id: SocketId,
}

impl SocketKey {
    /// As the kernel would name the socket of such a flow.
    #[cfg(test)]
    pub(crate) fn of_flow(flow: &FlowReading) -> Self {
        let family = match flow.id.remote.ip() {
            IpAddr::V4(_) => AF_INET,
            IpAddr::V6(_) => AF_INET6,
        };
        let id = SocketId {
            source_port: flow.id.local.port(),
            destination_port: flow.id.remote.port(),
            source_address: flow.id.local.ip(),
            destination_address: flow.id.remote.ip(),
            interface_id: 0,
            cookie: flow.cookie.to_ne_bytes(),
        };
        Self { family, id }
    }

    fn of(response: &Response) -> Self {
        Self {
            family: response.header.family,
            id: response.header.socket_id.clone(),
        }
    }
}

/// A socket that was looked at.
#[derive(Clone, Debug)]
pub struct Socket {
    pub key: SocketKey,
    pub reading: FlowReading,
}

/// Why a socket was not destroyed.
#[derive(Debug, Error)]
pub enum DestroyError {
    #[error("it is gone")]
    Gone,
    #[error(
        "this kernel cannot destroy sockets (EOPNOTSUPP); it has to be built with \
         CONFIG_INET_DIAG_DESTROY, or set destroy_sockets = \"off\""
    )]
    Unsupported,
    #[error(
        "the kernel does not permit it (EPERM); give the daemon CAP_NET_ADMIN, or set \
         destroy_sockets = \"off\""
    )]
    NotPermitted,
    #[error("the kernel refused: {0}")]
    Refused(#[source] io::Error),
    #[error(transparent)]
    NoAnswer(#[from] SockDiagError),
}

impl SockDiag {
    /// Inode of the network namespace whose sockets are seen.
    pub fn netns(&self) -> u32 {
        self.netns
    }

    /// The sockets whose remote address is one of `addrs`, which are canonical, each with
    /// what it takes to destroy it.
    pub fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Reading<Socket>, SockDiagError> {
        self.read(Some(addrs), |reading, response| Socket {
            key: SocketKey::of(response),
            reading,
        })
    }

    /// Destroys the socket. Waits only where a program is inside the kernel with it.
    pub fn destroy(&mut self, socket: &SocketKey) -> Result<(), DestroyError> {
        let mut link = self.take_link()?;
        let refused = link.destroy(socket)?;
        self.link = Some(link);
        match refused {
            None => Ok(()),
            Some(ENOENT) => Err(DestroyError::Gone),
            Some(EOPNOTSUPP) => Err(DestroyError::Unsupported),
            Some(EPERM) => Err(DestroyError::NotPermitted),
            Some(errno) => Err(DestroyError::Refused(io::Error::from_raw_os_error(errno))),
        }
    }
}

/// How far a `last_heard` may lie from the truth: two jiffies (the stamp, and the age that is
/// counted from it) and the millisecond that the kernel rounds up by.
pub(super) fn resolution(jiffy: Duration) -> Duration {
    2 * jiffy + Duration::from_millis(1)
}
