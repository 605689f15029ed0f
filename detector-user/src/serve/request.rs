use tokio::sync::oneshot;

use crate::{
    core::{Explanation, OperationReport, PeerName, Trial, TrialError, TrialOutcome},
    effect::protect::Tuned,
    insight::{Cascade, LockLine, PoolOutlook},
};

/// What a client asks that only the core, or what it moves, can answer; sent to the driver.
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
    /// The open connections that are tuned, oldest first.
    ListTuned {
        reply: oneshot::Sender<Vec<Tuned>>,
    },
    /// What the node's own programs say of their operations; answered with how many of them
    /// are about peers that are not watched.
    Report {
        reports: Vec<OperationReport>,
        /// How many the client had to drop.
        dropped: u64,
        reply: oneshot::Sender<u32>,
    },
    ListLocks {
        reply: oneshot::Sender<Locks>,
    },
    ListCascades {
        reply: oneshot::Sender<Vec<Cascade>>,
    },
    /// `None` where no layout is configured.
    QuorumOutlook {
        reply: oneshot::Sender<Option<Vec<PoolOutlook>>>,
    },
}

/// Every lock that is kept, and how many reports there were about others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Locks {
    pub lines: Vec<LockLine>,
    pub beyond_bound: u64,
}
