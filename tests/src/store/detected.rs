//! The same with `detector-api`: what a maintainer would add.
//!
//! Nothing that [`Today`] has is taken away: its time-outs stay for what no detector knows, and are
//! all there is while no daemon answers. What is added is
//!
//! - one cache for all spellings of a peer, whose connections go when the peer goes down, and
//!   what is in flight on them with it ([`ConnectionCache`]);
//! - the same for the pools of the shards, one a peer;
//! - no call at all to a peer that is known to be down;
//! - deadlines by the kind of call, and a word to the daemon on how each went, for which nobody
//!   waits ([`Caller`]).

use std::{convert::Infallible, error::Error, future::Future, sync::Arc};

use detector_api::{
    ConnectionCache, ConnectionError, Interrupted, PeerDown, PeerStates, PeerWatch, Refused,
    policy::{CallError, CallFailure, Caller, Policies},
    v1::{Breaker, Operation, Outcome},
};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tonic::{Response, Status, transport::Channel};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::{
    today::{self, ShardClient, Today, grid_host},
    wires::{Class, Control, Failure, Incoming, Outgoing, Shown},
};

#[derive(Debug)]
pub struct Detected {
    today: Arc<Today>,
    _watch: PeerWatch,
    states: PeerStates,
    caller: Caller,
    channels: ConnectionCache<Channel>,
    pools: ConnectionCache<ShardClient>,
    returns: Vec<JoinHandle<()>>,
}

impl Detected {
    pub fn new(socket: &str, today: Today, peers: &[String]) -> Self {
        let watch = PeerWatch::start(socket);
        let (today, states) = (Arc::new(today), watch.states());
        Self {
            caller: Caller::new(states.clone(), watch.reporter(), Policies::default()),
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
        let asked = self.caller.to(key, operation(class));
        let ended = asked.once(self.on_connection(key, &call)).await;
        let ended = ended.map_err(|error| of_call(grid_host(key), error));
        self.note(class, key, ended.as_ref().err());
        ended.map(Response::into_inner)
    }

    /// One connection for each spelling, all of them the peer's.
    async fn on_connection<T, F>(
        &self,
        key: &str,
        call: &impl Fn(Control) -> F,
    ) -> Result<Response<T>, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let to = key.to_owned();
        let dial = move || async move { today::dial(&to).await };
        let dialled = self.channels.get_or_connect(key, dial).await;
        let connection = dialled.map_err(|error| of_dial(&error))?;
        let answer = call(Control::new(BoxCloneSyncService::new(connection.service()))).await;
        answer.map_err(|status| of_status(grid_host(key), &status))
    }

    pub async fn transfer(
        &self,
        peer: &str,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        let pool = || Ok::<_, Infallible>(today::shard_client());
        let dialled = self.pools.get_or_make(peer, pool).await;
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
        let call = &call;
        let ask = |peer: String| async move { self.on_connection(&peer, call).await };
        let answers = self.caller.fan_out(peers, Operation::Console, ask).await;
        let shown = answers.into_iter().map(|answer| match answer.result {
            Ok(info) => (answer.peer, Shown::Online(info.into_inner())),
            Err(error) => {
                let why = of_call(&answer.peer, error).to_string();
                (answer.peer, Shown::Offline(why))
            }
        });
        shown.collect()
    }

    pub fn drives_are_off(&self, peer: &str) -> Option<Failure> {
        let down = self.states.peer(peer).down();
        down.map(|down| Failure::Down(down.to_string()))
            .or_else(|| self.today.drives_are_off(peer))
    }

    pub fn is_down(&self, peer: &str) -> bool {
        self.states.get(peer).breaker == Breaker::Open
    }

    fn note(&self, class: Class, key: &str, failure: Option<&Failure>) {
        self.today.note(class, key, failure);
        if failure.is_some_and(Failure::is_evidence) {
            self.channels.evict_connection(key);
        }
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

impl CallFailure for Failure {
    fn outcome(&self) -> Outcome {
        match self {
            Self::TimedOut { .. } => Outcome::TimedOut,
            Self::Refused { .. } => Outcome::Refused,
            Self::Unreachable { .. } | Self::Down(_) | Self::Offline { .. } => Outcome::Unreachable,
        }
    }

    fn is_of_breaker(&self) -> bool {
        matches!(self, Self::Down(_))
    }
}

fn of_call(peer: &str, error: CallError<Failure>) -> Failure {
    match error {
        CallError::Down(down) => Failure::Down(down.to_string()),
        CallError::TimedOut { limit } => Failure::TimedOut {
            peer: peer.to_owned(),
            within: limit,
        },
        CallError::Failed(failure) => failure,
    }
}

fn operation(class: Class) -> Operation {
    match class {
        Class::Control => Operation::Control,
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
