//! A thread that looks once a second at what comes and goes without telling: cgroups, network
//! namespaces. One of its own, for the tree of cgroups, systemd and the kernel's locks may all
//! be slow.

use std::{convert::Infallible, io, time::Duration};

use crate::worker::{Inbox, Worker};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows something.
pub trait Look: Send {
    fn look(&mut self);
}

/// The thread that looks. Dropping it drops what it looks after.
#[derive(Debug)]
pub struct Keeper {
    _worker: Worker<()>,
}

impl Keeper {
    /// Looks once before it returns, then goes on looking.
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
