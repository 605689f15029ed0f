//! The daemon's own probes: is this host alive? A [`Prober`] carries out
//! [`Effect::Probe`](crate::core::Effect::Probe) and answers with [`Signal::Probe`].
//!
//! One thread sends and receives all of them. The answers themselves wake it, so that a probe's
//! times do not depend on how busy the loop is:
//!
//! ```text
//!   send() → queue → worker ─┬─ connect     a TCP connect, taken back before it is finished
//!                            ├─ keepalive   a keepalive segment on a flow that is there
//!                            └─ neighbour   an ARP request or a neighbour solicitation
//! ```
//!
//! Probes are sent from the network namespace of the thread that called [`Prober::start`], except
//! [`ProbeTarget::ConnectFrom`] and [`ProbeTarget::Flow`]: their sockets are made in the namespace
//! that they name, and keep it alive while they wait. A probe that is not answered in time is
//! forgotten. An error from this host or from a router ("no route", "unreachable") is never taken
//! for an answer.

mod connect;
mod keepalive;
mod neighbour;
mod refusal;
mod report;
mod waiting;
mod worker;

pub use self::{
    keepalive::{KeepaliveProofError, LEAST_SPACING, PLAIN_SPACING, prove as prove_keepalives},
    neighbour::Access,
};

use std::{
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        eventfd::{EfdFlags, EventFd},
    },
};
use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tracing::warn;

use self::worker::Worker;
use crate::{
    clock,
    core::{Bounds, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal},
    netns::Namespaces,
};

/// Why probes cannot be sent at all.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("cannot make an epoll instance for probes: {0}; is the limit of open files reached?")]
    Epoll(#[source] io::Error),
    #[error("cannot make an eventfd for probes: {0}; is the limit of open files reached?")]
    Wake(#[source] io::Error),
    #[error("cannot start the thread that sends probes: {0}")]
    Thread(#[source] io::Error),
}

/// Sends probes on a thread of its own. Dropping the prober ends the thread and every probe that
/// still waits.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    signals: Sender<Signal>,
}

/// One probe that should be sent.
#[derive(Clone, Copy, Debug)]
struct Order {
    probe: ProbeId,
    target: ProbeTarget,
    give_up_after: Duration,
}

/// The state that the thread and its owner share.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Written when something is queued; it is never read, each write is an edge.
    wake: EventFd,
    malformed: AtomicU64,
    /// The most probes that may wait for the thread, and the most of each kind that may wait for an
    /// answer. One more fails with `EAGAIN`.
    most: usize,
}

#[derive(Debug, Default)]
struct Queue {
    orders: Vec<Order>,
    stopped: bool,
}

impl Prober {
    /// Starts the thread, in the caller's network namespace; connects may also come from the
    /// watched ones. Sockets for neighbour probes are opened when the first one is sent.
    pub fn start(
        signals: Sender<Signal>,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> Result<Self, ProbeError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| ProbeError::Wake(errno.into()))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| ProbeError::Epoll(errno.into()))?;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll
            .add(&wake, EpollEvent::new(edge, worker::WAKE))
            .map_err(|errno| ProbeError::Epoll(errno.into()))?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake,
            malformed: AtomicU64::new(0),
            most: bounds.probes(),
        });
        let worker = Worker::new(epoll, Arc::clone(&shared), signals.clone(), namespaces);
        thread::Builder::new()
            .name("probe".into())
            .spawn(move || worker.run())
            .map_err(ProbeError::Thread)?;
        Ok(Self { shared, signals })
    }

    /// Sends a probe and reports what becomes of it. Never blocks: a probe beyond the limit fails.
    pub fn send(&self, probe: ProbeId, target: ProbeTarget, give_up_after: Duration) {
        let order = Order {
            probe,
            target,
            give_up_after,
        };
        let mut queue = self.shared.lock();
        let was_empty = queue.orders.is_empty();
        let is_full = queue.orders.len() >= self.shared.most;
        if !is_full {
            queue.orders.push(order);
        }
        drop(queue);
        if is_full {
            self.refuse(order);
        } else if was_empty {
            self.shared.wake();
        }
    }

    /// Answers to neighbour probes that could not be understood, since the start.
    pub fn malformed(&self) -> u64 {
        self.shared.malformed.load(Ordering::Relaxed)
    }

    fn refuse(&self, order: Order) {
        let failed = Signal::Probe(ProbeEvent {
            at: clock::now(),
            probe: order.probe,
            target: order.target,
            outcome: ProbeOutcome::Failed {
                errno: Errno::EAGAIN as u32,
            },
        });
        if self.signals.try_send(failed).is_err() {
            // A probe without `Sent` is no evidence: losing this signal costs only a count.
            let most = self.shared.most;
            warn!(target = %order.target, "{most} probes wait to be sent; this one is not");
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole after each statement under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // The one way to fail is a counter at its maximum, which wakes as well.
        let _ = self.wake.write(1);
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The probes that were queued since the last call.
    fn take(&self) -> Vec<Order> {
        mem::take(&mut self.lock().orders)
    }

    fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The kernel's error number; `EIO` for an error that does not come from the kernel.
fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::core::Endpoint;

    #[test]
    fn one_too_many_for_the_queue_has_failed() {
        let most = Bounds::new(5000).probes();
        assert!(most >= 5000);
        let (signals, mut told) = mpsc::channel(16);
        // No thread takes what is queued.
        let prober = Prober {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap(),
                malformed: AtomicU64::new(0),
                most,
            }),
            signals,
        };
        let target = ProbeTarget::Connect(Endpoint {
            addr: "10.0.0.1".parse().unwrap(),
            port: 9000,
        });
        let send = |probe| prober.send(ProbeId(probe), target, Duration::from_secs(1));
        (0..most as u64).for_each(send);
        assert!(told.try_recv().is_err());
        send(77_777);
        let Ok(Signal::Probe(event)) = told.try_recv() else {
            panic!("nothing is told");
        };
        let errno = Errno::EAGAIN as u32;
        assert_eq!(event.probe, ProbeId(77_777));
        assert_eq!(event.outcome, ProbeOutcome::Failed { errno });
        assert_eq!(prober.shared.take().len(), most);
        assert_eq!(
            prober.shared.wake.read(),
            Ok(1),
            "woken once for all of them"
        );
    }
}
