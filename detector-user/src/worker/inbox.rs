//! What a worker's thread shares with its owner.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// What a thread shares with its owner: a queue, or whatever else `Q` is.
#[derive(Debug)]
pub struct Inbox<Q> {
    state: Mutex<State<Q>>,
    changed: Condvar,
    pub(super) wake: Option<EventFd>,
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
        let wake = EventFd::from_flags(flags).map_err(|errno| {
            let tried = "cannot make an eventfd to wake a thread";
            io::Error::other(format!(
                "{tried}: {errno}; is the limit of open files reached?"
            ))
        });
        inbox.wake = Some(wake?);
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

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.wake(state);
    }

    pub(super) fn ends_within(&self, limit: Duration) -> bool {
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
pub(super) struct EndsWith<'a, Q>(pub &'a Inbox<Q>);

impl<Q> Drop for EndsWith<'_, Q> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        self.0.wake(state);
    }
}
