//! What `--output json` prints: the messages of `detector.v1`, fields named as there, values
//! of enums in lower snake case. Times are RFC 3339 in UTC and durations seconds, as in
//! `"0.253s"`: both as protobuf's own JSON writes them. An absent value is null.

mod convert;
mod correlations;
mod published;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

#[cfg(test)]
use self::correlations::SetOutlook;
pub use self::correlations::{Cascade, Health, Lock, PoolOutlook};
#[cfg(test)]
use crate::core;

/// `detector.v1.PeerState`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerState {
    pub peer: String,
    pub verdict: String,
    pub breaker: String,
    pub reason: String,
    pub generation: u64,
    pub revision: u64,
    pub mode: String,
    pub would_be_breaker: String,
    pub addresses: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    pub changed_at: Option<Timestamp>,
    #[serde(serialize_with = "seconds")]
    pub silence: Option<Duration>,
    pub isolated: bool,
    #[serde(serialize_with = "seconds")]
    pub last_heard_age: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub srtt: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub rtt_variance: Option<Duration>,
    pub health: Option<Health>,
    pub breaker_reason: String,
    pub stalled_flows: u32,
    #[serde(serialize_with = "seconds")]
    pub oldest_stall: Option<Duration>,
    pub contested: bool,
    pub paths: Vec<PathState>,
}

/// `detector.v1.PathState`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathState {
    pub address: String,
    pub verdict: String,
    pub reason: String,
    pub breaker: String,
    #[serde(serialize_with = "seconds")]
    pub last_heard_age: Option<Duration>,
}

/// `detector.v1.WatchPeersResponse.Removed`, told apart by `removed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Removed {
    pub peer: String,
    pub revision: u64,
    pub removed: bool,
}

/// `detector.v1.ExplainPeerResponse`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub peer: Option<PeerState>,
    pub silence: Option<Silence>,
    pub flows: Vec<Flow>,
    pub events: Vec<Event>,
    pub summary: String,
    pub probes: Vec<Probe>,
    pub routes: Vec<Route>,
    pub destroyed: Option<Destroyed>,
    #[serde(serialize_with = "rfc3339")]
    pub as_of: Option<Timestamp>,
    pub clauses: Vec<Clause>,
}

/// `detector.v1.Clause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    pub name: String,
    pub measured: String,
    pub needed: String,
    pub holds: bool,
    pub address: String,
}

/// `detector.v1.Silence`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Silence {
    #[serde(serialize_with = "seconds")]
    pub duration: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub detection_time: Option<Duration>,
    pub unanswered_transmissions: u32,
    pub required_transmissions: u32,
    pub loss_estimate: f64,
}

/// `detector.v1.Flow`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    pub local: String,
    pub remote: String,
    pub netns: u32,
    pub cookie: u64,
    pub state: String,
    pub rto_count: u32,
    pub backoff: u32,
    pub unacked_bytes: u32,
    pub send_window_bytes: u32,
    #[serde(serialize_with = "seconds")]
    pub last_heard_age: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub srtt: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub rto: Option<Duration>,
    pub demand: bool,
    pub tuned: Vec<String>,
    #[serde(serialize_with = "seconds")]
    pub stalled_for: Option<Duration>,
}

/// `detector.v1.Event`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    #[serde(serialize_with = "seconds")]
    pub age: Option<Duration>,
    pub kind: String,
    pub source: String,
    pub flow: String,
}

/// `detector.v1.Probe`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    pub kind: String,
    pub target: String,
    pub known_to_answer: bool,
    pub sent: u64,
    pub answered: u64,
    pub unanswered: u32,
    #[serde(serialize_with = "seconds")]
    pub last_answer_age: Option<Duration>,
    pub last_answer: String,
}

/// `detector.v1.Route`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    pub address: String,
    pub link: u32,
    pub gateway: String,
    pub link_up: bool,
    pub neighbour: String,
}

/// `detector.v1.Destroyed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Destroyed {
    pub destroyed: u32,
    pub spared: u32,
    pub gone: u32,
    pub failed: u32,
}

/// `detector.v1.TunedSocket`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunedSocket {
    pub peer: String,
    pub local: String,
    pub remote: String,
    pub cookie: u64,
    pub options: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    pub tuned_at: Option<Timestamp>,
}

/// `detector.v1.ListTunedSocketsResponse`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunedSockets {
    pub sockets: Vec<TunedSocket>,
}

fn rfc3339<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// Seconds with 0, 3, 6 or 9 digits behind the point, as protobuf's JSON mapping has it.
fn seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(duration) = duration else {
        return serializer.serialize_none();
    };
    let (secs, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let text = match nanos {
        0 => format!("{secs}s"),
        n if n % 1_000_000 == 0 => format!("{secs}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{secs}.{:06}s", n / 1_000),
        n => format!("{secs}.{n:09}s"),
    };
    serializer.serialize_str(&text)
}

/// One object on a line.
pub fn line(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(json) => json + "\n",
        // None of these types can fail: no maps with odd keys, no failing serializers.
        Err(error) => format!("{{\"error\":{:?}}}\n", error.to_string()),
    }
}
