//! A thread that once a second checks things that change without a notification: cgroups and
//! network namespaces. It is a separate thread because the cgroup tree, systemd and the kernel's
//! locks may all be slow.

use std::{
    io,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that is checked regularly.
pub trait Look: Send {
    fn look(&mut self);
}

/// The checking thread. Dropping this ends the thread and drops what it follows.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Checks once before it returns, then regularly.
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
            // A thread that panicked has dropped its followers, too.
            let _ended = thread.join();
        }
    }
}
