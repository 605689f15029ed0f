//! Destroys single sockets: `SOCK_DESTROY`, Linux 4.5 (`tcp_diag_destroy` in net/ipv4/tcp_diag.c).
//!
//! `tcp_abort` in net/ipv4/tcp.c ends the socket at once. Calls that wait on it get ECONNABORTED,
//! and a RST is sent if the socket's state requires one. Orphaned sockets, which no program holds
//! any more, end as well on 6.18. Kernels without "tcp: fix forever orphan socket caused by
//! tcp_abort" (2024) also report success for them, but leave them to their own timers.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use netlink_packet_sock_diag::inet::SocketId;
#[cfg(test)]
use netlink_packet_sock_diag::{AF_INET, AF_INET6};
use nix::libc::{ENOENT, EOPNOTSUPP, EPERM};
use thiserror::Error;

use super::{
    Reading, SockDiag, SockDiagError,
    decode::{self, ReadAt, Response},
};
use crate::model::FlowReading;

/// Identifies one socket in the kernel's own terms: the family and form of the addresses under
/// which it is hashed, the interface to which it is bound, and the cookie, which is unique since
/// boot.
///
/// It always comes from a dump, so all parts are exact: a v4-mapped socket is named as such, and a
/// socket that is bound to a device is found (`inet_diag_find_one_icsk` compares the device).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketKey {
    pub(super) family: u8,
    pub(super) id: SocketId,
}

impl SocketKey {
    /// The key that the kernel would use for the socket of such a flow.
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

/// A socket of a dump.
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
    /// The inode of the network namespace whose sockets are read.
    pub fn netns(&self) -> u32 {
        self.netns
    }

    /// The sockets whose remote address is one of `addrs`, each with the key to destroy it. The
    /// addresses must be canonical.
    pub fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Reading<Socket>, SockDiagError> {
        self.read(Some(addrs), |reading, response| Socket {
            key: SocketKey::of(response),
            reading,
        })
    }

    /// Reads a socket of a dump once more; `None` if it is gone, or has no timers any more. However
    /// many sockets there are, this takes some microseconds.
    pub fn again(&mut self, socket: &SocketKey) -> Result<Option<Socket>, SockDiagError> {
        let mut link = self.take_link()?;
        let (netns, jiffy) = (self.netns, self.jiffy);
        let mut found = None;
        link.one(socket, |response, received| {
            let read_at = ReadAt {
                received,
                jiffy,
                netns,
            };
            let key = SocketKey::of(response);
            found = decode::reading(response, read_at)?.map(|reading| Socket { key, reading });
            Ok(())
        })?;
        self.link = Some(link);
        Ok(found)
    }

    /// Destroys the socket. It only waits while a program is in a system call with the socket.
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

/// The largest error of `last_heard`: two jiffies (one for the time stamp, one for the age that is
/// computed from it), and the millisecond by which the kernel rounds up.
pub(super) fn resolution(jiffy: Duration) -> Duration {
    2 * jiffy + Duration::from_millis(1)
}
