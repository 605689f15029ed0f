//! Other methods of detecting a dead peer, each a small real implementation that runs next to the
//! detector for comparison. None of them shares a connection with what the detector watches.
//!
//! | method | what it does | where |
//! |---|---|---|
//! | RustFS's settings | a gRPC client with HTTP/2 PINGs | [`crate::peer::GrpcClient`] |
//! | `TCP_USER_TIMEOUT` | uploads on a socket that gives up after 5 s | `user_timeout` |
//! | phi accrual | heartbeats of 1 s, echoed by the peer, over UDP | `phi` |
//! | retransmit counter | 4 retransmissions within 2 s, on the flows the detector has | `retransmits` |

mod phi;
mod retransmits;
mod user_timeout;

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpStream, UdpSocket},
};

use crate::{clock, peer::Event};

/// The port on which the baselines' peer echoes heartbeats (UDP) and takes data (TCP).
pub const PORT: u16 = 9100;

/// A method of detecting a dead peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// HTTP/2 PING every 5 s, 20 s to answer it, 30 s for a call.
    RustfsNow,
    /// HTTP/2 PING every 5 s, 3 s to answer it.
    RustfsBefore,
    /// `TCP_USER_TIMEOUT` of 5 s.
    UserTimeout,
    /// Phi above 8, with Akka's acceptable pause of 3 s.
    PhiAkka,
    /// Phi above 8, with no pause forgiven.
    Phi,
    /// 4 retransmissions within 2 s.
    Retransmits,
}

impl Method {
    /// All methods, the slowest first.
    pub const ALL: [Self; 6] = [
        Self::RustfsNow,
        Self::RustfsBefore,
        Self::UserTimeout,
        Self::PhiAkka,
        Self::Phi,
        Self::Retransmits,
    ];

    /// The name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::RustfsNow => "RustFS now",
            Self::RustfsBefore => "RustFS before",
            Self::UserTimeout => "user timeout",
            Self::PhiAkka => "phi, 3 s pause",
            Self::Phi => "phi",
            Self::Retransmits => "retransmits",
        }
    }

    /// A description in one line.
    pub fn description(self) -> &'static str {
        match self {
            Self::RustfsNow => "gRPC, HTTP/2 PING every 5 s, 20 s to answer it, 30 s for a call",
            Self::RustfsBefore => "the same with 3 s to answer a PING",
            Self::UserTimeout => "TCP_USER_TIMEOUT 5 s on a socket with data in flight",
            Self::PhiAkka => {
                "phi-accrual over heartbeats of 1 s: phi 8, at least 100 ms deviation, 3 s acceptable pause"
            }
            Self::Phi => "the same with no acceptable pause",
            Self::Retransmits => "4 retransmissions to the peer within 2 s, read every 100 ms",
        }
    }

    /// Whether it decides within the two seconds that every cut lasts.
    pub fn is_fast(self) -> bool {
        matches!(self, Self::Phi | Self::Retransmits)
    }
}

/// Whether a client's error means that nothing was received. A connection that was refused or reset
/// shows that a host is there.
pub fn is_silence(error: &str) -> bool {
    [
        "keep-alive timed out",
        "Timeout expired",
        "deadline has elapsed",
        "timed out",
        "No route to host",
        "Host is unreachable",
    ]
    .iter()
    .any(|words| error.contains(words))
}

/// Runs the selected baselines until killed.
#[derive(Clone, Debug, clap::Args)]
pub struct Watch {
    /// Exchange heartbeats with this address.
    #[arg(long)]
    pub phi: Option<SocketAddr>,
    /// Upload to this address with `TCP_USER_TIMEOUT`.
    #[arg(long)]
    pub user_timeout: Option<SocketAddr>,
    /// Count retransmissions to this address.
    #[arg(long)]
    pub retransmits: Option<IpAddr>,
}

impl Watch {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(peer) = self.phi {
            tasks.spawn(phi::watch(peer));
        }
        if let Some(peer) = self.user_timeout {
            tasks.spawn(user_timeout::watch(peer));
        }
        if let Some(peer) = self.retransmits {
            tasks.spawn(retransmits::watch(peer));
        }
        match tasks.join_next().await {
            Some(ended) => ended?,
            None => anyhow::bail!("no baseline was asked for"),
        }
    }
}

/// Reports changes of what a method believes.
#[derive(Debug)]
struct Belief {
    method: Method,
    dead: Option<bool>,
}

impl Belief {
    fn new(method: Method) -> Self {
        Self { method, dead: None }
    }

    fn is(&mut self, dead: bool) {
        if self.dead != Some(dead) {
            self.dead = Some(dead);
            let (at_ns, method) = (clock::now_ns(), self.method);
            Event::Believed {
                at_ns,
                method,
                dead,
            }
            .say();
        }
    }
}

/// The baselines' peer: it echoes heartbeats and takes data.
#[derive(Clone, Debug, clap::Args)]
pub struct Peer {
    /// Address and port, for UDP and TCP.
    #[arg(long)]
    pub listen: SocketAddr,
}

impl Peer {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let echoes = UdpSocket::bind(self.listen)
            .await
            .with_context(|| format!("cannot bind UDP {}", self.listen))?;
        // This comes last: it announces that everything is ready.
        let sink = crate::peer::listen(self.listen).await?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = sink.accept().await {
                tokio::spawn(swallow(stream));
            }
        });
        let mut beat = [0; 64];
        loop {
            // An ICMP error of an earlier echo is reported here; its sender will try again.
            if let Ok((length, from)) = echoes.recv_from(&mut beat).await {
                let _lost = echoes.send_to(&beat[..length], from).await;
            }
        }
    }
}

async fn swallow(mut stream: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_no_silence() {
        for error in [
            "transport error: keep-alive timed out: operation timed out",
            "Timeout expired",
            "tcp connect error: No route to host (os error 113)",
        ] {
            assert!(is_silence(error), "{error}");
        }
        for error in [
            "tcp connect error: Connection refused (os error 111)",
            "connection error: Connection reset by peer (os error 104)",
        ] {
            assert!(!is_silence(error), "{error}");
        }
    }
}
