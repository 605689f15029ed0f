//! Destroys the sockets of a dead peer, and stalled ones of a living peer, so that whatever is
//! blocked on them returns.
//!
//! ```text
//!   driver ─ request ─▶ one waiting request a peer ─▶ thread ─ SocketsDestroyed ─▶ driver
//!                                                      │ look, destroy ≤ 256, look, …
//!                                                      ▼
//!                                               netlink::sock_diag
//! ```
//!
//! This cannot be taken back, so the thread looks for itself before each batch, and asks
//! whether it is still wanted. Should any socket with a dead peer's addresses have heard
//! something since, all that are left are spared (`rule`); of stalled ones, each that goes on
//! is. A peer is one host, so a socket of it in any watched network namespace speaks for
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

use std::{collections::HashSet, convert::Infallible, io, net::IpAddr};

use thiserror::Error;
use tracing::{debug, warn};

pub use self::proof::{ProofError, prove};
use self::work::{Wish, Worker};
use crate::{
    clock,
    core::{Bounds, Destroyed, PeerName, Signal, Spare, Teardown},
    netlink::sock_diag::{Everywhere, SockDiagError},
    netns::Namespaces,
    pending::Pending,
    signals::SignalSender,
    worker::{Inbox, Worker as Thread},
};

type Requests = Pending<(PeerName, IpAddr), Teardown>;

/// Why nothing can be destroyed.
#[derive(Debug, Error)]
pub enum DestroyerError {
    #[error(transparent)]
    SockDiag(#[from] SockDiagError),
    #[error("cannot start the thread that destroys sockets: {0}")]
    Thread(#[source] io::Error),
}

/// A thread that destroys the sockets it is asked to. Stops when dropped, between two
/// batches.
#[derive(Debug)]
pub struct Destroyer {
    thread: Thread<Requests>,
    signals: SignalSender,
}

impl Destroyer {
    /// Starts the thread, which reaches the sockets of the caller's network namespace and of
    /// the watched ones. Requests are answered on `signals` with [`Signal::SocketsDestroyed`].
    pub fn spawn(
        signals: SignalSender,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> Result<Self, DestroyerError> {
        let everywhere = Everywhere::open(namespaces)?;
        let (inbox, answers) = (Inbox::new(Pending::new(bounds)), signals.clone());
        let thread = Thread::essential("sock-destroy", &signals, inbox, move |requests| {
            run(everywhere, requests, &answers);
            Ok::<_, Infallible>(())
        });
        Ok(Self {
            thread: thread.map_err(DestroyerError::Thread)?,
            signals,
        })
    }

    /// Asks for sockets of a peer to be destroyed. Never blocks. A newer generation replaces
    /// an older one that still waits and is then never answered; more stalled flows of the
    /// same generation are answered with those that wait; one peer too many is answered as
    /// failed at once.
    pub fn request(&self, request: Teardown) {
        let put = |pending: &mut Requests| Some((put(pending, request)?, pending.most()));
        let Some((refused, most)) = self.thread.inbox().put(put) else {
            return;
        };
        warn!(
            peer = %refused.peer,
            "{most} peers wait for their sockets to be destroyed; this one's are not"
        );
        let failed = count(refused.sockets.len());
        self.answer_now(&refused, Destroyed { failed, ..NONE });
    }

    /// Calls off what was asked for of this peer. Never blocks. What waits is answered as
    /// spared; what is under way ends within a batch, and then is answered.
    pub fn call_off(&self, peer: PeerName, addr: IpAddr) {
        let waiting = |pending: &mut Requests| pending.call_off(&(peer, addr));
        if let Some(waiting) = self.thread.inbox().take(waiting) {
            let spared = count(waiting.sockets.len());
            self.answer_now(&waiting, Destroyed { spared, ..NONE });
        }
    }

    fn answer_now(&self, request: &Teardown, result: Destroyed) {
        self.signals.offer(answer(request, result));
    }
}

const NONE: Destroyed = Destroyed {
    destroyed: 0,
    spared: 0,
    gone: 0,
    failed: 0,
};

fn answer(request: &Teardown, result: Destroyed) -> Signal {
    Signal::SocketsDestroyed {
        at: clock::now(),
        peer: request.peer.clone(),
        addr: request.addr,
        generation: request.generation,
        result,
    }
}

/// Queues a request. Gives it back when there is no room for it.
fn put(pending: &mut Requests, request: Teardown) -> Option<Teardown> {
    let key = (request.peer.clone(), request.addr);
    pending.put(&key, request, merge)
}

fn merge(waiting: &mut Teardown, request: Teardown) {
    let (peer, generation) = (&request.peer, request.generation);
    if waiting.generation > generation {
        let waiting = waiting.generation;
        debug!(%peer, generation, waiting, "an older request came late and is dropped");
    } else if waiting.generation == generation
        && (waiting.spare, request.spare) == (Spare::Progressed, Spare::Progressed)
    {
        let known: HashSet<u64> = waiting.sockets.iter().map(|(_, cookie)| *cookie).collect();
        let new = request.sockets.into_iter();
        waiting
            .sockets
            .extend(new.filter(|(_, cookie)| !known.contains(cookie)));
    } else {
        *waiting = request;
    }
}

fn run(mut everywhere: Everywhere, requests: &Inbox<Requests>, answers: &SignalSender) {
    let mut worker = Worker::default();
    while let Some(request) = requests.wait(Pending::take_first) {
        let mut tables = everywhere.tables();
        let Some(result) = worker.carry_out(&mut tables, &request, || wish(requests)) else {
            return;
        };
        if answers.blocking_send(answer(&request, result)).is_err() {
            debug!("nobody takes the answers any more");
            return;
        }
    }
}

fn wish(requests: &Inbox<Requests>) -> Wish {
    let is_called_off = requests.take(|pending| pending.is_called_off());
    match (requests.is_stopped(), is_called_off) {
        (true, _) => Wish::Stop,
        (false, true) => Wish::CallOff,
        (false, false) => Wish::GoOn,
    }
}

fn count(sockets: usize) -> u32 {
    u32::try_from(sockets).unwrap_or(u32::MAX)
}
