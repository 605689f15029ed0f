//! How RustFS calls its peers today: its caches, its time-outs, its register of offline peers.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::wires::{Class, Control, ControlService, Failure, Incoming, Outgoing, Shown};

/// gRPC: connect, TCP keepalive, HTTP/2 PING and its answer, a whole call.
pub const CONNECT: Duration = Duration::from_secs(3);
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(20);
const RPC: Duration = Duration::from_secs(30);
const LOCK_RPC: Duration = Duration::from_secs(3);
const CONSOLE_PEER: Duration = Duration::from_secs(2);
/// Shards: connect, TCP keepalive (10 s, then 3 times 15 s), TCP_USER_TIMEOUT.
const SHARD_CONNECT: Duration = Duration::from_secs(5);
const SHARD_KEEPALIVE: Duration = Duration::from_secs(10);
const SHARD_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const SHARD_KEEPALIVE_RETRIES: u32 = 3;
const SHARD_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a transfer of shards may stand still.
pub const READ_STALL: Duration = Duration::from_secs(10);
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// A peer's drives are offline after so many failures in a row, and asked again this often.
const FAILURES: u32 = 3;
const REPROBE_EVERY: Duration = Duration::from_secs(5);

pub type ShardClient = Client<HttpConnector, Outgoing>;

#[derive(Debug)]
pub struct Today {
    /// By the caller's spelling: one peer has several channels, and each is evicted alone.
    channels: RwLock<HashMap<String, Channel>>,
    shards: ShardClient,
    register: Register,
}

impl Today {
    pub fn new(peers: &[String]) -> Self {
        Self {
            channels: RwLock::default(),
            shards: shard_client(),
            register: Register::new(peers),
        }
    }

    pub async fn call<T, F>(
        &self,
        class: Class,
        key: &str,
        call: impl Fn(Control) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let peer = grid_host(key);
        let within = limit(class);
        let asked = timeout(within, async {
            let channel = self.channel(key).await?;
            let answer = call(Control::new(boxed(channel))).await;
            answer.map_err(|status| Failure::of_status(peer, &status))
        });
        let ended = asked.await.unwrap_or_else(|_| {
            Err(Failure::TimedOut {
                peer: peer.to_owned(),
                within,
            })
        });
        self.note(class, key, ended.as_ref().err());
        ended.map(Response::into_inner)
    }

    pub async fn transfer(
        &self,
        peer: &str,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        match self.shards.request(request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(error) => {
                let failure = Failure::unreachable(peer, &error);
                self.register.note(peer, Some(&failure));
                Err(failure)
            }
        }
    }

    pub async fn ask_all<T, F>(
        &self,
        peers: &[String],
        call: impl Fn(Control) -> F,
    ) -> Vec<(String, Shown<T>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let asked = peers.iter().map(async |peer| {
            let shown = match self.call(Class::Console, peer, &call).await {
                Ok(info) => Shown::Online(info),
                Err(failure) => Shown::Offline(failure.to_string()),
            };
            (peer.clone(), shown)
        });
        join_all(asked).await
    }

    pub fn drives_are_off(&self, peer: &str) -> Option<Failure> {
        self.register.is_offline(peer).then(|| Failure::Offline {
            peer: peer.to_owned(),
        })
    }

    /// What an ended call says of its peer: the channel is evicted, and what the drives were
    /// asked counts in the register.
    pub fn note(&self, class: Class, key: &str, failure: Option<&Failure>) {
        if failure.is_some_and(Failure::is_evidence) {
            self.evict_connection(key);
        }
        if !matches!(class, Class::Lock | Class::Console) {
            self.register.note(grid_host(key), failure);
        }
    }

    /// Its drives are not offline, whatever was counted.
    pub fn forgive(&self, peer: &str) {
        self.register.note(peer, None);
    }

    async fn channel(&self, key: &str) -> Result<Channel, Failure> {
        if let Some(channel) = self.cached_connection(key) {
            return Ok(channel);
        }
        let channel = dial(key).await?;
        let mut channels = self
            .channels
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        channels.insert(key.to_owned(), channel.clone());
        Ok(channel)
    }

    fn cached_connection(&self, key: &str) -> Option<Channel> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        channels.get(key).cloned()
    }

    fn evict_connection(&self, key: &str) {
        let mut channels = self
            .channels
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        channels.remove(key);
    }

    /// Asks the peers that are offline whether they are back, for ever.
    pub async fn reprobe(&self) {
        loop {
            tokio::time::sleep(REPROBE_EVERY).await;
            for peer in self.register.offline() {
                if dial(&peer).await.is_ok() {
                    self.register.note(&peer, None);
                }
            }
        }
    }
}

/// How long a call of this class may take, its dial included.
pub fn limit(class: Class) -> Duration {
    match class {
        Class::Lock => LOCK_RPC,
        Class::Console => CONSOLE_PEER,
        Class::Control | Class::IamRead => RPC,
    }
}

/// Scheme, host and port of any spelling.
pub fn grid_host(key: &str) -> &str {
    let authority = key.find("://").map_or(0, |scheme| scheme + 3);
    let end = key[authority..]
        .find('/')
        .map_or(key.len(), |n| authority + n);
    &key[..end]
}

/// A gRPC connection with RustFS's settings.
fn endpoint(key: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::new(key.to_owned())?
        .connect_timeout(CONNECT)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWERED_WITHIN)
        .keep_alive_while_idle(true)
        .timeout(RPC))
}

pub async fn dial(key: &str) -> Result<Channel, Failure> {
    let failed = |error: tonic::transport::Error| Failure::unreachable(grid_host(key), &error);
    endpoint(key)
        .map_err(failed)?
        .connect()
        .await
        .map_err(failed)
}

/// The HTTP/1.1 client of the shards, with RustFS's settings.
fn shard_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(SHARD_CONNECT));
    connector.set_keepalive(Some(SHARD_KEEPALIVE));
    connector.set_keepalive_interval(Some(SHARD_KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(SHARD_KEEPALIVE_RETRIES));
    connector.set_tcp_user_timeout(Some(SHARD_USER_TIMEOUT));
    connector.set_nodelay(true);
    connector
}

pub fn shard_client() -> ShardClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(shard_connector())
}

fn boxed(channel: Channel) -> ControlService {
    BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(error.into())))
}

/// Which peers' drives are offline.
#[derive(Debug)]
struct Register {
    failures: Mutex<HashMap<String, u32>>,
}

impl Register {
    fn new(peers: &[String]) -> Self {
        Self {
            failures: Mutex::new(peers.iter().map(|peer| (peer.clone(), 0)).collect()),
        }
    }

    fn note(&self, peer: &str, failure: Option<&Failure>) {
        let mut failures = self.failures();
        let Some(count) = failures.get_mut(peer) else {
            return;
        };
        match failure {
            Some(failure) if failure.is_evidence() => *count += 1,
            // Any answer will do.
            None | Some(Failure::Refused { .. }) => *count = 0,
            Some(_) => {}
        }
    }

    fn is_offline(&self, peer: &str) -> bool {
        self.failures().get(peer).is_some_and(|n| *n >= FAILURES)
    }

    fn offline(&self) -> Vec<String> {
        let failures = self.failures();
        let offline = failures.iter().filter(|(_, n)| **n >= FAILURES);
        offline.map(|(peer, _)| peer.clone()).collect()
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
