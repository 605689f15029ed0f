//! Idle connections, as in a connection pool.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::Event;
use crate::clock;

const REDIAL_PAUSE: Duration = Duration::from_millis(100);
/// A request that is not finished: the server waits for the rest, and we for an answer.
const HALF_A_REQUEST: &[u8] = b"GET / HTTP/1.1\r\n";

/// Established connections on which nothing is sent.
#[derive(Clone, Debug, clap::Args)]
pub struct Pool {
    /// Address and port of the server, which must wait for the client to speak.
    #[arg(long)]
    pub target: SocketAddr,
    #[arg(long, default_value_t = 4)]
    pub connections: u32,
}

impl Pool {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        for number in 0..self.connections {
            tokio::spawn(keep_idle(self.target, number));
        }
        std::future::pending().await
    }
}

async fn keep_idle(target: SocketAddr, number: u32) {
    loop {
        let started_ns = clock::now_ns();
        if let Err(error) = idle(target, number).await {
            Event::error(number, started_ns, &error).say();
        }
        sleep(REDIAL_PAUSE).await;
    }
}

/// Until the connection is ended by someone else.
async fn idle(target: SocketAddr, number: u32) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    // Something was said once, as on every pooled connection; it is ACKed within the moment.
    stream.write_all(HALF_A_REQUEST).await?;
    let at_ns = clock::now_ns();
    Event::Connected {
        at_ns,
        channel: number,
    }
    .say();
    Event::Ok {
        at_ns,
        channel: number,
    }
    .say();
    while stream.read(&mut [0; 64]).await? > 0 {}
    Err(io::ErrorKind::UnexpectedEof.into())
}
