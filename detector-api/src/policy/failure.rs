//! What an error says about the peer.

use std::{error::Error, io};

use tonic::{Code, Status};

use crate::{PeerDown, Refused, v1::Outcome};

/// An error of a call, as far as it shows the state of the peer.
///
/// What matters is whether the peer *answered*: an answer that refuses a request still comes from a
/// living host.
///
/// ```
/// use detector_api::{policy::CallFailure, v1::Outcome};
/// use tonic::Status;
///
/// assert_eq!(Status::unavailable("transport error").outcome(), Outcome::Unreachable);
/// assert_eq!(Status::not_found("no such object").outcome(), Outcome::Refused);
///
/// // For an error of one's own:
/// enum ReadError { Gone, Corrupt }
/// impl CallFailure for ReadError {
///     fn outcome(&self) -> Outcome {
///         match self {
///             Self::Gone => Outcome::Unreachable,
///             Self::Corrupt => Outcome::Refused,
///         }
///     }
/// }
/// ```
pub trait CallFailure {
    /// [`Outcome::TimedOut`], [`Outcome::Unreachable`], [`Outcome::QuorumLost`], or
    /// [`Outcome::Refused`] when the peer answered.
    fn outcome(&self) -> Outcome;

    /// Whether the breaker caused the error, as connections of this crate report it: the call was
    /// not made, or was ended. This is no news to the daemon, and is not reported.
    fn is_of_breaker(&self) -> bool {
        false
    }
}

/// Like RustFS's `is_network_like_status`: `Unavailable`, or `Unknown` from the transport. Tonic's
/// own time-out is `Cancelled` or `DeadlineExceeded`.
impl CallFailure for Status {
    fn outcome(&self) -> Outcome {
        match self.code() {
            Code::Unavailable => Outcome::Unreachable,
            // No trial was free: the peer was not asked, and another attempt may be.
            Code::ResourceExhausted if self.is_of_breaker() => Outcome::Unreachable,
            Code::DeadlineExceeded => Outcome::TimedOut,
            Code::Cancelled if self.message().contains("Timeout") => Outcome::TimedOut,
            Code::Unknown if self.source().is_some() => Outcome::Unreachable,
            Code::Unknown if transport_words(self.message()) => Outcome::Unreachable,
            _ => Outcome::Refused,
        }
    }

    fn is_of_breaker(&self) -> bool {
        is_of_breaker(self)
    }
}

fn transport_words(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "transport error",
        "error trying to connect",
        "connection aborted",
        "connection closed",
        "connection reset",
        "broken pipe",
        "timed out",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// A refused connection is an answer of the host; all other errors are not.
impl CallFailure for io::Error {
    fn outcome(&self) -> Outcome {
        match self.kind() {
            io::ErrorKind::TimedOut => Outcome::TimedOut,
            io::ErrorKind::ConnectionRefused => Outcome::Refused,
            _ => Outcome::Unreachable,
        }
    }

    fn is_of_breaker(&self) -> bool {
        is_of_breaker(self)
    }
}

fn is_of_breaker(error: &(dyn Error + 'static)) -> bool {
    PeerDown::find(error).is_some() || Refused::find(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guard_of_a_connection_ended_is_of_the_breaker() {
        let down = PeerDown {
            peer: "http://node4:9000".to_owned(),
            reason: crate::v1::Reason::RtoUnanswered,
            since: None,
        };
        assert!(io::Error::from(down).is_of_breaker());
        assert!(!io::Error::from(io::ErrorKind::ConnectionAborted).is_of_breaker());
    }

    #[test]
    fn a_status_is_read_as_rustfs_reads_it() {
        for (status, outcome) in [
            (Status::unavailable("x"), Outcome::Unreachable),
            (Status::unknown("Transport error"), Outcome::Unreachable),
            (
                Status::unknown("connection aborted by us"),
                Outcome::Unreachable,
            ),
            (Status::unknown("no such disk"), Outcome::Refused),
            (Status::deadline_exceeded("x"), Outcome::TimedOut),
            (Status::cancelled("Timeout expired"), Outcome::TimedOut),
            (
                Status::cancelled("operation was canceled"),
                Outcome::Refused,
            ),
            (Status::permission_denied("x"), Outcome::Refused),
            (Status::internal("x"), Outcome::Refused),
        ] {
            assert_eq!(status.outcome(), outcome, "{status:?}");
        }
    }

    #[test]
    fn what_the_breaker_ended_says_nothing_of_the_peer() {
        let refused = Refused::TrialsTaken {
            peer: "http://node4:9000".to_owned(),
        };
        let exhausted = Status::resource_exhausted(refused.to_string());
        assert!(!exhausted.is_of_breaker());
        assert_eq!(exhausted.outcome(), Outcome::Refused);
        let status = Status::from(refused);
        assert!(status.is_of_breaker());
        assert_eq!(status.outcome(), Outcome::Unreachable);
    }

    #[test]
    fn a_refused_connect_is_an_answer() {
        let of = |kind| io::Error::from(kind).outcome();
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Outcome::Refused);
        assert_eq!(of(io::ErrorKind::TimedOut), Outcome::TimedOut);
        assert_eq!(of(io::ErrorKind::ConnectionAborted), Outcome::Unreachable);
    }
}
