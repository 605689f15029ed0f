//! What clients use at a time: all together no more than a limit, each user's processes only a part of
//! it, and each process a part of that. So no process leaves the others nothing, and no user the
//! others.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::{
    net::unix::{UCred, pid_t, uid_t},
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
/// The processes of one user may together take this part of what there is for all.
const OF_ONE_USER: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Limit {
    of_all: usize,
    of_one: usize,
}

/// Something that clients use, and the limits of each user and process.
#[derive(Debug)]
struct Pool {
    all: Arc<Semaphore>,
    limit: Limit,
}

impl Pool {
    fn new(limit: Limit) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limit.of_all)),
            limit,
        }
    }

    /// The part of one user's processes.
    fn part(&self) -> Arc<Semaphore> {
        let part = self.limit.of_all / OF_ONE_USER;
        Arc::new(Semaphore::new(part.max(1)))
    }

    fn share(&self, of_user: &Arc<Semaphore>) -> Share {
        Share {
            one: Arc::new(Semaphore::new(self.limit.of_one)),
            of_user: Arc::clone(of_user),
            all: Arc::clone(&self.all),
            most: self.limit.of_one,
        }
    }
}

/// What one process may use.
#[derive(Clone, Debug)]
pub(super) struct Share {
    one: Arc<Semaphore>,
    of_user: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// The whole share.
    most: usize,
}

/// A part in use, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    _permits: [OwnedSemaphorePermit; 3],
}

impl Share {
    /// Takes so much, if that is free now. More than the whole share counts as the whole share.
    pub(super) fn try_take(&self, amount: usize) -> Option<Taken> {
        let amount = u32::try_from(amount.min(self.most)).ok()?;
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(amount).ok();
        let _permits = [take(&self.one)?, take(&self.of_user)?, take(&self.all)?];
        Some(Taken { _permits })
    }

    /// Takes one as soon as one is free; a process waits for itself first, then for its user's others.
    /// `None` would mean that the pool was closed, which nobody does.
    pub(super) async fn take(&self) -> Option<Taken> {
        let take = async |from: &Arc<Semaphore>| Arc::clone(from).acquire_owned().await.ok();
        let _permits = [
            take(&self.one).await?,
            take(&self.of_user).await?,
            take(&self.all).await?,
        ];
        Some(Taken { _permits })
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
    /// It is there as long as one of its processes.
    _user: Arc<User>,
}

/// What the processes of one user may use together.
#[derive(Debug)]
struct User {
    connections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

/// A process and its user. The process 0 stands for those of other pid namespaces.
type Who = (Option<uid_t>, pid_t);

/// The processes that have connections, and what all of them use.
#[derive(Debug)]
pub(super) struct Processes {
    known: HashMap<Who, Weak<Shares>>,
    users: HashMap<Option<uid_t>, Weak<User>>,
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
            users: HashMap::new(),
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

    /// The shares of this process, with one more connection, if it may have one. All processes whose
    /// user the kernel does not tell are of one.
    pub(super) fn connect(&mut self, client: Option<&UCred>) -> Option<(Arc<Shares>, Taken)> {
        let pid = client.and_then(UCred::pid).unwrap_or_default();
        self.connect_as((client.map(UCred::uid), pid))
    }

    pub(super) fn connect_as(&mut self, who: Who) -> Option<(Arc<Shares>, Taken)> {
        self.known.retain(|_, shares| shares.strong_count() > 0);
        self.users.retain(|_, user| user.strong_count() > 0);
        let known = self.known.get(&who).and_then(Weak::upgrade);
        let shares = known.unwrap_or_else(|| Arc::new(self.shares(who.0)));
        let connection = shares.connections.try_take(1)?;
        self.known.insert(who, Arc::downgrade(&shares));
        Some((shares, connection))
    }

    fn shares(&mut self, uid: Option<uid_t>) -> Shares {
        let known = self.users.get(&uid).and_then(Weak::upgrade);
        let user = known.unwrap_or_else(|| Arc::new(self.user()));
        self.users.insert(uid, Arc::downgrade(&user));
        Shares {
            connections: self.connections.share(&user.connections),
            streams: self.streams.share(&user.streams),
            reports: self.reports.share(&user.reports),
            unread: self.unread.share(&user.unread),
            _user: user,
        }
    }

    fn user(&self) -> User {
        User {
            connections: self.connections.part(),
            streams: self.streams.part(),
            reports: self.reports.part(),
            unread: self.unread.part(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(limit: u64) -> Processes {
        Processes::new(Bounds::new(1), files::Shares::of(limit))
    }

    /// As many as there may be of each process.
    fn crowd(
        processes: &mut Processes,
        who: impl Iterator<Item = Who>,
    ) -> Vec<(Arc<Shares>, Taken)> {
        let all = who.flat_map(|who| [who; CONNECTIONS.of_one]);
        all.map_while(|who| processes.connect_as(who)).collect()
    }

    #[test]
    fn one_process_takes_no_more_than_its_share_of_connections() {
        let mut processes = processes(1 << 20);
        let mut held = crowd(&mut processes, [(Some(1), 7)].into_iter());
        assert_eq!(held.len(), CONNECTIONS.of_one);
        assert!(processes.connect_as((Some(1), 7)).is_none());
        let other = processes.connect_as((Some(1), 8));
        assert!(other.is_some());
        held.pop();
        assert!(processes.connect_as((Some(1), 7)).is_some());
        drop((held, other));
        assert!(processes.connect_as((Some(2), 9)).is_some());
        let known = (processes.known.len(), processes.users.len());
        assert_eq!(known, (1, 1), "nothing grows");
    }

    #[test]
    fn the_processes_of_a_user_leave_half_to_others() {
        let mut processes = processes(1 << 20);
        let held = crowd(&mut processes, (1..).map(|pid| (Some(1), pid)));
        assert_eq!(held.len(), CONNECTIONS.of_all / 2);
        let others = crowd(&mut processes, (1..9).map(|pid| (Some(2), pid)));
        assert_eq!(others.len(), CONNECTIONS.of_all / 2);
        let unread = |held: &[(Arc<Shares>, Taken)]| -> Vec<_> {
            let takes = |(shares, _): &(Arc<Shares>, Taken)| shares.unread.try_take(usize::MAX);
            held.iter().filter_map(takes).collect()
        };
        let (own, of_others) = (unread(&held), unread(&others));
        assert_eq!((own.len(), of_others.len()), (2, 2));
    }

    #[test]
    fn all_users_together_are_bounded() {
        let few = files::Shares::of(128).clients;
        for (limit, most) in [(1 << 20, CONNECTIONS.of_all), (128, few)] {
            let mut processes = processes(limit);
            let held: Vec<_> = (0..most as uid_t)
                .map(|uid| processes.connect_as((Some(uid), 1)))
                .collect();
            assert!(held.iter().all(Option::is_some), "{limit}");
            assert!(processes.connect_as((None, 1)).is_none(), "{limit}");
        }
    }

    #[test]
    fn a_share_is_free_again_when_it_is_dropped() {
        let shares = processes(1 << 20).shares(None);
        let all = shares.unread.try_take(usize::MAX);
        assert!(all.is_some() && shares.unread.try_take(1).is_none());
        drop(all);
        assert!(shares.unread.try_take(1).is_some());
    }
}
