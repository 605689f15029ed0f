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
//! ([`rule`]).
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

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

pub use self::proof::{ProofError, prove};
use self::work::Worker;
use crate::{
    clock,
    core::{Destroyed, FlowId, PeerName, Signal, Time},
    netlink::sock_diag::{SockDiag, SockDiagError},
};

/// The most peers whose request can wait: as many as there can be peers, and some.
const MAX_PENDING: usize = 4096;

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
    shared: Arc<Shared>,
    signals: Sender<Signal>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    pending: BTreeMap<PeerName, Request>,
    stopped: bool,
}

impl Destroyer {
    /// Starts the thread, in the caller's network namespace: sockets of another one are not
    /// to be reached. Requests are answered on `signals` with [`Signal::SocketsDestroyed`].
    pub fn spawn(signals: Sender<Signal>) -> Result<Self, DestroyerError> {
        let worker = Worker::new(SockDiag::open()?);
        let shared = Arc::new(Shared::default());
        let (queue, answers) = (Arc::clone(&shared), signals.clone());
        thread::Builder::new()
            .name("sock-destroy".into())
            .spawn(move || run(worker, &queue, &answers))
            .map_err(DestroyerError::Thread)?;
        Ok(Self { shared, signals })
    }

    /// Asks for a peer's sockets to be destroyed. Never blocks. A newer generation replaces
    /// an older one that still waits and is then never answered; one peer too many is
    /// answered as failed at once.
    pub fn request(&self, request: Request) {
        let Some(refused) = self.shared.put(request) else {
            self.shared.changed.notify_one();
            return;
        };
        warn!(
            peer = %refused.peer,
            "{MAX_PENDING} peers wait for their sockets to be destroyed; this one's are not"
        );
        if let Err(error) = self.signals.try_send(refused.all_failed()) {
            warn!(%error, "an answer about destroyed sockets was lost");
        }
    }
}

impl Drop for Destroyer {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole after each statement under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the request back when there is no room for it.
    fn put(&self, request: Request) -> Option<Request> {
        let mut queue = self.lock();
        let is_full = queue.pending.len() >= MAX_PENDING;
        match queue.pending.get_mut(&request.peer) {
            Some(waiting) if waiting.generation <= request.generation => *waiting = request,
            Some(waiting) => debug!(
                peer = %request.peer,
                generation = request.generation,
                waiting = waiting.generation,
                "an older request came late and is dropped"
            ),
            None if is_full => return Some(request),
            None => {
                queue.pending.insert(request.peer.clone(), request);
            }
        }
        None
    }

    /// The next request, as soon as there is one; `None` when it is time to stop.
    fn take(&self) -> Option<Request> {
        let queue = self.lock();
        let mut queue = self
            .changed
            .wait_while(queue, |queue| queue.pending.is_empty() && !queue.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.stopped {
            return None;
        }
        queue.pending.pop_first().map(|(_, request)| request)
    }
}

fn run(mut worker: Worker<SockDiag>, queue: &Shared, answers: &Sender<Signal>) {
    while let Some(request) = queue.take() {
        let Some(result) = worker.carry_out(&request, || queue.lock().stopped) else {
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
