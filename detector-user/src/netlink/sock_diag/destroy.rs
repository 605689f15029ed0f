//! Destroys single sockets: `SOCK_DESTROY`, Linux 4.5 (`tcp_diag_destroy` in net/ipv4/tcp_diag.c).
//!
//! `tcp_abort` in net/ipv4/tcp.c ends the socket at once. Calls that wait on it get ECONNABORTED,
//! and a RST is sent if the socket's state requires one. Orphaned sockets, which no program holds
//! any more, end as well on 6.18. Kernels without "tcp: fix forever orphan socket caused by
//! tcp_abort" (2024) also report success for them, but leave them to their own timers.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use nix::libc::{ENOENT, EOPNOTSUPP, EPERM};
use thiserror::Error;

use super::{
    Reading, SockDiag, SockDiagError, SocketKey,
    decode::{self, ReadAt},
};
use crate::model::FlowReading;

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
