//! What is kept about a dead path over a restart.
//!
//! A daemon that starts knows no peer: it cannot tell a dead host from one that has not booted yet,
//! nor a probe that is lost from one that nobody would answer. Before it stopped,
//! it knew that the host was there, and which probes it answered. That is all that is remembered: the death itself is found anew, by the same rule, from probes
//! that this run sends. So a peer that is alive answers, and is never dead. Until it is heard or
//! found dead, its breaker stays as it was before the restart: open.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ProbeAnswer, ProbeTarget, Time};

/// An address at which a peer was there, and died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub addr: IpAddr,
    /// What was known to answer while it lived.
    pub answers: Vec<Remembered>,
}

/// A target that was known to answer, and its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    pub target: ProbeTarget,
    pub at: Time,
    pub answer: ProbeAnswer,
}
