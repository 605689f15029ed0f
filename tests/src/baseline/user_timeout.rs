//! A socket that always has data in flight and gives up after 5 s without an ACK (tcp(7),
//! `TCP_USER_TIMEOUT`).

use std::{io, net::SocketAddr, time::Duration};

use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::TcpUserTimeout},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use super::{Belief, Method};

const USER_TIMEOUT: Duration = Duration::from_secs(5);
const CHUNK_BYTES: usize = 16 * 1024;
const EVERY: Duration = Duration::from_millis(50);
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn watch(peer: SocketAddr) -> anyhow::Result<()> {
    let mut belief = Belief::new(Method::UserTimeout);
    loop {
        let ended = match timeout(USER_TIMEOUT, connect(peer)).await {
            Ok(Ok(stream)) => {
                belief.is(false);
                upload(stream).await
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        if is_silence(&ended) {
            belief.is(true);
        }
        sleep(REDIAL_PAUSE).await;
    }
}

async fn connect(peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let milliseconds = USER_TIMEOUT.as_millis() as u32;
    setsockopt(&socket, TcpUserTimeout, &milliseconds)?;
    socket.connect(peer).await
}

/// Uploads until the kernel gives up. Any error of the socket ends the waiting write.
async fn upload(mut stream: TcpStream) -> io::Error {
    let chunk = vec![0; CHUNK_BYTES];
    loop {
        if let Err(error) = stream.write_all(&chunk).await {
            return error;
        }
        sleep(EVERY).await;
    }
}

/// If the neighbour cannot be resolved any more either, the kernel reports that instead.
fn is_silence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
        || error.raw_os_error() == Some(Errno::EHOSTUNREACH as i32)
}
