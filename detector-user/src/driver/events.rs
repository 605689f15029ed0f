//! Everything that the loop waits for, as one event.

use std::{future::pending, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Interval, interval, sleep},
};

use super::shutdown::Shutdown;
use crate::{
    clock,
    core::{Signal, Time},
    netns::Namespaces,
    serve::Request,
    signals::{Failure, SignalSender},
};

/// How often the source's counters are copied to the metrics, and a set of watched peers that the
/// source has refused is offered to it again.
const CHORES_EVERY: Duration = Duration::from_secs(1);

/// What the loop is woken for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it at a time, and most are signals"
)]
pub(super) enum Event {
    Signal(Signal),
    Request(Request),
    /// The detector has something to do now.
    Timeout,
    /// The watched network namespaces have changed.
    Namespaces,
    Chores,
    /// A thread has failed without which the daemon cannot work.
    Failed(Failure),
    /// The daemon should stop.
    Stop,
}

/// Where the events come from.
pub(super) struct Events {
    signals: mpsc::Receiver<Signal>,
    sender: SignalSender,
    requests: mpsc::Receiver<Request>,
    namespaces: Namespaces,
    chores: Interval,
    stop: Shutdown,
}

impl Events {
    pub(super) fn new(
        (sender, signals): (SignalSender, mpsc::Receiver<Signal>),
        requests: mpsc::Receiver<Request>,
        namespaces: Namespaces,
        stop: Shutdown,
    ) -> Self {
        Self {
            signals,
            sender,
            requests,
            namespaces,
            chores: interval(CHORES_EVERY),
            stop,
        }
    }

    /// The next event, at the latest when it is `timeout`. All of its futures are cancel-safe:
    /// channel receives, timers, changes of watched values, and signals of the operating system.
    pub(super) async fn next(&mut self, timeout: Option<Time>) -> Event {
        tokio::select! {
            Some(signal) = self.signals.recv() => Event::Signal(signal),
            Some(request) = self.requests.recv() => Event::Request(request),
            () = sleep_until(timeout) => Event::Timeout,
            () = self.namespaces.changed() => Event::Namespaces,
            _ = self.chores.tick() => Event::Chores,
            failure = self.sender.failed() => Event::Failed(failure),
            () = self.stop.recv() => Event::Stop,
        }
    }

    /// A signal that waits already.
    pub(super) fn waiting_signal(&mut self) -> Option<Signal> {
        self.signals.try_recv().ok()
    }
}

async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => sleep(at.since(clock::now())).await,
        None => pending().await,
    }
}
