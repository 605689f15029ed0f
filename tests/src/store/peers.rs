//! How a node calls the others, with a detector and as RustFS does today.
//!
//! RustFS's own part is always there: connect and PING time-outs ([`Profile`]), a limit for each
//! kind of call, and a register of the peers whose drives are offline. With a detector, the states
//! of the peers are watched as well. Then the same connections and calls of `detector-api`
//!
//! - make no call to a peer that is down, and end what is in flight to it when it goes down;
//! - drop a peer's connections, under all its spellings, when it goes down;
//! - have the deadlines of RustFS's power-off work ([`Policies`]), and report how calls went.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use detector_api::{
    ConnectionCache, PeerChannel, PeerStates, PeerWatch, Profile, Reporter,
    policy::{CallError, CallFailure as _, Caller, Policies},
    v1::{Operation, Outcome},
};
use futures_util::future::join_all;
use tokio::time::sleep;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint, Error},
};

use super::proto::store_client::StoreClient;

/// A peer's drives are offline after so many failures in a row, and it is asked again this often.
const FAILURES: u32 = 3;
const REPROBE_EVERY: Duration = Duration::from_secs(5);
/// A download is not in buffers when its source is cut off.
pub const WINDOW: u32 = 256 << 10;

pub type Remote = StoreClient<PeerChannel<Channel>>;
pub type Failure = CallError<Status>;

#[derive(Debug)]
pub struct Peers {
    nodes: Vec<String>,
    caller: Caller,
    connections: ConnectionCache<Channel>,
    failures: Mutex<HashMap<String, u32>>,
    _watch: Option<PeerWatch>,
}

/// Today the read of a user has no limit of its own.
fn of_today() -> Policies {
    let policies = Policies::default();
    Policies {
        iam_read: policies.control,
        ..policies
    }
}

impl Peers {
    /// All nodes, the caller among them. Without a socket, nobody watches them.
    pub fn new(nodes: Vec<String>, socket: Option<&str>) -> Arc<Self> {
        let watch = socket.map(PeerWatch::start);
        let (states, reporter, policies) = match &watch {
            Some(watch) => (watch.states(), watch.reporter(), Policies::default()),
            None => (PeerStates::unwatched(), Reporter::disabled(), of_today()),
        };
        let peers = Arc::new(Self {
            nodes,
            caller: Caller::new(states.clone(), reporter, policies),
            connections: ConnectionCache::new(states),
            failures: Mutex::default(),
            _watch: watch,
        });
        tokio::spawn(peers.clone().reprobe());
        peers
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn all(&self) -> Vec<usize> {
        (0..self.nodes()).collect()
    }

    /// One call to the node of this number. The answer of a transfer is its beginning.
    pub async fn call<T, F>(
        &self,
        node: usize,
        operation: Operation,
        call: impl FnOnce(Remote) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let peer = &self.nodes[node];
        if uses_drives(operation) && self.is_offline(peer) {
            let text = format!("{peer} is marked offline; it is asked again every 5 s");
            return Err(CallError::Failed(Status::unavailable(text)));
        }
        let (key, profile) = kind(peer, operation);
        let asked = async {
            let to = peer.clone();
            let connection = self
                .connections
                .get_or_connect(&key, move || dial(to, profile));
            let connection = connection.await;
            let connection = connection.map_err(|error| Status::from_error(error.into()))?;
            call(StoreClient::new(connection.service())).await
        };
        let ended = self.caller.to(peer, operation).once(asked).await;
        self.note(peer, operation, ended.as_ref().err());
        ended.map(Response::into_inner)
    }

    /// Calls these nodes at once, and waits for every one of them, as RustFS does.
    pub async fn call_all<T, F>(
        &self,
        nodes: Vec<usize>,
        operation: Operation,
        call: impl Fn(usize, Remote) -> F,
    ) -> Vec<(usize, Result<T, Failure>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let call = &call;
        let asked = nodes.into_iter().map(|node| async move {
            let answer = self.call(node, operation, |remote| call(node, remote));
            (node, answer.await)
        });
        join_all(asked).await
    }

    /// What an ended call says of its peer.
    fn note(&self, peer: &str, operation: Operation, failure: Option<&Failure>) {
        let answered = answered(failure);
        if answered == Some(false) {
            self.connections.evict_connection(peer);
        }
        if uses_drives(operation) {
            match answered {
                Some(false) => *self.failures().entry(peer.to_owned()).or_default() += 1,
                Some(true) => _ = self.failures().remove(peer),
                None => {}
            }
        }
    }

    /// Asks the peers that are offline whether they are back, for ever.
    async fn reprobe(self: Arc<Self>) {
        loop {
            sleep(REPROBE_EVERY).await;
            for peer in self.nodes.iter().filter(|peer| self.is_offline(peer)) {
                if dial(peer.clone(), Profile::Control).await.is_ok() {
                    self.failures().remove(peer);
                }
            }
        }
    }

    fn is_offline(&self, peer: &str) -> bool {
        self.failures().get(peer).is_some_and(|n| *n >= FAILURES)
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uses_drives(operation: Operation) -> bool {
    !matches!(operation, Operation::Lock | Operation::Console)
}

/// The key and the settings of the connection that a call uses. RustFS spells one peer in several
/// ways: a lock names it by the path of a disk.
fn kind(peer: &str, operation: Operation) -> (String, Profile) {
    match operation {
        Operation::Bulk => (format!("{peer}\0bulk\x000"), Profile::Bulk),
        Operation::Lock => (format!("{peer}/data/drive0"), Profile::Control),
        _ => (peer.to_owned(), Profile::Control),
    }
}

async fn dial(peer: String, profile: Profile) -> Result<Channel, Error> {
    let settings = profile.settings();
    let endpoint = settings.endpoint(Endpoint::new(peer)?);
    let endpoint = endpoint.initial_stream_window_size(WINDOW);
    endpoint.connect_with_connector(settings.connector()).await
}

/// Whether the peer answered. A call that the detector ended, or kept from being made, does not
/// tell.
fn answered(failure: Option<&Failure>) -> Option<bool> {
    match failure {
        None => Some(true),
        Some(CallError::TimedOut { .. }) => Some(false),
        Some(CallError::Failed(status)) if !status.is_of_breaker() => {
            Some(status.outcome() == Outcome::Refused)
        }
        _ => None,
    }
}
