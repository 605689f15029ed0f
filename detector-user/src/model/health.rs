//! How well a peer works, as a score.

use super::Trend;

/// The health of a peer. The core makes the score (`core/vitals/health`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// 0 to 100.
    pub score: u32,
    pub trend: Trend,
    pub loss_penalty: u32,
    pub rtt_penalty: u32,
    pub stall_penalty: u32,
    pub timeout_penalty: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            score: 100,
            trend: Trend::Steady,
            loss_penalty: 0,
            rtt_penalty: 0,
            stall_penalty: 0,
            timeout_penalty: 0,
        }
    }
}
