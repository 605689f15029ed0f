//! Reports the program's own operations to the daemon, without ever delaying them.
//!
//! A [`Reporter`] puts each report into a bounded queue, and one task sends them in batches. If the
//! daemon is away or slow, the oldest reports are dropped, and their number is sent with the next
//! batch. A batch is sent once: reports that may or may not have arrived are not repeated, because
//! two time-outs must not look like four.

mod queue;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

pub(crate) use self::queue::Queue;
use crate::{
    PeerName,
    name::without_path,
    states::Source,
    v1::{Operation, OperationReport, Outcome},
};

/// The most reports that wait to be sent.
pub(crate) const QUEUE: usize = 4096;

/// The longest part of a lock's name that is sent, in bytes.
const MAX_LOCK: usize = 512;
/// The longest part of an invalid peer name that is sent, in bytes.
const MAX_PEER: usize = 256;

/// The outcome of one operation. It borrows its texts, so a report that is dropped for lack of room
/// costs no copy.
///
/// ```
/// use std::time::Duration;
///
/// use detector_api::{Report, Reporter, v1::{Operation, Outcome}};
///
/// let reporter = Reporter::disabled();
/// reporter.report(Report {
///     operation: Operation::Lock,
///     outcome: Outcome::TimedOut,
///     peer: "http://node4:9000",
///     lock: "config/iam/format.json",
///     duration: Duration::from_secs(3),
///     retries: 2,
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// The kind of operation.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// The peer that was called, in any spelling; empty for an operation on several peers.
    pub peer: &'a str,
    /// The lock that it was about, or under which it read; empty for none. Up to 512 bytes are
    /// sent.
    pub lock: &'a str,
    /// How long it took.
    pub duration: Duration,
    /// How often it was retried.
    pub retries: u32,
}

impl Report<'_> {
    /// A report without a peer, a lock or retries.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use detector_api::{Report, v1::{Operation, Outcome}};
    ///
    /// let report = Report {
    ///     peer: "http://node4:9000",
    ///     ..Report::new(Operation::DiskState, Outcome::Succeeded, Duration::from_millis(2))
    /// };
    /// assert_eq!(report.lock, "");
    /// ```
    pub fn new(operation: Operation, outcome: Outcome, duration: Duration) -> Self {
        Self {
            operation,
            outcome,
            peer: "",
            lock: "",
            duration,
            retries: 0,
        }
    }

    fn to_message(self) -> OperationReport {
        let peer = match PeerName::parse(without_path(self.peer)) {
            Ok(name) => name.into(),
            Err(_) => cut(self.peer, MAX_PEER).to_owned(),
        };
        OperationReport {
            operation: self.operation.into(),
            outcome: self.outcome.into(),
            peer,
            lock: cut(self.lock, MAX_LOCK).to_owned(),
            duration: self.duration.try_into().ok(),
            age: None,
            retries: self.retries,
        }
    }
}

/// The beginning of a text, at most `length` bytes, cut between characters.
fn cut(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Accepts reports without ever making its caller wait. Cheap to clone.
///
/// Use [`PeerWatch::reporter`](crate::PeerWatch::reporter) to get one.
///
/// ```
/// use std::time::Duration;
///
/// use detector_api::{Report, Reporter, v1::{Operation, Outcome}};
///
/// fn read_iam(reporter: &Reporter) {
///     let took = Duration::from_millis(7); // …
///     reporter.report(Report::new(Operation::IamRead, Outcome::Succeeded, took));
/// }
/// # read_iam(&Reporter::disabled());
/// ```
#[derive(Clone, Debug)]
pub struct Reporter {
    way: Option<Way>,
}

#[derive(Clone, Debug)]
struct Way {
    entries: mpsc::Sender<Entry>,
    /// The number of dropped reports that was not sent yet.
    dropped: Arc<AtomicU64>,
}

/// A report that waits to be sent.
#[derive(Debug)]
struct Entry {
    report: OperationReport,
    ended: Instant,
}

impl Reporter {
    /// A reporter that accepts reports and discards them.
    ///
    /// ```
    /// use detector_api::Reporter;
    ///
    /// assert!(!Reporter::disabled().is_enabled());
    /// ```
    pub fn disabled() -> Self {
        Self { way: None }
    }

    /// Whether there is a watch that sends the reports.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let watch = detector_api::PeerWatch::start("/nowhere");
    /// assert!(watch.reporter().is_enabled());
    /// # });
    /// ```
    pub fn is_enabled(&self) -> bool {
        self.way
            .as_ref()
            .is_some_and(|way| !way.entries.is_closed())
    }

    /// Reports an operation that has just ended. Never waits; if there are too many reports, some
    /// are dropped.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use detector_api::{Report, Reporter, v1::{Operation, Outcome}};
    ///
    /// let took = Duration::from_secs(30);
    /// Reporter::disabled().report(Report::new(Operation::Upload, Outcome::QuorumLost, took));
    /// ```
    pub fn report(&self, report: Report<'_>) {
        let Some(way) = &self.way else {
            return;
        };
        match way.entries.try_reserve() {
            Ok(room) => room.send(Entry {
                report: report.to_message(),
                ended: Instant::now(),
            }),
            Err(_) => {
                way.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A reporter, and the queue that sends its reports to the source's daemon.
pub(crate) fn queue(source: Arc<Source>) -> (Reporter, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Queue::new(receiver, Arc::clone(&dropped), source);
    let way = Way {
        entries: sender,
        dropped,
    };
    (Reporter { way: Some(way) }, queue)
}
