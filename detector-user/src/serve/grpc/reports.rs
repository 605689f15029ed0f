//! Converts the reports of clients. A whole request is checked before any of its reports counts.

use std::time::Duration;

use detector_api::v1;
use tonic::Status;

use super::{MAX_PEER_BYTES, convert::same_words};
use crate::{
    config::parse_peer_name,
    model::{Operation, OperationReport, Outcome, PeerName, Time},
};

/// The most reports in one request.
const MAX_REPORTS: usize = 1024;

/// The longest name of a lock, in bytes.
const MAX_LOCK_BYTES: usize = 512;

/// The longest duration of an operation.
const MAX_DURATION: Duration = Duration::from_secs(86_400);

/// The age beyond which a report is refused.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The size of a request with that many reports and the longest locks and names.
pub(super) const MAX_REQUEST_BYTES: usize = 2 << 20;

/// The reports of a request that was received at `now`.
///
/// # Errors
///
/// `INVALID_ARGUMENT` names the first wrong entry and its field; then none of the reports counts.
pub(super) fn reports(
    reports: Vec<v1::OperationReport>,
    now: Time,
) -> Result<Vec<OperationReport>, Status> {
    if reports.len() > MAX_REPORTS {
        return Err(Status::invalid_argument(format!(
            "reports: {} of them; {MAX_REPORTS} is the most in one request",
            reports.len()
        )));
    }
    let numbered = reports.into_iter().enumerate();
    numbered
        .map(|(index, entry)| {
            report(entry, now).map_err(|Wrong { field, what }| {
                Status::invalid_argument(format!("reports[{index}].{field}: {what}"))
            })
        })
        .collect()
}

/// The error of one report.
struct Wrong {
    field: &'static str,
    what: String,
}

fn wrong(field: &'static str, what: impl Into<String>) -> Wrong {
    let what = what.into();
    Wrong { field, what }
}

fn report(entry: v1::OperationReport, now: Time) -> Result<OperationReport, Wrong> {
    let duration = span("duration", entry.duration, MAX_DURATION)?;
    let age = span("age", entry.age, MAX_AGE)?;
    Ok(OperationReport {
        operation: known("operation", entry.operation, Operation::ALL, operation)?,
        outcome: known("outcome", entry.outcome, Outcome::ALL, outcome)?,
        peer: peer(&entry.peer)?,
        lock: lock(&entry.lock)?.map(Into::into),
        ended_at: now - age,
        duration,
        retries: entry.retries,
    })
}

same_words! {
    operation: Operation { Control Bulk DiskState IamRead Console Lock Upload }
    outcome: Outcome { Succeeded TimedOut Unreachable Refused QuorumLost }
}

/// The value whose word in the protocol has this number.
fn known<T: Copy, W: TryFrom<i32> + PartialEq>(
    field: &'static str,
    number: i32,
    all: &[T],
    word: fn(T) -> W,
) -> Result<T, Wrong> {
    let said = W::try_from(number).ok();
    let known = all.iter().find(|value| Some(word(**value)) == said);
    known.copied().ok_or_else(|| match number {
        0 => wrong(field, "say which it is"),
        _ => wrong(field, format!("{number} is none that is known")),
    })
}

fn peer(name: &str) -> Result<Option<PeerName>, Wrong> {
    if name.is_empty() {
        return Ok(None);
    }
    if name.len() > MAX_PEER_BYTES {
        let what = format!("{} bytes; {MAX_PEER_BYTES} is the most", name.len());
        return Err(wrong("peer", what));
    }
    match parse_peer_name(name) {
        Ok(spec) => Ok(Some(spec.name)),
        Err(error) => Err(wrong("peer", error.to_string())),
    }
}

fn lock(name: &str) -> Result<Option<&str>, Wrong> {
    if name.len() > MAX_LOCK_BYTES {
        let what = format!("{} bytes; {MAX_LOCK_BYTES} is the most", name.len());
        return Err(wrong("lock", what));
    }
    if name.chars().any(char::is_control) {
        return Err(wrong("lock", format!("{name:?} has control characters")));
    }
    Ok((!name.is_empty()).then_some(name))
}

fn span(
    field: &'static str,
    span: Option<prost_types::Duration>,
    most: Duration,
) -> Result<Duration, Wrong> {
    let Some(span) = span else {
        return Ok(Duration::ZERO);
    };
    match Duration::try_from(span) {
        Ok(span) if span <= most => Ok(span),
        Ok(span) => Err(wrong(field, format!("{span:?}; {most:?} is the most"))),
        Err(error) => Err(wrong(field, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(1_000_000_000_000);

    fn entry() -> v1::OperationReport {
        v1::OperationReport {
            operation: v1::Operation::Lock.into(),
            outcome: v1::Outcome::TimedOut.into(),
            peer: "HTTP://Node4:9000/data/rustfs1".to_owned(),
            lock: "iam/users".to_owned(),
            duration: Some(prost_types::Duration {
                seconds: 3,
                nanos: 0,
            }),
            age: Some(prost_types::Duration {
                seconds: 0,
                nanos: 500,
            }),
            retries: 2,
        }
    }

    fn message(entry: v1::OperationReport) -> String {
        let valid = self::entry();
        let status = reports(vec![valid, entry], NOW).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    }

    #[test]
    fn a_report_is_read_and_its_peer_s_name_made_canonical() {
        let read = reports(vec![entry()], NOW).unwrap().remove(0);
        let expected = OperationReport {
            operation: Operation::Lock,
            outcome: Outcome::TimedOut,
            peer: Some(PeerName::from_canonical("http://node4:9000")),
            lock: Some("iam/users".into()),
            ended_at: NOW - Duration::from_nanos(500),
            duration: Duration::from_secs(3),
            retries: 2,
        };
        assert_eq!(read, expected);
        let least = v1::OperationReport {
            operation: v1::Operation::Upload.into(),
            outcome: v1::Outcome::QuorumLost.into(),
            ..Default::default()
        };
        let read = reports(vec![least], NOW).unwrap().remove(0);
        assert_eq!((read.peer, read.lock, read.ended_at), (None, None, NOW));
    }

    #[test]
    fn every_word_of_the_protocol_is_known() {
        for number in 1..=7 {
            let read = known("", number, Operation::ALL, operation);
            assert!(read.is_ok(), "{number}");
        }
        for number in 1..=5 {
            let read = known("", number, Outcome::ALL, outcome);
            assert!(read.is_ok(), "{number}");
        }
        assert!(v1::Operation::try_from(8).is_err() && v1::Outcome::try_from(6).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry_and_field() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        type Breaks = fn(&mut v1::OperationReport);
        let broken: [(Breaks, &str); 9] = [
            (|e| e.operation = 0, "reports[1].operation: say which it is"),
            (|e| e.operation = 99, "reports[1].operation: 99 is none"),
            (|e| e.outcome = 0, "reports[1].outcome: say which it is"),
            (|e| e.outcome = -1, "reports[1].outcome: -1 is none"),
            (|e| e.peer = "node4".into(), "reports[1].peer: "),
            (|e| e.peer = "http://a b:1".into(), "reports[1].peer: "),
            (
                |e| e.peer = format!("http://{}:1", "n".repeat(2000)),
                "reports[1].peer: 2009 bytes; 1024",
            ),
            (|e| e.lock = "l".repeat(513), "reports[1].lock: 513 bytes"),
            (
                |e| e.lock = "a\nb".into(),
                "reports[1].lock: \"a\\nb\" has control",
            ),
        ];
        for (breaks, expected) in broken {
            let mut entry = entry();
            breaks(&mut entry);
            let message = message(entry);
            assert!(message.starts_with(expected), "{message}");
        }
        for (span, expected) in [
            (seconds(-1), "reports[1].duration: "),
            (
                seconds(86_401),
                "reports[1].duration: 86401s; 86400s is the most",
            ),
            (seconds(i64::MAX), "reports[1].duration: "),
        ] {
            let message = message(v1::OperationReport {
                duration: span,
                ..entry()
            });
            assert!(message.starts_with(expected), "{message}");
        }
        let old = v1::OperationReport {
            age: seconds(3601),
            ..entry()
        };
        assert_eq!(message(old), "reports[1].age: 3601s; 3600s is the most");
    }

    #[test]
    fn their_number_is_bounded() {
        assert_eq!(reports(vec![entry(); 1024], NOW).unwrap().len(), 1024);
        let status = reports(vec![entry(); 1025], NOW).unwrap_err();
        assert!(status.message().contains("1024 is the most"), "{status}");
    }
}
