//! Finds peers where storage programs name them: RustFS, MinIO, etcd and IPFS Cluster on this host.
//!
//! ```text
//!   processes ─ Finder ─▶ Follower ─ Found ─▶ the loop ─┬─▶ StorePeers ─▶ Resolver ─▶ Signal
//!   /etc/default/rustfs ─┘ (worker "stores")            └─▶ quorum outlook, `detector peers`
//! ```
//!
//! The worker reads each server once, and waits for its end; new ones are looked for every few
//! seconds, also among the processes that were no servers yet. Files that a process keeps and
//! members that it tells (`members`) are read again now and then. What a process has said stays
//! valid for a while after its end, so that a restart changes nothing. Names are looked up as the
//! process would (`lookup`), and a node that is this one is no peer.
//!
//! A process says what it likes: whoever may start a program called `rustfs` on this host, outside
//! of a user namespace of its own, can have peers watched, up to `max_peers`. Where that is too
//! much, a unit or a pod is named.

mod examine;
mod follow;
mod found;
mod lookup;
mod members;
mod name_server;
mod peers;

use std::{
    future,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

pub use self::{
    examine::examine,
    follow::Follower,
    found::{Found, Named, PeerSource},
    lookup::{StoreLookup, View},
    peers::StorePeers,
};
use crate::{
    config::Stores,
    process::Finder,
    worker::{Inbox, Worker},
};

/// How often new processes are looked for while one is known, and while none is.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

/// Follows the programs until it is dropped.
#[derive(Debug)]
pub struct Following {
    _worker: Option<Worker<()>>,
}

/// What is found at the moment. All clones report the same.
#[derive(Clone, Debug)]
pub struct FoundNow {
    found: watch::Receiver<Arc<Found>>,
}

impl FoundNow {
    pub fn now(&self) -> Arc<Found> {
        Arc::clone(&self.found.borrow())
    }

    /// Waits until something else is found. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.found.changed().await.is_err() {
            // Nothing is looked for.
            future::pending().await
        }
    }
}

impl Following {
    /// Looks once before it returns. Blocks.
    pub fn start(stores: &Stores, finder: &Finder) -> std::io::Result<(Self, FoundNow)> {
        let (sender, found) = watch::channel(Arc::default());
        let mut following = Self { _worker: None };
        if !stores.is_empty() {
            let mut follower = Follower::new(stores.clone(), finder.clone());
            sender.send_replace(Arc::new(follower.look()));
            let worker = Worker::optional("stores", Inbox::polled(())?, move |inbox| {
                follow(&mut follower, &sender, inbox)
            });
            following._worker = Some(worker?);
        }
        Ok((following, FoundNow { found }))
    }
}

fn follow(
    follower: &mut Follower,
    sender: &watch::Sender<Arc<Found>>,
    inbox: &Inbox<()>,
) -> nix::Result<()> {
    while !inbox.is_stopped() {
        wait(&follower.pidfds(), inbox)?;
        if inbox.is_stopped() {
            break;
        }
        let found = Arc::new(follower.look());
        sender.send_if_modified(|before| {
            let has_changed = **before != *found;
            *before = found;
            has_changed
        });
    }
    Ok(())
}

/// Waits until a process ends, it is time to look again, or to stop.
fn wait(pidfds: &[OwnedFd], inbox: &Inbox<()>) -> nix::Result<()> {
    let every = LOOK_EVERY[usize::from(pidfds.is_empty())];
    let ends = pidfds.iter().map(|pidfd| pidfd.as_fd());
    let descriptors: Vec<BorrowedFd<'_>> = ends.chain(inbox.as_fd()).collect();
    let mut polled: Vec<PollFd<'_>> = descriptors
        .into_iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
        .collect();
    let every = PollTimeout::try_from(every).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, every) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
