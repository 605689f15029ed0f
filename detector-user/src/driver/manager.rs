//! Notifies systemd, or another manager that speaks its protocol: that the daemon is ready,
//! how its peers are, that the loop goes on, and that it stops.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::model::Time;

/// The watchdog is fed three times in its interval, so that one late turn of the loop is no hang.
const FEEDS: u32 = 3;

/// The manager that started the daemon; without one, nothing is told to anybody.
#[derive(Debug)]
pub(super) struct Manager {
    /// How many peers are to be known before the daemon is ready.
    awaited: usize,
    is_ready: bool,
    feed_every: Option<Duration>,
    feed_due: Time,
    status: String,
}

impl Manager {
    /// Ready once this many peers are known: the configured ones.
    pub(super) fn new(awaited: usize) -> Self {
        Self {
            awaited,
            is_ready: false,
            feed_every: sd_notify::watchdog_enabled().map(|interval| interval / FEEDS),
            feed_due: Time::default(),
            status: String::new(),
        }
    }

    /// So many peers are known now.
    pub(super) fn known(&mut self, peers: usize) {
        if !self.is_ready && peers >= self.awaited {
            self.is_ready = true;
            tell(&[NotifyState::Ready]);
        }
    }

    /// Once a second: feeds the watchdog, and says how the peers are if that has changed.
    pub(super) fn chores(&mut self, now: Time, peers: usize, dead: usize) {
        let mut news = Vec::new();
        if let Some(every) = self.feed_every
            && self.feed_due <= now
        {
            self.feed_due = now + every;
            news.push(NotifyState::Watchdog);
        }
        let status = format!("{peers} peers, {dead} of them dead");
        if self.status != status {
            self.status = status;
            news.push(NotifyState::Status(&self.status));
        }
        if !news.is_empty() {
            tell(&news);
        }
    }

    /// The configuration is read again.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "systemd is not told of the reload"),
        }
    }

    /// It was read, and taken over or not.
    pub(super) fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        warn!(%error, "the manager that started the daemon cannot be told (NOTIFY_SOCKET)");
    }
}
