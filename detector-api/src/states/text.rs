//! The protocol's words as text, the same as in the daemon's log, command line and metric labels.

use std::fmt;

use super::State;
use crate::v1::{Breaker, Reason, Verdict};

/// In lower snake case, as in `degraded`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self.as_str_name(), "VERDICT_"))
    }
}

/// In lower snake case, as in `half_open`.
impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self.as_str_name(), "BREAKER_"))
    }
}

/// In lower snake case, as in `flows_stalled`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self.as_str_name(), "REASON_"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verdict,
            breaker,
            reason,
            breaker_reason,
            ..
        } = self;
        write!(
            f,
            "{verdict}: {reason}; breaker {breaker}: {breaker_reason}"
        )
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_daemon() {
        assert_eq!(Verdict::Degraded.to_string(), "degraded");
        assert_eq!(Breaker::HalfOpen.to_string(), "half_open");
        assert_eq!(Reason::LargeSegmentsLost.to_string(), "large_segments_lost");
        assert_eq!(format!("{:<10}|", Verdict::Dead), "dead      |");
        assert_eq!(
            State::default().to_string(),
            "unknown: no_evidence; breaker closed: no_evidence"
        );
    }
}
