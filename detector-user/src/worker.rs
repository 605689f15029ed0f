//! The one kind of thread: a [`Worker`] has a name, an inbox, and an end that is noticed.
//!
//! Its owner changes what is in the [`Inbox`], which wakes the thread. Dropping the worker tells the
//! thread to stop, and waits until it has ended (for two seconds at most). A thread that polls descriptors has one for its inbox
//! as well ([`Inbox::polled`]).
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
//! | `probe` | essential | sends probes |
//! | `sock-destroy` | essential | destroys sockets |
//! | `rtnetlink` | optional | follows links, routes and neighbours |
//! | `discover` | optional | finds peers where none is configured |
//! | `cgroups`, `namespaces` | optional | follow what comes and goes ([`keeper`](crate::keeper)) |
//! | `serve` | optional | gRPC and metrics |
//! | `record` | optional | writes a recording; ends with it, for a recording has no holes |
//! | `stdout` | optional | prints changes; ends with its reader |
//!
//! A call into another network namespace ([`netns`](crate::netns)) takes a thread, too, for as long
//! as the call lasts.

use std::{
    fmt::Display,
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::warn;

use crate::signals::SignalSender;

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
            let inbox = EndsWith(&shared);
            body(inbox.0);
        })?;
        Ok(Self {
            inbox,
            thread: Some(thread),
        })
    }
}

impl<Q> Worker<Q> {
    /// One without a thread: what is put in stays there.
    #[cfg(test)]
    pub fn idle(inbox: Inbox<Q>) -> Self {
        Self {
            inbox: Arc::new(inbox),
            thread: None,
        }
    }

    /// What it shares with its thread.
    pub fn inbox(&self) -> &Inbox<Q> {
        &self.inbox
    }

    /// The same, for a task that puts something in as well.
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

/// What a thread shares with its owner: a queue, or whatever else `Q` is.
#[derive(Debug)]
pub struct Inbox<Q> {
    state: Mutex<State<Q>>,
    changed: Condvar,
    wake: Option<EventFd>,
}

#[derive(Debug)]
struct State<Q> {
    content: Q,
    stopped: bool,
    ended: bool,
    /// Whether `wake` was written since the content was looked at.
    woken: bool,
}

impl<Q> Inbox<Q> {
    pub const fn new(content: Q) -> Self {
        Self {
            state: Mutex::new(State {
                content,
                stopped: false,
                ended: false,
                woken: false,
            }),
            changed: Condvar::new(),
            wake: None,
        }
    }

    /// One with a descriptor ([`Self::as_fd`]) that becomes readable when something is put in, or
    /// when it is time to stop, and stays so until [`Self::take`].
    pub fn polled(content: Q) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let mut inbox = Self::new(content);
        inbox.wake = Some(EventFd::from_flags(flags)?);
        Ok(inbox)
    }

    /// The descriptor of a [`Self::polled`] inbox.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }

    /// Changes the content, and wakes the thread.
    pub fn put<R>(&self, change: impl FnOnce(&mut Q) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state.content);
        self.wake(state);
        result
    }

    /// Looks at the content or takes from it. Does not wait.
    pub fn take<R>(&self, take: impl FnOnce(&mut Q) -> R) -> R {
        let mut state = self.lock();
        if mem::take(&mut state.woken)
            && let Some(wake) = &self.wake
        {
            // An error means that nobody has written.
            let _ = wake.read();
        }
        take(&mut state.content)
    }

    /// Waits until `take` finds something; `None` when it is time to stop and nothing is left.
    pub fn wait<R>(&self, mut take: impl FnMut(&mut Q) -> Option<R>) -> Option<R> {
        let mut taken = None;
        let waited = self.changed.wait_while(self.lock(), |state| {
            taken = take(&mut state.content);
            taken.is_none() && !state.stopped
        });
        drop(waited);
        taken
    }

    /// Like [`Self::wait`], but also `None` after `limit`.
    pub fn wait_for<R>(
        &self,
        limit: Duration,
        mut take: impl FnMut(&mut Q) -> Option<R>,
    ) -> Option<R> {
        let mut taken = None;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| {
                taken = take(&mut state.content);
                taken.is_none() && !state.stopped
            });
        drop(waited);
        taken
    }

    /// Waits for so long; returns `false` when it is time to stop.
    pub fn sleep(&self, time: Duration) -> bool {
        self.wait_for(time, |_| None::<()>);
        !self.is_stopped()
    }

    /// Whether it is time to stop.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.wake(state);
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, limit, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    fn wake(&self, mut state: MutexGuard<'_, State<Q>>) {
        let was_woken = mem::replace(&mut state.woken, true);
        if let Some(wake) = &self.wake
            && !was_woken
        {
            // The one way to fail is a counter at its maximum, which wakes as well.
            let _ = wake.write(1);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<Q>> {
        // A content is whole after each statement under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of the thread, after a panic as well.
struct EndsWith<'a, Q>(&'a Inbox<Q>);

impl<Q> Drop for EndsWith<'_, Q> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        self.0.wake(state);
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::mpsc};

    use super::*;
    use crate::signals;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_put_in_wakes_the_thread_and_is_taken_before_the_end() {
        let (taken, told) = mpsc::channel();
        let body = move |inbox: &Inbox<Vec<u32>>| {
            while let Some(number) = inbox.wait(Vec::pop) {
                taken.send(number).unwrap();
            }
            Ok::<_, Infallible>(())
        };
        let worker = Worker::optional("test", Inbox::new(Vec::new()), body).unwrap();
        worker.inbox().put(|queue| queue.push(1));
        assert_eq!(told.recv(), Ok(1));
        worker.inbox().put(|queue| queue.extend([3, 2]));
        assert!(worker.finish(LONG));
        assert_eq!(told.iter().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn dropping_it_stops_it_and_waits_for_its_end() {
        let (ended, told) = mpsc::channel();
        let body = move |inbox: &Inbox<()>| {
            while inbox.sleep(LONG) {}
            ended.send(()).unwrap();
            Ok::<_, Infallible>(())
        };
        drop(Worker::optional("test", Inbox::new(()), body).unwrap());
        assert_eq!(told.try_recv(), Ok(()), "it is over");
    }

    #[test]
    fn one_that_does_not_stop_is_left_to_itself() {
        let (release, stuck) = mpsc::channel::<()>();
        let body = move |_: &Inbox<()>| {
            let _released = stuck.recv();
            Ok::<_, Infallible>(())
        };
        let worker = Worker::optional("test", Inbox::new(()), body).unwrap();
        assert!(!worker.finish(Duration::ZERO));
        drop(release);
    }

    #[tokio::test]
    async fn the_failure_of_an_essential_one_is_reported() {
        let (sender, _signals) = signals::channel(1);
        let body = |_: &Inbox<()>| Err(io::Error::other("out of order"));
        let worker = Worker::essential("test", &sender, Inbox::new(()), body).unwrap();
        let failure = sender.failed().await.to_string();
        assert!(failure.contains("out of order"), "{failure}");
        assert!(worker.inbox().ends_within(LONG));
    }

    #[test]
    fn an_optional_one_is_started_again() {
        let (begun, told) = mpsc::channel();
        let body = move |inbox: &Inbox<()>| {
            begun.send(()).unwrap();
            match inbox.is_stopped() {
                true => Ok(()),
                false => Err("not yet"),
            }
        };
        let worker = Worker::optional("test", Inbox::new(()), body).unwrap();
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(LONG), Ok(()));
        }
        drop(worker);
    }

    #[test]
    fn its_descriptor_is_written_once_until_it_is_looked_at() {
        let inbox = Inbox::polled(0).unwrap();
        let written = || inbox.wake.as_ref().unwrap().read().ok();
        for _ in 0..3 {
            inbox.put(|content| *content += 1);
        }
        assert_eq!(written(), Some(1));
        assert_eq!(inbox.take(|content| *content), 3);
        inbox.put(|_| ());
        inbox.take(|_| ());
        assert_eq!(written(), None, "it was looked at");
        inbox.stop();
        assert_eq!(written(), Some(1));
    }
}
