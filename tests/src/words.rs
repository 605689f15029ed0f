//! The protocol's enums in the words of the log and the JSON: lower snake case.

use detector_api::v1::{Breaker, Reason, Verdict};

/// As in `dead`.
pub fn verdict(verdict: Verdict) -> String {
    strip(verdict.as_str_name(), "VERDICT_")
}

/// As in `half_open`.
pub fn breaker(breaker: Breaker) -> String {
    strip(breaker.as_str_name(), "BREAKER_")
}

/// As in `rto_unanswered`.
pub fn reason(reason: Reason) -> String {
    strip(reason.as_str_name(), "REASON_")
}

fn strip(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_prefix() {
        assert_eq!(verdict(Verdict::Dead), "dead");
        assert_eq!(breaker(Breaker::HalfOpen), "half_open");
        assert_eq!(reason(Reason::RtoUnanswered), "rto_unanswered");
    }
}
