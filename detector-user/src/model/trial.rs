//! Trial calls to a peer whose breaker is half open.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A leased trial call to a HalfOpen peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    pub id: u64,
    pub lease: Duration,
}

/// How a trial call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TrialOutcome {
    Succeeded,
    Failed,
}

/// Why a trial was not given or not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TrialError {
    #[error("no such peer is watched; `detector peers` lists them")]
    UnknownPeer,
    #[error("the breaker is not half_open: trials are admitted only then")]
    NotHalfOpen,
    #[error("all trials are leased; wait for one to end")]
    Exhausted,
    #[error("no such trial: its lease has ended, or it was never given")]
    UnknownTrial,
}
