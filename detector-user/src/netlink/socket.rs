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
        let (inner, buffer) = (&self.inner, &mut self.buffer);
        let received = uninterrupted(|| inner.recv(&mut &mut buffer[..], MSG_TRUNC | flags));
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

/// Calls once more where a signal came in between.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_sys::protocols::NETLINK_ROUTE;

    use super::*;

    /// A message without a meaning (NLMSG_NOOP) that asks for an acknowledgement.
    fn request(sequence: u32) -> Vec<u8> {
        let (length, noop, flags, port) = (16_u32, 1_u16, 1_u16 | 4, 0_u32);
        let (kind, flags) = (noop.to_ne_bytes(), flags.to_ne_bytes());
        let words = [length, sequence, port].map(u32::to_ne_bytes);
        [&words[0], &kind[..], &flags, &words[1], &words[2]].concat()
    }

    #[test]
    fn a_datagram_that_is_too_long_is_an_error_and_not_cut_short() {
        let mut socket = Socket::open(NETLINK_ROUTE, "a test").unwrap();
        for sequence in [1, 2] {
            assert_eq!(socket.next_sequence(), sequence);
            socket.send(&request(sequence)).unwrap();
            let answer = socket.receive(0).unwrap();
            assert_eq!(answer[8..12], sequence.to_ne_bytes());
        }
        socket.buffer = vec![0; 16].into();
        socket.send(&request(3)).unwrap();
        let error = socket.receive(0).unwrap_err();
        let about = "cannot read what the kernel says of a test: a datagram has ";
        assert!(error.to_string().starts_with(about), "{error}");
    }

    #[test]
    fn a_signal_ends_no_call_and_an_error_does() {
        let mut errors = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock].into_iter();
        let mut call = || Err::<(), _>(io::Error::from(errors.next().expect("it has ended")));
        let error = uninterrupted(&mut call).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
