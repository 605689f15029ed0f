//! Destroys the sockets of a dead peer, and stalled sockets of a living peer, so that calls blocked
//! on them return.
//!
//! ```text
//!   driver ─ request ─▶ one waiting request a peer ─▶ thread ─ SocketsDestroyed ─▶ driver
//!                                                      │ snapshot, destroy ≤ 256, snapshot, …
//!                                                      ▼
//!                                               netlink::sock_diag
//! ```
//!
//! This cannot be undone. So before each batch the thread checks whether the request is still
//! wanted, and takes a socket snapshot of its own. If any socket with a dead peer's addresses has
//! heard something since the silence began, all remaining ones are spared (`rule`). After a death by
//! `sends_unanswered` arriving segments spare nothing: they were arriving all along. Of stalled
//! sockets, only those that make progress are spared. A peer is one host: a socket to it in any
//! watched network namespace counts for those in the others. Each socket is destroyed in its own
//! namespace. The sockets of a namespace that cannot be read are left alone; those of other
//! namespaces are not affected.
//!
//! The snapshot is one dump of the socket table instead of a query for each socket just before its
//! destruction: it also shows the peer's other sockets, and gives the exact name of each. The dump
//! costs 0.3 ms, and then 1.3 µs for each socket of the machine (on 6.18; to destroy one takes 13 to
//! 50 µs). When many peers die together, one dump serves several of them, and their sockets are
//! queried one by one (`shared`).

mod proof;
mod rule;
mod shared;
#[cfg(test)]
mod tests;
mod work;

use std::{collections::HashSet, convert::Infallible, net::IpAddr};

use tracing::{debug, warn};

pub use self::proof::{ProofError, prove};
use self::work::{Teardowns, Wish};
use crate::{
    clock,
    model::{Bounds, Destroyed, PeerName, Signal, Spare, Teardown},
    netlink::sock_diag::Everywhere,
    netns::Namespaces,
    pending::Pending,
    signals::SignalSender,
    worker::{Inbox, Worker},
};

type Requests = Pending<(PeerName, IpAddr), Teardown>;

/// A thread that destroys sockets on request. When this is dropped, the thread stops between two
/// batches.
#[derive(Debug)]
pub struct Destroyer {
    worker: Worker<Requests>,
    signals: SignalSender,
}

impl Destroyer {
    /// Starts the thread. It reaches the sockets of the caller's network namespace and of the
    /// watched ones. Requests are answered on `signals` with [`Signal::SocketsDestroyed`].
    pub fn spawn(
        signals: SignalSender,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> anyhow::Result<Self> {
        let everywhere = Everywhere::open(namespaces)?;
        let (inbox, answers) = (Inbox::new(Pending::new(bounds)), signals.clone());
        let worker = Worker::essential("sock-destroy", &signals, inbox, move |requests| {
            run(everywhere, requests, &answers);
            Ok::<_, Infallible>(())
        });
        Ok(Self {
            worker: worker?,
            signals,
        })
    }

    /// Requests the destruction of sockets of a peer. Never blocks. A request of a newer generation
    /// replaces a waiting older one, which is then never answered. Further stalled flows of the
    /// same generation join the waiting request and share its answer. If too many peers are
    /// waiting, the request is answered as failed at once.
    pub fn request(&self, request: Teardown) {
        let put = |pending: &mut Requests| Some((put(pending, request)?, pending.most()));
        let Some((refused, most)) = self.worker.inbox().put(put) else {
            return;
        };
        warn!(
            peer = %refused.peer,
            "{most} peers wait for their sockets to be destroyed; this one's are not"
        );
        let failed = count(refused.sockets.len());
        self.answer_now(&refused, Destroyed { failed, ..NONE });
    }

    /// Cancels what was requested for this peer. Never blocks. A waiting request is answered as
    /// spared. A running one ends after its current batch and is then answered.
    pub fn call_off(&self, peer: PeerName, addr: IpAddr) {
        let waiting = |pending: &mut Requests| pending.call_off(&(peer, addr));
        if let Some(waiting) = self.worker.inbox().take(waiting) {
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

/// Queues a request, or returns it if there is no room.
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
        && let (Spare::ProgressedSince(since), Spare::ProgressedSince(earlier)) =
            (waiting.spare, request.spare)
    {
        waiting.spare = Spare::ProgressedSince(since.min(earlier));
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
    let mut teardowns = Teardowns::default();
    while let Some(request) = requests.wait(Pending::take_first) {
        let mut tables = everywhere.tables();
        let next = requests.take(|pending| shared::next(pending.waiting()));
        let wish = || wish(requests);
        let Some(result) = teardowns.carry_out(&mut tables, &request, &next, wish) else {
            return;
        };
        if answers.blocking_send(answer(&request, result)).is_err() {
            debug!("the driver no longer takes answers");
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
