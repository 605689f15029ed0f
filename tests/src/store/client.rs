//! A client of the store, on the host of one of its nodes or elsewhere. What it reads is compared with what was
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

use super::{
    peers::WINDOW,
    proto::{Empty, Name, Part, store_client::StoreClient},
};
use crate::{Host, PEER_PORT};

const PIECE: u64 = 192 << 10;

/// An object of this size; its name and its bytes follow from the seed. It is sent and read no
/// faster than its pace, in bytes a second; after a pause it catches up.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub seed: u64,
    pub size: u64,
    pub pace: u64,
}

impl Content {
    fn piece(self, number: u64) -> Option<Bytes> {
        let begin = number * PIECE;
        let length = self.size.checked_sub(begin).filter(|n| *n > 0)?.min(PIECE);
        let mut piece = vec![0; length as usize];
        fastrand::Rng::with_seed(self.seed ^ number << 32).fill(&mut piece);
        Some(piece.into())
    }

    pub fn name(self) -> String {
        format!("object-{}", self.seed)
    }

    /// How long so many bytes take.
    pub fn time(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.pace as f64)
    }
}

/// Talks to one node.
#[derive(Clone, Debug)]
pub struct Client {
    host: Host,
    node: Ipv4Addr,
}

impl Client {
    /// Talks to the node of this host over its loopback, which no cut affects.
    pub fn new(host: &Host) -> Self {
        Self::of(host, Ipv4Addr::LOCALHOST)
    }

    /// Talks from this host to the node with this address.
    pub fn of(host: &Host, node: Ipv4Addr) -> Self {
        let host = host.clone();
        Self { host, node }
    }

    /// Returns how many nodes have it.
    pub async fn put(&self, content: Content) -> anyhow::Result<u32> {
        let begun = Instant::now();
        let parts = stream::unfold(0, move |number| async move {
            let (object, data) = (content.name(), content.piece(number)?);
            sleep_until(begun + content.time(number * PIECE)).await;
            Some((Part { object, data }, number + 1))
        });
        let stored = self.node().await?.put(parts).await?;
        Ok(stored.into_inner().nodes)
    }

    /// Fails if it is not what was written.
    pub async fn get(&self, content: Content) -> anyhow::Result<()> {
        let name = content.name();
        let parts = self.node().await?.get(Name { name }).await?;
        let mut parts = parts.into_inner();
        let (begun, mut pieces) = (Instant::now(), 0);
        while let Some(part) = parts.message().await? {
            let same = content
                .piece(pieces)
                .is_some_and(|piece| piece == part.data);
            ensure!(same, "its piece {pieces} is altered");
            pieces += 1;
            sleep_until(begun + content.time(pieces * PIECE)).await;
        }
        let all = content.piece(pieces).is_none();
        ensure!(all, "it ends after {pieces} pieces");
        Ok(())
    }

    /// Asks whether the node is ready, and returns how many nodes answer it.
    pub async fn ready(&self) -> anyhow::Result<u32> {
        let ready = self.node().await?.ready(Empty {}).await?;
        Ok(ready.into_inner().nodes)
    }

    /// A connection of its own for each operation: none waits behind another.
    pub async fn node(&self) -> anyhow::Result<StoreClient<Channel>> {
        let (host, node) = (self.host.clone(), self.node);
        let connector = tower::service_fn(move |_| std::future::ready(connect(&host, node)));
        // The connector decides where it goes; the URI only has to parse.
        let endpoint = Endpoint::from_static("http://node").initial_stream_window_size(WINDOW);
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.with_context(|| format!("no node on {}", self.host.name()))?;
        Ok(StoreClient::new(channel))
    }
}

fn connect(host: &Host, node: Ipv4Addr) -> std::io::Result<TokioIo<tokio::net::TcpStream>> {
    let connect = || TcpStream::connect((node, PEER_PORT));
    let stream = host.within(connect).map_err(std::io::Error::other)??;
    stream.set_nonblocking(true)?;
    Ok(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
}
