//! Everything that the loop waits for, as one event.

use std::io;

use tokio::sync::mpsc;

use super::{
    reload::Reread,
    shutdown::{Asked, Shutdown},
};
use crate::{
    alarm::Alarm,
    model::{Signal, Time},
    netns::Namespaces,
    serve::Request,
    signals::{Failure, SignalSender},
    source::stores::FoundNow,
};

/// What the loop is woken for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it at a time, and most are signals"
)]
pub(super) enum Event {
    Signal(Signal),
    Request(Request),
    /// It is time.
    Timeout,
    /// The watched network namespaces have changed.
    Namespaces,
    /// Something else is found of the programs that name peers.
    Stores,
    /// A thread has failed without which the daemon cannot work.
    Failed(Failure),
    /// The configuration should be read again.
    Reload,
    /// It was read again.
    Reread(Reread),
    /// The daemon should stop.
    Stop,
}

/// Where the events come from.
pub(super) struct Events {
    signals: mpsc::Receiver<Signal>,
    sender: SignalSender,
    requests: mpsc::Receiver<Request>,
    namespaces: Namespaces,
    found: FoundNow,
    reread: mpsc::UnboundedReceiver<Reread>,
    alarm: Alarm,
    stop: Shutdown,
}

impl Events {
    pub(super) fn new(
        (sender, signals): (SignalSender, mpsc::Receiver<Signal>),
        requests: mpsc::Receiver<Request>,
        (namespaces, found): (Namespaces, FoundNow),
        reread: mpsc::UnboundedReceiver<Reread>,
        stop: Shutdown,
    ) -> io::Result<Self> {
        Ok(Self {
            signals,
            sender,
            requests,
            namespaces,
            found,
            reread,
            alarm: Alarm::new()?,
            stop,
        })
    }

    /// The next event, at the latest when it is `timeout`. All of its futures are cancel-safe:
    /// channel receives, timers, changes of watched values, and signals of the operating system.
    pub(super) async fn next(&mut self, timeout: Time) -> Event {
        tokio::select! {
            Some(signal) = self.signals.recv() => Event::Signal(signal),
            Some(request) = self.requests.recv() => Event::Request(request),
            () = self.alarm.until(timeout) => Event::Timeout,
            () = self.namespaces.changed() => Event::Namespaces,
            () = self.found.changed() => Event::Stores,
            failure = self.sender.failed() => Event::Failed(failure),
            Some(reread) = self.reread.recv() => Event::Reread(reread),
            asked = self.stop.recv() => match asked {
                Asked::Stop => Event::Stop,
                Asked::Reload => Event::Reload,
            },
        }
    }

    /// A signal that waits already.
    pub(super) fn waiting_signal(&mut self) -> Option<Signal> {
        self.signals.try_recv().ok()
    }
}
