use tokio::sync::oneshot;

use crate::{
    core::{Explanation, PeerName, Trial, TrialError, TrialOutcome},
    effect::protect::Tuned,
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
    ListTuned { reply: oneshot::Sender<Vec<Tuned>> },
}
