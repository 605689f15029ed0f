//! A thread that once a second checks things that change without a notification: cgroups and
//! network namespaces. It is a separate thread because the cgroup tree, systemd and the kernel's
//! locks may all be slow.

use std::{convert::Infallible, io, time::Duration};

use crate::worker::{Inbox, Worker};

/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that is checked regularly.
pub trait Look: Send {
    fn look(&mut self);
}

/// The checking thread. Dropping this ends the thread and drops what it follows.
#[derive(Debug)]
pub struct Keeper {
    _worker: Worker<()>,
}

impl Keeper {
    /// Checks once before it returns, then regularly.
    pub fn start(name: &'static str, mut followers: Vec<Box<dyn Look>>) -> io::Result<Self> {
        for follower in &mut followers {
            follower.look();
        }
        let worker = Worker::optional(name, Inbox::new(()), move |inbox| {
            while inbox.sleep(LOOK_EVERY) {
                for follower in &mut followers {
                    follower.look();
                }
            }
            Ok::<_, Infallible>(())
        })?;
        Ok(Self { _worker: worker })
    }
}
