use tokio::sync::oneshot;

use crate::core::{Explanation, PeerName, Trial, TrialError, TrialOutcome};

/// What a client asks that only the core can answer; sent to the driver.
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
}
