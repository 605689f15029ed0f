//! Destroys the sockets of a dead peer, so that whatever is blocked on them returns.
//!
//! ```text
//!   driver ─ request ─▶ one waiting request a peer ─▶ thread ─ SocketsDestroyed ─▶ driver
//!                                                      │ look, destroy ≤ 256, look, …
//!                                                      ▼
//!                                               netlink::sock_diag
//! ```
//!
//! This cannot be taken back, so the thread looks for itself before each batch: should any
//! socket with the peer's addresses have heard something since, all that are left are spared
//! ([`rule`]). A peer is one host, so a socket of it in any watched network namespace speaks for
//! those in the others; each is destroyed in its own. A namespace that cannot be read keeps its
//! sockets, and no others.
//!
//! That look is one dump, and not a question for each socket just before it goes. The dump
//! costs 0.3 ms more and then the same 1.3 µs a socket (6.18; to destroy one takes 13 to
//! 50 µs), and it also shows the sockets that were not to be destroyed and gives each its
//! exact name. A question would come 5 ms later at best, which is the resolution of the
//! answer: the kernel dates what it heard by the jiffy.

mod proof;
mod rule;
#[cfg(test)]
mod tests;
mod work;

use std::{io, sync::Arc, thread};

use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

pub use self::proof::{ProofError, prove};
use self::work::Worker;
use crate::{
    clock,
    core::{Bounds, Destroyed, FlowId, PeerName, Signal, Time},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::Namespaces,
    pending::Pending,
};

/// Why nothing can be destroyed.
#[derive(Debug, Error)]
pub enum DestroyerError {
    #[error(transparent)]
    SockDiag(#[from] SockDiagError),
    #[error("cannot start the thread that destroys sockets: {0}")]
    Thread(#[source] io::Error),
}

/// What is to be destroyed: the payload of
/// [`Effect::DestroySockets`](crate::core::Effect::DestroySockets).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub peer: PeerName,
    pub generation: u64,
    /// Each socket is destroyed only if it has heard nothing since.
    pub silent_since: Time,
    /// Each flow with the cookie of its socket.
    pub sockets: Vec<(FlowId, u64)>,
}

impl Request {
    fn answer(&self, result: Destroyed) -> Signal {
        Signal::SocketsDestroyed {
            at: clock::now(),
            peer: self.peer.clone(),
            generation: self.generation,
            result,
        }
    }

    /// The answer when nothing was tried.
    fn all_failed(&self) -> Signal {
        self.answer(Destroyed {
            failed: count(self.sockets.len()),
            ..Destroyed::default()
        })
    }
}

/// A thread that destroys the sockets it is asked to. Stops when dropped, between two
/// batches.
#[derive(Debug)]
pub struct Destroyer {
    pending: Arc<Pending<Request>>,
    signals: Sender<Signal>,
}

impl Destroyer {
    /// Starts the thread, which reaches the sockets of the caller's network namespace and of
    /// the watched ones. Requests are answered on `signals` with [`Signal::SocketsDestroyed`].
    pub fn spawn(
        signals: Sender<Signal>,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> Result<Self, DestroyerError> {
        let everywhere = Everywhere::open(namespaces)?;
        let pending = Arc::new(Pending::new(bounds));
        let (queue, answers) = (Arc::clone(&pending), signals.clone());
        thread::Builder::new()
            .name("sock-destroy".into())
            .spawn(move || run(everywhere, &queue, &answers))
            .map_err(DestroyerError::Thread)?;
        Ok(Self { pending, signals })
    }

    /// Asks for a peer's sockets to be destroyed. Never blocks. A newer generation replaces
    /// an older one that still waits and is then never answered; one peer too many is
    /// answered as failed at once.
    pub fn request(&self, request: Request) {
        let Some(refused) = put(&self.pending, request) else {
            return;
        };
        warn!(
            peer = %refused.peer,
            "{} peers wait for their sockets to be destroyed; this one's are not",
            self.pending.most()
        );
        if let Err(error) = self.signals.try_send(refused.all_failed()) {
            warn!(%error, "an answer about destroyed sockets was lost");
        }
    }
}

impl Drop for Destroyer {
    fn drop(&mut self) {
        self.pending.stop();
    }
}

/// Queues a request. A newer generation replaces an older one. Gives the request back when
/// there is no room for it.
fn put(pending: &Pending<Request>, request: Request) -> Option<Request> {
    let (peer, generation) = (request.peer.clone(), request.generation);
    pending.put(&peer, request, |waiting| {
        let is_late = waiting.generation > generation;
        if is_late {
            let waiting = waiting.generation;
            debug!(%peer, generation, waiting, "an older request came late and is dropped");
        }
        is_late
    })
}

fn run(mut everywhere: Everywhere, pending: &Pending<Request>, answers: &Sender<Signal>) {
    let mut worker = Worker::default();
    while let Some(request) = pending.take_first() {
        let mut tables = everywhere.tables();
        let Some(result) = worker.carry_out(&mut tables, &request, || pending.is_stopped()) else {
            return;
        };
        if answers.blocking_send(request.answer(result)).is_err() {
            debug!("nobody takes the answers any more");
            return;
        }
    }
}

fn count(sockets: usize) -> u32 {
    u32::try_from(sockets).unwrap_or(u32::MAX)
}
