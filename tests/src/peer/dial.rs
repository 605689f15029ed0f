//! A single connect.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::clock;

/// One connect, and how it ended.
#[derive(Debug, Args)]
pub struct Dial {
    /// Where to.
    #[arg(long)]
    target: SocketAddr,
    /// Connects a datagram socket and sends a datagram.
    #[arg(long)]
    udp: bool,
    /// How long a connect may hang.
    #[arg(long, default_value_t = 700)]
    patience_ms: u64,
}

/// How a connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialed {
    Connected,
    /// With this errno, after this many microseconds.
    Failed {
        errno: i32,
        took_us: u64,
    },
    /// Neither, for as long as was waited.
    Hung,
}

impl Dial {
    pub fn run(&self) -> anyhow::Result<()> {
        let line = serde_json::to_string(&self.dial())?;
        writeln!(std::io::stdout(), "{line}").context("cannot print")
    }

    fn dial(&self) -> Dialed {
        let begun = clock::now_ns();
        let outcome = if self.udp {
            self.send()
        } else {
            let patience = Duration::from_millis(self.patience_ms);
            TcpStream::connect_timeout(&self.target, patience).map(drop)
        };
        match outcome.map_err(|error| error.raw_os_error()) {
            Ok(()) => Dialed::Connected,
            Err(None) => Dialed::Hung,
            Err(Some(errno)) => Dialed::Failed {
                errno,
                took_us: (clock::now_ns() - begun) / 1000,
            },
        }
    }

    fn send(&self) -> std::io::Result<()> {
        let any = match self.target {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.target)?;
        socket.send(b"datagram").map(drop)
    }
}
