//! From the messages of the protocol.

use std::time::Duration;

use detector_api::v1;
use jiff::Timestamp;

use super::{
    Clause, Destroyed, Event, Explanation, Flow, PathState, PeerState, Probe, Removed, Route,
    Silence, TunedSocket,
};

impl From<v1::PeerState> for PeerState {
    fn from(state: v1::PeerState) -> Self {
        Self {
            verdict: word(state.verdict().as_str_name(), "VERDICT_"),
            breaker: word(state.breaker().as_str_name(), "BREAKER_"),
            reason: word(state.reason().as_str_name(), "REASON_"),
            breaker_reason: word(state.breaker_reason().as_str_name(), "REASON_"),
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
            srtt: duration(state.srtt),
            rtt_variance: duration(state.rtt_variance),
            health: state.health.map(Into::into),
            stalled_flows: state.stalled_flows,
            oldest_stall: duration(state.oldest_stall),
            contested: state.contested,
            paths: state.paths.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::PathState> for PathState {
    fn from(path: v1::PathState) -> Self {
        Self {
            verdict: word(path.verdict().as_str_name(), "VERDICT_"),
            reason: word(path.reason().as_str_name(), "REASON_"),
            breaker: word(path.breaker().as_str_name(), "BREAKER_"),
            address: path.address,
            last_heard_age: duration(path.last_heard_age),
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
            clauses: explanation.clauses.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Clause> for Clause {
    fn from(clause: v1::Clause) -> Self {
        Self {
            name: clause.name,
            measured: clause.measured,
            needed: clause.needed,
            holds: clause.holds,
            address: clause.address,
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
            detection_time: duration(silence.detection_time),
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
            tuned: flow.tuned,
            stalled_for: duration(flow.stalled_for),
        }
    }
}

impl From<v1::TunedSocket> for TunedSocket {
    fn from(socket: v1::TunedSocket) -> Self {
        Self {
            peer: socket.peer,
            local: socket.local,
            remote: socket.remote,
            cookie: socket.cookie,
            options: socket.options,
            tuned_at: timestamp(socket.tuned_at),
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
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

pub(super) fn timestamp(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
}

pub(super) fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| duration.try_into().ok())
}
