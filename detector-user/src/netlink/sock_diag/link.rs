//! The socket of sock_diag: one dump or request at a time.

use std::io;

use netlink_packet_sock_diag::{AF_INET6, inet::StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::libc::ENOENT;

use super::{
    SockDiagError, SocketKey,
    decode::{self, Progress, Response, malformed},
    prefixes::Prefix,
    request,
};
use crate::{clock, model::Time, netlink::socket::Socket, netns};

#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    /// The inode of the namespace whose sockets are dumped.
    netns: u32,
}

impl Link {
    pub(super) fn open() -> Result<Self, SockDiagError> {
        // The socket belongs to the namespace that the thread is in now.
        let netns = netns::own().map_err(SockDiagError::Namespace)?;
        let socket = Socket::open(NETLINK_SOCK_DIAG, "its TCP sockets (sock_diag)")?;
        Ok(Self { socket, netns })
    }

    pub(super) fn netns(&self) -> u32 {
        self.netns
    }

    /// Dumps the sockets of one family. After an error the rest of the dump may still be in the
    /// socket, so drop the link.
    pub(super) fn dump(
        &mut self,
        family: u8,
        states: StateFlags,
        only: &[Prefix],
        mut each: impl FnMut(&Response, Time) -> Result<(), SockDiagError>,
    ) -> Result<(), SockDiagError> {
        let sequence = self.socket.next_sequence();
        self.socket
            .send(&request::dump(family, states, only, sequence))?;
        loop {
            let datagram = self.socket.receive(0)?;
            let received = clock::now();
            let progress =
                decode::datagram(datagram, sequence, |response| each(response, received))?;
            if is_done(&progress, family)? {
                return Ok(());
            }
        }
    }

    /// Reads one socket: calls `take` with it, or returns `false` if it is gone.
    pub(super) fn one(
        &mut self,
        socket: &SocketKey,
        mut take: impl FnMut(&Response, Time) -> Result<(), SockDiagError>,
    ) -> Result<bool, SockDiagError> {
        let sequence = self.socket.next_sequence();
        self.socket.send(&request::one(socket, sequence))?;
        let datagram = self.socket.receive(0)?;
        let received = clock::now();
        let progress = decode::datagram(datagram, sequence, |response| take(response, received))?;
        match progress {
            Progress::More => Ok(true),
            Progress::Refused(ENOENT) => Ok(false),
            other => Err(malformed(format!("{other:?} in the place of a socket"))),
        }
    }

    /// Destroys one socket; returns the kernel's errno if it refuses. After an error the answer may
    /// still arrive, so drop the link.
    pub(super) fn destroy(&mut self, socket: &SocketKey) -> Result<Option<i32>, SockDiagError> {
        let sequence = self.socket.next_sequence();
        self.socket.send(&request::destroy(socket, sequence))?;
        loop {
            let no_socket = |_: &Response| Err(malformed("a socket that was not asked for"));
            match decode::datagram(self.socket.receive(0)?, sequence, no_socket)? {
                Progress::More => {}
                Progress::Acknowledged => return Ok(None),
                Progress::Refused(errno) => return Ok(Some(errno)),
                Progress::Done => {
                    return Err(malformed("the end of a dump that was not asked for"));
                }
            }
        }
    }
}

/// Whether a dump of this family has come to its end.
fn is_done(progress: &Progress, family: u8) -> Result<bool, SockDiagError> {
    match *progress {
        Progress::More => Ok(false),
        Progress::Done => Ok(true),
        Progress::Acknowledged => Err(malformed("an acknowledgement that was not asked for")),
        // A kernel without IPv6 has no such sockets.
        Progress::Refused(ENOENT) if family == AF_INET6 => Ok(true),
        Progress::Refused(errno) => Err(SockDiagError::Refused {
            family: if family == AF_INET6 { "IPv6" } else { "IPv4" },
            source: io::Error::from_raw_os_error(errno),
        }),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_sock_diag::AF_INET;
    use nix::libc::EPERM;

    use super::*;

    #[test]
    fn a_kernel_without_ipv6_is_none_without_tcp() {
        let done = |progress, family| is_done(&progress, family).map_err(|error| error.to_string());
        for family in [AF_INET, AF_INET6] {
            assert_eq!(done(Progress::More, family), Ok(false));
            assert_eq!(done(Progress::Done, family), Ok(true));
            assert!(done(Progress::Acknowledged, family).is_err());
        }
        assert_eq!(done(Progress::Refused(ENOENT), AF_INET6), Ok(true));
        for (errno, family, named) in [
            (ENOENT, AF_INET, "its IPv4 TCP"),
            (EPERM, AF_INET, "its IPv4 TCP"),
            (EPERM, AF_INET6, "its IPv6 TCP"),
        ] {
            let error = done(Progress::Refused(errno), family).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
