//! The netlink socket: one dump or request at a time, with bounds on time and memory.

use std::{io, net::IpAddr};

use netlink_packet_sock_diag::{AF_INET6, inet::StateFlags};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{
    libc::{ENOENT, MSG_TRUNC},
    sys::{
        socket::{setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

use super::{
    SockDiagError, SocketKey,
    decode::{self, Progress, Response, malformed},
    request,
};
use crate::{clock, core::Time, netns};

/// The kernel fills at most 32 KiB at a time (`netlink_dump` in net/netlink/af_netlink.c).
const RECEIVE_BUFFER: usize = 64 * 1024;

/// The kernel answers within the system call. This limit only keeps a broken kernel from blocking
/// the thread.
const RECEIVE_TIMEOUT_SECONDS: i64 = 1;

#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    /// The inode of the namespace whose sockets are dumped.
    netns: u32,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Link {
    pub(super) fn open() -> Result<Self, SockDiagError> {
        // The socket belongs to the namespace that the thread is in now.
        let netns = netns::own().map_err(SockDiagError::Namespace)?;
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(SockDiagError::Open)?;
        socket.bind_auto().map_err(SockDiagError::Open)?;
        // It is connected to the kernel (port 0), so it takes messages from nobody else.
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(SockDiagError::Open)?;
        let timeout = TimeVal::seconds(RECEIVE_TIMEOUT_SECONDS);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)
            .map_err(|errno| SockDiagError::Open(errno.into()))?;
        Ok(Self {
            socket,
            netns,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER].into(),
        })
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
        only: &[IpAddr],
        mut each: impl FnMut(&Response, Time) -> Result<(), SockDiagError>,
    ) -> Result<(), SockDiagError> {
        let sequence = self.next_sequence();
        self.send(&request::dump(family, states, only, sequence))?;
        loop {
            let length = self.receive()?;
            let received = clock::now();
            let progress = decode::datagram(&self.buffer[..length], sequence, |response| {
                each(response, received)
            })?;
            match progress {
                Progress::More => {}
                Progress::Done => return Ok(()),
                Progress::Acknowledged => {
                    return Err(malformed("an acknowledgement that was not asked for"));
                }
                // A kernel without IPv6 has no such sockets.
                Progress::Refused(ENOENT) if family == AF_INET6 => return Ok(()),
                Progress::Refused(errno) => {
                    return Err(SockDiagError::Refused {
                        family: if family == AF_INET6 { "IPv6" } else { "IPv4" },
                        source: io::Error::from_raw_os_error(errno),
                    });
                }
            }
        }
    }

    /// Destroys one socket; returns the kernel's errno if it refuses. After an error the answer may
    /// still arrive, so drop the link.
    pub(super) fn destroy(&mut self, socket: &SocketKey) -> Result<Option<i32>, SockDiagError> {
        let sequence = self.next_sequence();
        self.send(&request::destroy(socket, sequence))?;
        loop {
            let length = self.receive()?;
            let no_socket = |_: &Response| Err(malformed("a socket that was not asked for"));
            match decode::datagram(&self.buffer[..length], sequence, no_socket)? {
                Progress::More => {}
                Progress::Acknowledged => return Ok(None),
                Progress::Refused(errno) => return Ok(Some(errno)),
                Progress::Done => {
                    return Err(malformed("the end of a dump that was not asked for"));
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, request: &[u8]) -> Result<(), SockDiagError> {
        self.socket
            .send(request, 0)
            .map(|_| ())
            .map_err(SockDiagError::Send)
    }

    fn receive(&mut self) -> Result<usize, SockDiagError> {
        let capacity = self.buffer.len();
        let length = loop {
            match self.socket.recv(&mut &mut self.buffer[..], MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(SockDiagError::Receive)?,
            }
        };
        if length > capacity {
            return Err(SockDiagError::Truncated { length, capacity });
        }
        Ok(length)
    }
}
