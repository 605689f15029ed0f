//! The operating system's signals that stop the daemon, or make it read its configuration again.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM or SIGINT: the daemon should stop. SIGHUP: it should reload.
#[derive(Debug)]
pub(super) struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether there was a terminal at the start.
    had_terminal: bool,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Stop,
    Reload,
}

impl Shutdown {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            had_terminal: io::stderr().is_terminal(),
        })
    }

    /// Waits for any of them. Cancel-safe. SIGHUP asks for a reload; but if the daemon's terminal
    /// was closed, it is the kernel that sends it, and the daemon stops.
    pub(super) async fn recv(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => match self.had_terminal && !io::stderr().is_terminal() {
                true => Asked::Stop,
                false => Asked::Reload,
            },
        }
    }
}
