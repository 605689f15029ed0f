//! A client of the store, on the host of one of its nodes. What it reads is compared with what was
//! written.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};

use super::proto::{Empty, Name, Part, front_client::FrontClient};
use crate::{Host, PEER_PORT};

/// An object of this size; its bytes follow from the seed.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub seed: u64,
    pub size: u64,
}

const PIECE: u64 = 192 << 10;

impl Content {
    fn piece(self, number: u64) -> Option<Bytes> {
        let begin = number * PIECE;
        let length = self.size.checked_sub(begin).filter(|n| *n > 0)?.min(PIECE);
        let mut piece = vec![0; length as usize];
        fastrand::Rng::with_seed(self.seed ^ number << 32).fill(&mut piece);
        Some(piece.into())
    }
}

/// How fast a client sends or reads. After a pause it catches up.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub bytes_per_second: u64,
}

impl Pace {
    /// How long so many bytes take.
    pub fn time(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64)
    }
}

async fn due(pace: Option<Pace>, begun: Instant, bytes: u64) {
    if let Some(pace) = pace {
        sleep_until(begun + pace.time(bytes)).await;
    }
}

/// Talks to the node of one host over its loopback, which no cut affects.
#[derive(Clone, Debug)]
pub struct Client {
    host: Host,
}

impl Client {
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }

    /// Returns how many nodes are online.
    pub async fn console(&self) -> anyhow::Result<u32> {
        let shown = self.front().await?.console(Empty {}).await?;
        Ok(shown.into_inner().nodes)
    }

    pub async fn login(&self, user: &str) -> anyhow::Result<()> {
        let name = user.to_owned();
        self.front().await?.login(Name { name }).await?;
        Ok(())
    }

    /// Takes a lock; the node releases it at once.
    pub async fn lock(&self, name: String) -> anyhow::Result<()> {
        self.front().await?.take_lock(Name { name }).await?;
        Ok(())
    }

    /// Returns how many nodes have it.
    pub async fn put(
        &self,
        object: &str,
        content: Content,
        pace: Option<Pace>,
    ) -> anyhow::Result<u32> {
        let (begun, object) = (Instant::now(), object.to_owned());
        let parts = stream::unfold(0, move |number| {
            let object = object.clone();
            async move {
                let data = content.piece(number)?;
                due(pace, begun, number * PIECE).await;
                Some((Part { object, data }, number + 1))
            }
        });
        let stored = self.front().await?.put(parts).await?;
        Ok(stored.into_inner().nodes)
    }

    /// Fails if it is not what was written.
    pub async fn get(
        &self,
        object: &str,
        content: Content,
        pace: Option<Pace>,
    ) -> anyhow::Result<()> {
        let name = object.to_owned();
        let mut parts = self.front().await?.get(Name { name }).await?.into_inner();
        let (begun, mut pieces) = (Instant::now(), 0);
        while let Some(part) = parts.message().await? {
            let same = content
                .piece(pieces)
                .is_some_and(|piece| piece == part.data);
            ensure!(same, "{object} is altered in its piece {pieces}");
            pieces += 1;
            due(pace, begun, pieces * PIECE).await;
        }
        let all = content.size.div_ceil(PIECE);
        ensure!(
            pieces == all,
            "{object} ends after {pieces} of {all} pieces"
        );
        Ok(())
    }

    /// A connection of its own for each operation: none waits behind another.
    async fn front(&self) -> anyhow::Result<FrontClient<Channel>> {
        let host = self.host.clone();
        let connector = tower::service_fn(move |_| std::future::ready(connect(&host)));
        // The connector decides where it goes; the URI only has to parse.
        let endpoint = Endpoint::from_static("http://node");
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.with_context(|| format!("no node on {}", self.host.name()))?;
        Ok(FrontClient::new(channel))
    }
}

fn connect(host: &Host) -> std::io::Result<TokioIo<tokio::net::TcpStream>> {
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, PEER_PORT));
    let stream = host.within(connect).map_err(std::io::Error::other)??;
    stream.set_nonblocking(true)?;
    Ok(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
}
