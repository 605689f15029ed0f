//! The same with `detector-api`: what a maintainer would add.
//!
//! Nothing that [`Today`] has is taken away: its time-outs stay for what no detector knows, and are
//! all there is while no daemon answers. What is added is
//!
//! - one cache for all spellings of a peer, whose connections go when the peer goes down, and
//!   what is in flight on them with it ([`ConnectionCache`]);
//! - the same for the pools of the shards, one a peer;
//! - no call at all to a peer that is known to be down;
//! - a word to the daemon on how each call went, for which nobody waits ([`Reporter`]).

use std::{convert::Infallible, error::Error, future::Future, sync::Arc};

use detector_api::{
    ConnectionCache, ConnectionError, Interrupted, PeerDown, PeerStates, PeerWatch, Refused,
    Report, Reporter,
    v1::{Breaker, Operation, Outcome},
};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Response, Status, transport::Channel};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::{
    today::{self, ShardClient, Today, grid_host},
    wires::{Class, Control, Failure, Incoming, Outgoing, Shown},
};
use crate::clock;

#[derive(Debug)]
pub struct Detected {
    today: Arc<Today>,
    _watch: PeerWatch,
    states: PeerStates,
    reporter: Reporter,
    channels: ConnectionCache<Channel>,
    pools: ConnectionCache<ShardClient>,
    returns: Vec<JoinHandle<()>>,
}

impl Detected {
    pub fn new(socket: &str, today: Today, peers: &[String]) -> Self {
        let watch = PeerWatch::start(socket);
        let (today, states) = (Arc::new(today), watch.states());
        Self {
            reporter: watch.reporter(),
            channels: ConnectionCache::new(states.clone()),
            pools: ConnectionCache::new(states.clone()),
            returns: peers
                .iter()
                .map(|peer| tokio::spawn(forgive(states.clone(), today.clone(), peer.clone())))
                .collect(),
            states,
            today,
            _watch: watch,
        }
    }

    pub fn today(&self) -> &Arc<Today> {
        &self.today
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
        let (peer, within) = (grid_host(key), today::limit(class));
        let begun = clock::now_ns();
        let asked = timeout(within, async {
            let to = key.to_owned();
            let dial = move || async move { today::dial(&to).await };
            let dialled = self.channels.get_or_connect(key, dial).await;
            let connection = dialled.map_err(|error| of_dial(&error))?;
            let answer = call(Control::new(BoxCloneSyncService::new(connection.service()))).await;
            answer.map_err(|status| of_status(peer, &status))
        });
        let ended = asked.await.unwrap_or_else(|_| {
            Err(Failure::TimedOut {
                peer: peer.to_owned(),
                within,
            })
        });
        self.note(class, peer, begun, ended.as_ref().err());
        ended.map(Response::into_inner)
    }

    pub async fn transfer(
        &self,
        peer: &str,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        let pool = || async { Ok::<_, Infallible>(today::shard_client()) };
        let dialled = self.pools.get_or_connect(peer, pool).await;
        let connection = dialled.map_err(|error| of_dial(&error))?;
        let failure = match connection.http().oneshot(request).await {
            Ok(response) => {
                return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            Err(Interrupted::Failed(error)) => Failure::unreachable(peer, &error),
            Err(interrupted) => Failure::Down(super::wires::chain(&interrupted)),
        };
        self.today.note(Class::Control, peer, Some(&failure));
        Err(failure)
    }

    /// Who is known to be down is shown so, and not asked.
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
        let down = self.states.peer(peer).down();
        down.map(|down| Failure::Down(down.to_string()))
            .or_else(|| self.today.drives_are_off(peer))
    }

    pub fn is_down(&self, peer: &str) -> bool {
        self.states.get(peer).breaker == Breaker::Open
    }

    /// The store's own register, and the daemon's: neither makes anybody wait.
    fn note(&self, class: Class, peer: &str, begun_ns: u64, failure: Option<&Failure>) {
        self.today.note(class, peer, failure);
        if failure.is_some_and(Failure::is_evidence) {
            self.channels.evict_connection(peer);
        }
        let Some(outcome) = outcome(failure) else {
            return;
        };
        let duration = clock::between(begun_ns, clock::now_ns());
        self.reporter.report(Report {
            peer,
            ..Report::new(operation(class), outcome, duration)
        });
    }
}

impl Drop for Detected {
    fn drop(&mut self) {
        self.returns.iter().for_each(JoinHandle::abort);
    }
}

/// A peer that comes back has failed no more: its drives are not kept offline until the next
/// time that somebody asks.
async fn forgive(states: PeerStates, today: Arc<Today>, peer: String) {
    let watched = states.peer(&peer);
    loop {
        watched.until_down().await;
        watched
            .until(|state| state.breaker == Breaker::Closed)
            .await;
        today.forgive(&peer);
    }
}

/// A call that was not made is told to nobody.
fn outcome(failure: Option<&Failure>) -> Option<Outcome> {
    Some(match failure {
        None => Outcome::Succeeded,
        Some(Failure::TimedOut { .. }) => Outcome::TimedOut,
        Some(Failure::Unreachable { .. }) => Outcome::Unreachable,
        Some(Failure::Refused { .. }) => Outcome::Refused,
        Some(Failure::Down(_) | Failure::Offline { .. }) => return None,
    })
}

fn operation(class: Class) -> Operation {
    match class {
        Class::Control => Operation::Control,
        Class::DriveState => Operation::DiskState,
        Class::IamRead => Operation::IamRead,
        Class::Console => Operation::Console,
        Class::Lock => Operation::Lock,
    }
}

fn of_dial(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::Dial { key, .. } => error
            .dial_error::<Failure>()
            .cloned()
            .unwrap_or_else(|| Failure::unreachable(grid_host(key), error)),
        _ => Failure::Down(super::wires::chain(error)),
    }
}

fn of_status(peer: &str, status: &Status) -> Failure {
    let is_ours = PeerDown::from_status(status).is_some()
        || status.source().is_some_and(|source| source.is::<Refused>());
    match is_ours {
        true => Failure::Down(status.message().to_owned()),
        false => Failure::of_status(peer, status),
    }
}
