//! A netlink socket to the kernel, of any protocol, with bounds on time and memory.

use std::io;

use netlink_sys::{Socket as Inner, SocketAddr};
use nix::{
    libc::MSG_TRUNC,
    sys::{
        socket::{setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};
use thiserror::Error;

/// The kernel fills at most 32 KiB at a time (`netlink_dump` in net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;

/// The kernel answers within the system call. This limit only keeps a broken kernel from blocking
/// the thread.
const RECEIVE_TIMEOUT_SECONDS: i64 = 1;

/// Why the socket does not work. The rest of an answer may still be in it: drop the socket then.
#[derive(Debug, Error)]
#[error("cannot {doing} {about}: {source}")]
pub struct SocketError {
    doing: &'static str,
    about: &'static str,
    pub source: io::Error,
}

/// The socket. It belongs to the network namespace in which the thread was that opened it.
#[derive(Debug)]
pub struct Socket {
    pub inner: Inner,
    /// The number of the last request.
    pub sequence: u32,
    about: &'static str,
    buffer: Box<[u8]>,
}

impl Socket {
    /// Opens a socket of this protocol. Errors name what it is about.
    pub fn open(protocol: isize, about: &'static str) -> Result<Self, SocketError> {
        let open = || {
            let mut socket = Inner::new(protocol)?;
            socket.bind_auto()?;
            // It is connected to the kernel (port 0), so it takes messages from nobody else.
            socket.connect(&SocketAddr::new(0, 0))?;
            let timeout = TimeVal::seconds(RECEIVE_TIMEOUT_SECONDS);
            setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)?;
            Ok(socket)
        };
        let error = |source| {
            cannot(
                "open a netlink socket (is AF_NETLINK allowed?) for",
                about,
                source,
            )
        };
        Ok(Self {
            inner: open().map_err(error)?,
            sequence: 0,
            about,
            buffer: vec![0; BUFFER].into(),
        })
    }

    /// The number for the next request.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub fn send(&self, request: &[u8]) -> Result<(), SocketError> {
        let error = |source| self.cannot("ask the kernel for", source);
        self.inner.send(request, 0).map(drop).map_err(error)
    }

    /// The next datagram. These flags of recv(2) are added to the usual ones.
    pub fn receive(&mut self, flags: i32) -> Result<&[u8], SocketError> {
        let received = loop {
            match self
                .inner
                .recv(&mut &mut self.buffer[..], MSG_TRUNC | flags)
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        received
            .and_then(|length| self.buffer.get(..length).ok_or_else(|| too_long(length)))
            .map_err(|source| self.cannot("read what the kernel says of", source))
    }

    /// The error of something that was tried with the socket.
    pub fn cannot(&self, doing: &'static str, source: io::Error) -> SocketError {
        cannot(doing, self.about, source)
    }
}

fn cannot(doing: &'static str, about: &'static str, source: io::Error) -> SocketError {
    SocketError {
        doing,
        about,
        source,
    }
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!(
        "a datagram has {length} bytes, the buffer only {BUFFER}"
    ))
}
