//! The protocol's words as text, the same as in the daemon's log, command line and metric labels.

use std::fmt;

use super::State;
use crate::v1::{Breaker, FailureKind, LockHealth, Mode, Reason, Trend, Verdict};

macro_rules! words {
    ($($name:ident without $prefix:literal, as in $example:literal;)+) => {$(
        #[doc = concat!("In lower snake case, as in `", $example, "`.")]
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&word(self.as_str_name(), $prefix))
            }
        }
    )+};
}

words! {
    Verdict without "VERDICT_", as in "degraded";
    Breaker without "BREAKER_", as in "half_open";
    Reason without "REASON_", as in "flows_stalled";
    Mode without "MODE_", as in "observe";
    Trend without "TREND_", as in "worsening";
    LockHealth without "LOCK_HEALTH_", as in "unhealthy";
    FailureKind without "FAILURE_KIND_", as in "lock_timeout";
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
        assert_eq!(Mode::Observe.to_string(), "observe");
        assert_eq!(Trend::Worsening.to_string(), "worsening");
        assert_eq!(LockHealth::Unhealthy.to_string(), "unhealthy");
        assert_eq!(FailureKind::LockTimeout.to_string(), "lock_timeout");
        assert_eq!(format!("{:<10}|", Verdict::Dead), "dead      |");
        assert_eq!(
            State::default().to_string(),
            "unknown: no_evidence; breaker closed: no_evidence"
        );
    }
}
