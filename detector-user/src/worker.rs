//! The one kind of thread: a [`Worker`] has a name, an inbox, and an end that is noticed.
//!
//! Its owner changes the content of the [`Inbox`], which wakes the thread. Dropping the worker tells
//! the thread to stop, and waits up to two seconds until the thread has ended. For a thread that
//! polls descriptors, the inbox has one as well ([`Inbox::polled`]).
//!
//! A failure of an *essential* worker ends the daemon with an error. An *optional* one is logged
//! and started again, for ever, with growing pauses. A panic ends the process either way: a release
//! is built with `panic = "abort"`.
//!
//! | thread | kind | what it does |
//! |---|---|---|
//! | `sock-diag-poll` | essential | the source without eBPF |
//! | `sock-diag-read` | essential | reads socket snapshots |
//! | `flow-map` | essential | reads the map of the eBPF source; a task of the loop reads its ring |
//! | `probe` | essential | sends probes; the loop sends those that can wait |
//! | `sock-destroy` | essential | destroys sockets |
//! | `rtnetlink` | optional | follows links, routes and neighbours |
//! | `discover` | optional | finds peers where none is configured |
//! | `stores` | optional | follows the programs on this host that name peers |
//! | `cgroups`, `namespaces` | optional | follow what comes and goes ([`keeper`](crate::keeper)) |
//! | `serve` | optional | gRPC and metrics |
//! | `record` | optional | writes a recording; ends with it, for a recording has no holes |
//! | `stdout` | optional | prints changes; ends with its reader |
//!
//! A call into another network namespace ([`netns`](crate::netns)) takes a thread, too, for as long
//! as the call lasts.

mod inbox;
#[cfg(test)]
mod tests;

use std::{
    fmt::Display,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::warn;

use self::inbox::EndsWith;
pub use self::inbox::Inbox;
use crate::{privileges, signals::SignalSender};

/// The first and the longest pause before an optional worker is started again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How long a dropped worker's thread has to end. The longest wait of a thread that cannot be woken
/// is that for an answer of the kernel, one second.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A thread and what it shares with its owner.
#[derive(Debug)]
pub struct Worker<Q> {
    inbox: Arc<Inbox<Q>>,
    thread: Option<JoinHandle<()>>,
}

impl<Q: Send + 'static> Worker<Q> {
    /// Starts a thread whose failure ends the loop of `signals`.
    pub fn essential<E: Display>(
        name: &'static str,
        signals: &SignalSender,
        inbox: Inbox<Q>,
        body: impl FnOnce(&Inbox<Q>) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let signals = signals.clone();
        Self::spawn(name, inbox, move |inbox| {
            if let Err(error) = body(inbox) {
                signals.fail(name, format!("{error:#}"));
            }
        })
    }

    /// Starts a thread whose `body` is called again after a failure.
    pub fn optional<E: Display>(
        name: &'static str,
        inbox: Inbox<Q>,
        mut body: impl FnMut(&Inbox<Q>) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        Self::spawn(name, inbox, move |inbox| {
            let ([mut pause, longest], mut said) = (PAUSES, String::new());
            while let Err(error) = body(inbox) {
                let error = format!("{error:#}");
                // Said once, not with each attempt.
                if said != error {
                    warn!(worker = name, error, "this does not work; trying again");
                    said = error;
                }
                if !inbox.sleep(pause) {
                    return;
                }
                pause = (pause * 2).min(longest);
            }
        })
    }

    fn spawn(
        name: &str,
        inbox: Inbox<Q>,
        body: impl FnOnce(&Inbox<Q>) + Send + 'static,
    ) -> io::Result<Self> {
        let inbox = Arc::new(inbox);
        let shared = Arc::clone(&inbox);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            privileges::thread_started();
            let inbox = EndsWith(&shared);
            body(inbox.0);
        });
        let failed = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot start the thread {name}: {error}"),
            )
        };
        Ok(Self {
            inbox,
            thread: Some(thread.map_err(failed)?),
        })
    }
}

impl<Q> Worker<Q> {
    /// A worker without a thread: the content of its inbox stays as it is put.
    #[cfg(test)]
    pub fn idle(inbox: Inbox<Q>) -> Self {
        Self {
            inbox: Arc::new(inbox),
            thread: None,
        }
    }

    /// The inbox that it shares with its thread.
    pub fn inbox(&self) -> &Inbox<Q> {
        &self.inbox
    }

    /// The same inbox, for a task that changes its content as well.
    pub fn share(&self) -> Arc<Inbox<Q>> {
        Arc::clone(&self.inbox)
    }

    /// Tells the thread to stop, and waits for its end up to `limit`. Returns whether it has
    /// ended; if not, it is left to itself.
    pub fn finish(mut self, limit: Duration) -> bool {
        self.end(limit)
    }

    fn end(&mut self, limit: Duration) -> bool {
        self.inbox.stop();
        let Some(thread) = self.thread.take() else {
            return true;
        };
        let has_ended = self.inbox.ends_within(limit);
        if has_ended {
            // A thread that panicked has dropped what it held as well.
            let _ended = thread.join();
        }
        has_ended
    }
}

impl<Q> Drop for Worker<Q> {
    fn drop(&mut self) {
        if !self.end(END_WITHIN) {
            warn!("a thread did not end in {END_WITHIN:?} and is left to itself");
        }
    }
}
