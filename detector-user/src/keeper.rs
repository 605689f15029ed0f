//! A thread that looks once a second at what comes and goes without telling: cgroups, network
//! namespaces. One of its own, for the tree of cgroups, systemd and the kernel's locks may all
//! be slow.

use std::{
    io,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows something.
pub trait Look: Send {
    fn look(&mut self);
}

/// The thread that looks. Dropping it drops what it looks after.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Looks once before it returns, then goes on looking.
    pub fn start(name: &str, mut followers: Vec<Box<dyn Look>>) -> io::Result<Self> {
        for follower in &mut followers {
            follower.look();
        }
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    for follower in &mut followers {
                        follower.look();
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has dropped what it held as well.
            let _ended = thread.join();
        }
    }
}
