//! What `--output json` prints: the messages of `detector.v1`, fields named as there, values
//! of enums in lower snake case. Times are RFC 3339 in UTC and durations seconds, as in
//! `"0.253s"`: both as protobuf's own JSON writes them. An absent value is null.

use std::time::Duration;

use detector_api::v1;
use jiff::Timestamp;
use serde::Serialize;

use crate::core::{self, Time};

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
}

/// `detector.v1.Silence`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Silence {
    #[serde(serialize_with = "seconds")]
    pub duration: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub patience: Option<Duration>,
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

impl From<v1::PeerState> for PeerState {
    fn from(state: v1::PeerState) -> Self {
        Self {
            verdict: word(state.verdict().as_str_name(), "VERDICT_"),
            breaker: word(state.breaker().as_str_name(), "BREAKER_"),
            reason: word(state.reason().as_str_name(), "REASON_"),
            mode: word(state.mode().as_str_name(), "MODE_"),
            would_be_breaker: word(state.would_be_breaker().as_str_name(), "BREAKER_"),
            peer: state.peer,
            generation: state.generation,
            revision: state.revision,
            addresses: state.addresses,
            changed_at: timestamp(state.changed_at),
            silence: duration(state.silence),
            isolated: state.isolated,
            last_heard_age: duration(state.last_heard_age),
        }
    }
}

impl PeerState {
    /// What is published at `now`; `wall` gives the wall-clock time.
    pub fn published(
        state: &core::PeerState,
        now: Time,
        wall: impl Fn(Time) -> Option<Timestamp>,
    ) -> Self {
        Self {
            peer: state.peer.to_string(),
            verdict: state.verdict.to_string(),
            breaker: state.breaker.to_string(),
            reason: state.reason.to_string(),
            generation: state.generation,
            revision: state.revision,
            mode: state.mode.to_string(),
            would_be_breaker: state.would_be_breaker.to_string(),
            addresses: state.addresses.iter().map(ToString::to_string).collect(),
            changed_at: wall(state.changed_at),
            silence: state.last_heard.map(|at| state.changed_at.since(at)),
            isolated: state.isolated,
            last_heard_age: state.last_heard.map(|at| now.since(at)),
        }
    }
}

impl From<v1::watch_peers_response::Removed> for Removed {
    fn from(removed: v1::watch_peers_response::Removed) -> Self {
        Self {
            peer: removed.peer,
            revision: removed.revision,
            removed: true,
        }
    }
}

impl From<v1::ExplainPeerResponse> for Explanation {
    fn from(explanation: v1::ExplainPeerResponse) -> Self {
        Self {
            peer: explanation.peer.map(Into::into),
            silence: explanation.silence.map(Into::into),
            flows: explanation.flows.into_iter().map(Into::into).collect(),
            events: explanation.events.into_iter().map(Into::into).collect(),
            summary: explanation.summary,
            probes: explanation.probes.into_iter().map(Into::into).collect(),
            routes: explanation.routes.into_iter().map(Into::into).collect(),
            destroyed: explanation.destroyed.map(Into::into),
            as_of: timestamp(explanation.as_of),
        }
    }
}

impl From<v1::Probe> for Probe {
    fn from(probe: v1::Probe) -> Self {
        Self {
            kind: probe.kind,
            target: probe.target,
            known_to_answer: probe.known_to_answer,
            sent: probe.sent,
            answered: probe.answered,
            unanswered: probe.unanswered,
            last_answer_age: duration(probe.last_answer_age),
            last_answer: probe.last_answer,
        }
    }
}

impl From<v1::Route> for Route {
    fn from(route: v1::Route) -> Self {
        Self {
            address: route.address,
            link: route.link,
            gateway: route.gateway,
            link_up: route.link_up,
            neighbour: route.neighbour,
        }
    }
}

impl From<v1::Destroyed> for Destroyed {
    fn from(destroyed: v1::Destroyed) -> Self {
        Self {
            destroyed: destroyed.destroyed,
            spared: destroyed.spared,
            gone: destroyed.gone,
            failed: destroyed.failed,
        }
    }
}

impl From<v1::Silence> for Silence {
    fn from(silence: v1::Silence) -> Self {
        Self {
            duration: duration(silence.duration),
            patience: duration(silence.patience),
            unanswered_transmissions: silence.unanswered_transmissions,
            required_transmissions: silence.required_transmissions,
            loss_estimate: silence.loss_estimate,
        }
    }
}

impl From<v1::Flow> for Flow {
    fn from(flow: v1::Flow) -> Self {
        Self {
            local: flow.local,
            remote: flow.remote,
            netns: flow.netns,
            cookie: flow.cookie,
            state: flow.state,
            rto_count: flow.rto_count,
            backoff: flow.backoff,
            unacked_bytes: flow.unacked_bytes,
            send_window_bytes: flow.send_window_bytes,
            last_heard_age: duration(flow.last_heard_age),
            srtt: duration(flow.srtt),
            rto: duration(flow.rto),
            demand: flow.demand,
        }
    }
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        Self {
            age: duration(event.age),
            kind: event.kind,
            source: event.source,
            flow: event.flow,
        }
    }
}

/// A protobuf enum's name without its prefix, in lower case.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| duration.try_into().ok())
}

fn timestamp(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    /// The field names of a message, from the protocol itself.
    fn proto_fields(message: &str) -> BTreeSet<String> {
        let set = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let mut messages: Vec<_> = set
            .file
            .into_iter()
            .filter(|file| file.package() == "detector.v1")
            .flat_map(|file| file.message_type)
            .collect();
        let nested: Vec<_> = messages
            .iter()
            .flat_map(|m| m.nested_type.clone())
            .collect();
        messages.extend(nested);
        let found = messages.into_iter().find(|m| m.name() == message).unwrap();
        found.field.iter().map(|f| f.name().to_owned()).collect()
    }

    fn json_fields(value: &impl Serialize) -> BTreeSet<String> {
        match serde_json::to_value(value).unwrap() {
            serde_json::Value::Object(object) => object.keys().cloned().collect(),
            other => panic!("{other}"),
        }
    }

    fn explanation() -> Explanation {
        v1::ExplainPeerResponse {
            peer: Some(v1::PeerState::default()),
            silence: Some(v1::Silence::default()),
            flows: vec![v1::Flow::default()],
            events: vec![v1::Event::default()],
            summary: String::new(),
            probes: vec![v1::Probe::default()],
            routes: vec![v1::Route::default()],
            destroyed: Some(v1::Destroyed::default()),
            as_of: Some(prost_types::Timestamp::default()),
        }
        .into()
    }

    #[test]
    fn fields_are_named_as_in_the_protocol() {
        let explanation = explanation();
        assert_eq!(
            json_fields(&explanation),
            proto_fields("ExplainPeerResponse")
        );
        assert_eq!(json_fields(&explanation.peer), proto_fields("PeerState"));
        assert_eq!(json_fields(&explanation.silence), proto_fields("Silence"));
        assert_eq!(json_fields(&explanation.flows[0]), proto_fields("Flow"));
        assert_eq!(json_fields(&explanation.events[0]), proto_fields("Event"));
        assert_eq!(json_fields(&explanation.probes[0]), proto_fields("Probe"));
        assert_eq!(json_fields(&explanation.routes[0]), proto_fields("Route"));
        let destroyed = explanation.destroyed.unwrap();
        assert_eq!(json_fields(&destroyed), proto_fields("Destroyed"));
        let removed = Removed::from(v1::watch_peers_response::Removed::default());
        let mut expected = proto_fields("Removed");
        expected.insert("removed".to_owned());
        assert_eq!(json_fields(&removed), expected);
    }

    #[test]
    fn the_protocol_s_words_are_the_core_s() {
        let state = |verdict: &core::Verdict, breaker: &core::Breaker, reason: &core::Reason| {
            let name = |prefix, word: &str| format!("{prefix}_{}", word.to_uppercase());
            PeerState::from(v1::PeerState {
                verdict: v1::Verdict::from_str_name(&name("VERDICT", verdict.as_str()))
                    .unwrap()
                    .into(),
                breaker: v1::Breaker::from_str_name(&name("BREAKER", breaker.as_str()))
                    .unwrap()
                    .into(),
                reason: v1::Reason::from_str_name(&name("REASON", reason.as_str()))
                    .unwrap()
                    .into(),
                ..Default::default()
            })
        };
        for verdict in core::Verdict::ALL {
            for breaker in core::Breaker::ALL {
                for reason in core::Reason::ALL {
                    let state = state(verdict, breaker, reason);
                    assert_eq!(state.verdict, verdict.as_str());
                    assert_eq!(state.breaker, breaker.as_str());
                    assert_eq!(state.reason, reason.as_str());
                }
            }
        }
    }

    #[test]
    fn times_and_durations_are_written_as_protobuf_writes_them() {
        let state = PeerState::from(v1::PeerState {
            peer: "http://node4:9000".to_owned(),
            verdict: v1::Verdict::Dead.into(),
            breaker: v1::Breaker::HalfOpen.into(),
            changed_at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_000_000,
            }),
            silence: Some(Duration::from_millis(253).try_into().unwrap()),
            ..Default::default()
        });
        assert_eq!(
            line(&state),
            concat!(
                r#"{"peer":"http://node4:9000","verdict":"dead","breaker":"half_open","#,
                r#""reason":"unspecified","generation":0,"revision":0,"mode":"unspecified","#,
                r#""would_be_breaker":"unspecified","addresses":[],"#,
                r#""changed_at":"2023-11-14T22:13:20.123Z","silence":"0.253s","#,
                r#""isolated":false,"last_heard_age":null}"#,
                "\n"
            )
        );
        for (nanos, text) in [
            (0, "0s"),
            (1_500_000_000, "1.500s"),
            (1_000, "0.000001s"),
            (1, "0.000000001s"),
        ] {
            let mut event = explanation().events.remove(0);
            event.age = Some(Duration::from_nanos(nanos));
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["age"], text);
        }
    }
}
