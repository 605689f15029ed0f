//! What clients use at a time: all together no more than a limit, and each process only a part of
//! it, so that no process leaves the others nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::{
    net::unix::pid_t,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{files, model::Bounds};

/// The most connections.
const CONNECTIONS: Limit = Limit {
    of_all: 256,
    of_one: 16,
};
/// The most open streams.
const STREAMS: Limit = Limit {
    of_all: 2048,
    of_one: 1024,
};
/// The most reports that are read at a time; each is large, and may be sent slowly.
const REPORTS: Limit = Limit {
    of_all: 16,
    of_one: 4,
};
/// How many processes may leave all that they can unread before others are refused.
const UNREAD_BY: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Limit {
    of_all: usize,
    of_one: usize,
}

/// Something that clients use, and the limit of each.
#[derive(Debug)]
struct Pool {
    all: Arc<Semaphore>,
    of_one: usize,
}

impl Pool {
    fn new(Limit { of_all, of_one }: Limit) -> Self {
        Self {
            all: Arc::new(Semaphore::new(of_all)),
            of_one,
        }
    }

    fn share(&self) -> Share {
        Share {
            one: Arc::new(Semaphore::new(self.of_one)),
            all: Arc::clone(&self.all),
            of_one: self.of_one,
        }
    }
}

/// What one process may use.
#[derive(Clone, Debug)]
pub(super) struct Share {
    one: Arc<Semaphore>,
    all: Arc<Semaphore>,
    of_one: usize,
}

/// A part in use, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    _one: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Share {
    /// Takes so much, if that is free now. More than the whole share counts as the whole share.
    pub(super) fn try_take(&self, amount: usize) -> Option<Taken> {
        let amount = u32::try_from(amount.min(self.of_one)).ok()?;
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(amount).ok();
        Some(Taken {
            _one: take(&self.one)?,
            _all: take(&self.all)?,
        })
    }

    /// Takes one as soon as one is free; a process waits for itself first. `None` would mean that the
    /// pool was closed, which nobody does.
    pub(super) async fn take(&self) -> Option<Taken> {
        Some(Taken {
            _one: Arc::clone(&self.one).acquire_owned().await.ok()?,
            _all: Arc::clone(&self.all).acquire_owned().await.ok()?,
        })
    }
}

/// The shares of one process.
#[derive(Debug)]
pub(super) struct Shares {
    pub(super) connections: Share,
    pub(super) streams: Share,
    pub(super) reports: Share,
    /// Bytes of answers.
    pub(super) unread: Share,
}

/// The processes that have connections, and what all of them use. The process 0 stands for those of
/// other pid namespaces.
#[derive(Debug)]
pub(super) struct Processes {
    known: HashMap<pid_t, Weak<Shares>>,
    connections: Pool,
    streams: Pool,
    reports: Pool,
    unread: Pool,
}

impl Processes {
    /// `files` is the most connections that the daemon may have open.
    pub(super) fn new(bounds: Bounds, files: files::Shares) -> Self {
        let of_one = bounds.unread_bytes();
        Self {
            known: HashMap::new(),
            connections: Pool::new(Limit {
                of_all: CONNECTIONS.of_all.min(files.clients),
                ..CONNECTIONS
            }),
            streams: Pool::new(STREAMS),
            reports: Pool::new(REPORTS),
            unread: Pool::new(Limit {
                of_all: UNREAD_BY * of_one,
                of_one,
            }),
        }
    }

    /// The shares of this process, with one more connection, if it may have one.
    pub(super) fn connect(&mut self, pid: pid_t) -> Option<(Arc<Shares>, Taken)> {
        self.known.retain(|_, shares| shares.strong_count() > 0);
        let known = self.known.get(&pid).and_then(Weak::upgrade);
        let shares = known.unwrap_or_else(|| Arc::new(self.shares()));
        let connection = shares.connections.try_take(1)?;
        self.known.insert(pid, Arc::downgrade(&shares));
        Some((shares, connection))
    }

    fn shares(&self) -> Shares {
        Shares {
            connections: self.connections.share(),
            streams: self.streams.share(),
            reports: self.reports.share(),
            unread: self.unread.share(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(limit: u64) -> Processes {
        Processes::new(Bounds::new(1), files::Shares::of(limit))
    }

    #[test]
    fn one_process_takes_no_more_than_its_share_of_connections() {
        let mut processes = processes(1 << 20);
        let mut held: Vec<_> = (0..CONNECTIONS.of_one)
            .map(|_| processes.connect(7))
            .collect();
        assert!(held.iter().all(Option::is_some));
        assert!(processes.connect(7).is_none());
        let other = processes.connect(8);
        assert!(other.is_some());
        held.pop();
        assert!(processes.connect(7).is_some());
        drop((held, other));
        assert!(processes.connect(9).is_some());
        assert_eq!(processes.known.len(), 1, "nothing grows");
    }

    #[test]
    fn all_processes_together_are_bounded() {
        let few = files::Shares::of(128).clients;
        for (limit, most) in [(1 << 20, CONNECTIONS.of_all), (128, few)] {
            let mut processes = processes(limit);
            let held: Vec<_> = (0..most as pid_t)
                .map(|pid| processes.connect(pid))
                .collect();
            assert!(held.iter().all(Option::is_some), "{limit}");
            assert!(processes.connect(-1).is_none(), "{limit}");
        }
    }

    #[test]
    fn a_share_is_free_again_when_it_is_dropped() {
        let shares = processes(1 << 20).shares();
        let all = shares.unread.try_take(usize::MAX);
        assert!(all.is_some() && shares.unread.try_take(1).is_none());
        drop(all);
        assert!(shares.unread.try_take(1).is_some());
    }
}
