//! The test that `detector doctor` runs to show that sockets can be destroyed here: it destroys one
//! of its own.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use nix::libc::ECONNABORTED;
use thiserror::Error;

use crate::netlink::sock_diag::{DestroyError, SockDiag, SockDiagError, SocketKey};

/// The kernel destroys the socket before it answers. This limit only keeps a failure from blocking.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the test did not show that sockets can be destroyed.
#[derive(Debug, Error)]
pub enum ProofError {
    #[error("cannot connect to myself over 127.0.0.1 to try it: {0}; is lo up?")]
    Loopback(#[from] io::Error),
    #[error(transparent)]
    SockDiag(#[from] SockDiagError),
    #[error("my own connection over 127.0.0.1 is not in the kernel's socket dump")]
    NotFound,
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    #[error("the kernel says that the socket is destroyed, but reading from it {0}")]
    NoEffect(String),
}

/// Destroys one end of its own loopback connection, and checks that a read from it returns
/// ECONNABORTED.
pub fn prove() -> Result<(), ProofError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let _server = listener.accept()?;
    client.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut sock_diag = SockDiag::open()?;
    let socket = find(&mut sock_diag, &client)?;
    sock_diag.destroy(&socket)?;
    match client.read(&mut [0]) {
        Err(error) if error.raw_os_error() == Some(ECONNABORTED) => Ok(()),
        Err(error) => Err(ProofError::NoEffect(format!("fails with {error}"))),
        Ok(bytes) => Err(ProofError::NoEffect(format!("gives {bytes} bytes"))),
    }
}

fn find(sock_diag: &mut SockDiag, stream: &TcpStream) -> Result<SocketKey, ProofError> {
    let ends = (stream.local_addr()?, stream.peer_addr()?);
    sock_diag
        .sockets(&BTreeSet::from([ends.1.ip()]))?
        .flows
        .into_iter()
        .find(|socket| (socket.reading.id.local, socket.reading.id.remote) == ends)
        .map(|socket| socket.key)
        .ok_or(ProofError::NotFound)
}
