//! The events that a peer prints.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{baseline::Method, clock};

/// An event that a peer prints, one JSON object on each line. Times are `CLOCK_MONOTONIC`
/// nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A server accepts connections.
    Listening { at_ns: u64, address: SocketAddr },
    /// A client's dial succeeded.
    Connected { at_ns: u64, channel: u32 },
    /// A client's work succeeds. Printed for the first success after a connect or an error, then at
    /// most every 100 ms.
    Ok { at_ns: u64, channel: u32 },
    /// A client's dial, call or connection failed. `started_ns` is when it was begun.
    Error {
        at_ns: u64,
        started_ns: u64,
        channel: u32,
        error: String,
    },
    /// A call that took long, or failed, has ended.
    Call {
        at_ns: u64,
        started_ns: u64,
        channel: u32,
        ok: bool,
    },
    /// A baseline has begun to believe that its peer is dead, or that it is not.
    Believed {
        at_ns: u64,
        method: Method,
        dead: bool,
    },
}

impl Event {
    /// When it happened.
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Listening { at_ns, .. }
            | Self::Connected { at_ns, .. }
            | Self::Ok { at_ns, .. }
            | Self::Error { at_ns, .. }
            | Self::Call { at_ns, .. }
            | Self::Believed { at_ns, .. } => *at_ns,
        }
    }

    pub(crate) fn error(
        channel: u32,
        started_ns: u64,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::Error {
            at_ns: clock::now_ns(),
            started_ns,
            channel,
            error: chain(error),
        }
    }

    /// Prints the event at once. If the reader is gone, the traffic continues.
    pub(crate) fn say(&self) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let mut out = std::io::stdout().lock();
            let _gone = out.write_all(&line).and_then(|()| out.flush());
        }
    }
}

/// tonic's errors say "transport error" and keep the cause beneath.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Limits the rate of [`Event::Ok`].
#[derive(Debug, Default)]
pub(super) struct OkReporter {
    last_ns: AtomicU64,
}

impl OkReporter {
    const EVERY: Duration = Duration::from_millis(100);

    /// Reports Ok, unless that was done a moment ago.
    pub(super) fn ok(&self, channel: u32) {
        let now = clock::now_ns();
        let last = self.last_ns.load(Ordering::Relaxed);
        if last == 0 || clock::between(last, now) >= Self::EVERY {
            self.last_ns.store(now, Ordering::Relaxed);
            Event::Ok {
                at_ns: now,
                channel,
            }
            .say();
        }
    }

    /// The next Ok is reported whenever it comes.
    pub(super) fn interrupted(&self) {
        self.last_ns.store(0, Ordering::Relaxed);
    }
}
