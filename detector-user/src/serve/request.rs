//! Requests from the servers to the driver.

use detector_api::v1::PoolOutlook;
use tokio::sync::oneshot;

use crate::{
    config::Config,
    effect::protect::Tuned,
    insight::{Cascade, LockLine},
    model::{Explanation, OperationReport, PeerName, Trial, TrialError, TrialOutcome},
    overrides::{self, Caller},
    record::Excerpt,
};

/// A client's request that only the core, or what the core drives, can answer. It is sent to the
/// driver.
#[derive(Debug)]
pub enum Request {
    Explain {
        peer: PeerName,
        reply: oneshot::Sender<Option<Explanation>>,
    },
    AcquireTrial {
        peer: PeerName,
        reply: oneshot::Sender<Result<Trial, TrialError>>,
    },
    FinishTrial {
        peer: PeerName,
        trial: u64,
        outcome: TrialOutcome,
        reply: oneshot::Sender<Result<(), TrialError>>,
    },
    Override {
        peer: PeerName,
        command: overrides::Command,
        caller: Caller,
        reply: overrides::Reply,
    },
    /// The open connections that are tuned, oldest first.
    ListTuned {
        reply: oneshot::Sender<Vec<Tuned>>,
    },
    /// Reports of the node's own programs about their operations. The answer is how many of them
    /// are about peers that are not watched.
    Report {
        reports: Vec<OperationReport>,
        /// How many reports the client had to drop.
        dropped: u64,
        reply: oneshot::Sender<u32>,
    },
    ListLocks {
        reply: oneshot::Sender<Locks>,
    },
    ListCascades {
        reply: oneshot::Sender<Vec<Cascade>>,
    },
    /// What a ticket about the peer needs; `None` if it is not watched.
    Diagnostics {
        peer: PeerName,
        reply: oneshot::Sender<Option<Diagnostics>>,
    },
    /// The answer is `None` if no layout is configured.
    QuorumOutlook {
        reply: oneshot::Sender<Option<Vec<PoolOutlook>>>,
    },
}

/// What only the daemon has of what belongs to a ticket.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    pub config: Config,
    /// The last minute.
    pub recent: Excerpt,
    /// The minute around the peer's death, if it was the last one.
    pub death: Option<Excerpt>,
}

/// All locks that are kept, and the number of reports about other locks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Locks {
    pub lines: Vec<LockLine>,
    pub beyond_bound: u64,
}
