//! Converts the model's types to the protocol's.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use detector_api::v1;
use tonic::Status;

use crate::{
    clock,
    effect::protect::Tuned,
    model::{
        Breaker, ClauseLine, Destroyed, EventLine, Explanation, FlowLine, Health, Mode, Override,
        OverrideKind, PathState, PeerName, PeerState, ProbeLine, Reason, RouteLine, SilenceLine,
        Time, Trend, Trial, TrialError, TrialOutcome, Verdict,
    },
    serve::board::{Change, History, SAMPLE_EVERY, Samples, Snapshot, Transition},
};

/// Makes a function for each enum, from its values to those of the same name in the protocol. It
/// does not compile until each value is named.
macro_rules! same_words {
    ($($function:ident: $name:ident { $($value:ident)+ })+) => { $(
        fn $function(value: $name) -> v1::$name {
            match value { $($name::$value => v1::$name::$value,)+ }
        }
    )+ };
}
pub(super) use same_words;

same_words! {
    verdict: Verdict { Unknown Alive Suspect Degraded Dead }
    breaker: Breaker { Closed Open HalfOpen }
    mode: Mode { Enforce Observe }
    trend: Trend { Steady Improving Worsening }
    override_kind: OverrideKind { Maintenance Open Closed }
    reason: Reason {
        NoEvidence PacketReceived ConnectSucceeded ResetReceived TlpUnanswered RtoUnanswered
        ConnectUnanswered ErrorReported ZeroWindow ProbeUnanswered NeighbourFailed ProbeAnswered
        Isolated RecoveryTimeout TrialSucceeded TrialFailed FailuresReported SlownessReported
        HostUnanswered SendsUnanswered FlowsStalled LargeSegmentsLost PathDead Maintenance
        ForcedOpen ForcedClosed DeadBeforeStart
    }
}

/// How long a client may rely on the states after the last message of a stream. A stream sends at
/// least one message each second, so two of them may be late.
pub(super) const STATE_TTL: Duration = Duration::from_secs(3);

pub(in crate::serve) fn peer_state(state: &PeerState) -> v1::PeerState {
    peer_state_at(state, clock::now(), |at| Some(clock::wall(at)))
}

/// What is published at `now`; `wall` gives the wall-clock time.
pub fn peer_state_at(
    state: &PeerState,
    now: Time,
    wall: impl Fn(Time) -> Option<SystemTime>,
) -> v1::PeerState {
    let path = |path| path_state(path, now);
    v1::PeerState {
        peer: state.peer.to_string(),
        verdict: verdict(state.verdict).into(),
        breaker: breaker(state.breaker).into(),
        reason: reason(state.reason).into(),
        generation: state.generation,
        revision: state.revision,
        mode: mode(state.mode).into(),
        would_be_breaker: breaker(state.would_be_breaker).into(),
        addresses: state.addresses.iter().map(IpAddr::to_string).collect(),
        changed_at: wall(state.changed_at).map(Into::into),
        silence: age(state.last_heard, state.changed_at),
        isolated: state.isolated,
        last_heard_age: age(state.last_heard, now),
        srtt: state.srtt.map(duration),
        rtt_variance: state.rtt_variance.map(duration),
        health: state.health.as_ref().map(health),
        breaker_reason: reason(state.breaker_reason).into(),
        stalled_flows: state.stalled_flows,
        oldest_stall: state.oldest_stall.map(duration),
        contested: state.contested,
        paths: state.paths.iter().map(path).collect(),
        r#override: state
            .overridden
            .as_ref()
            .map(|overridden| shown_override(overridden, wall)),
    }
}

fn shown_override(
    overridden: &Override,
    wall: impl Fn(Time) -> Option<SystemTime>,
) -> v1::Override {
    v1::Override {
        kind: override_kind(overridden.kind).into(),
        until: wall(overridden.until).map(Into::into),
        reason: overridden.reason.to_string(),
        uid: overridden.uid,
    }
}

fn path_state(path: &PathState, now: Time) -> v1::PathState {
    v1::PathState {
        address: path.address.to_string(),
        verdict: verdict(path.verdict).into(),
        reason: reason(path.reason).into(),
        breaker: breaker(path.breaker).into(),
        last_heard_age: age(path.last_heard, now),
        flows: path.measured.flows,
        srtt: path.measured.srtt.map(duration),
        loss: Some(path.measured.loss),
    }
}

fn age(heard: Option<Time>, now: Time) -> Option<prost_types::Duration> {
    heard.map(|heard| duration(now.since(heard)))
}

fn health(health: &Health) -> v1::Health {
    v1::Health {
        score: health.score,
        trend: trend(health.trend).into(),
        loss_penalty: health.loss_penalty,
        rtt_penalty: health.rtt_penalty,
        stall_penalty: health.stall_penalty,
        timeout_penalty: health.timeout_penalty,
    }
}

pub(super) fn snapshot(snapshot: &Snapshot) -> v1::watch_peers_response::Snapshot {
    v1::watch_peers_response::Snapshot {
        instance: snapshot.instance.clone(),
        revision: snapshot.revision,
        peers: snapshot.peers.iter().map(|s| peer_state(s)).collect(),
        ttl: Some(duration(STATE_TTL)),
        protocol: detector_api::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The message that everything up to `revision` still holds.
pub(super) fn current(revision: u64) -> v1::watch_peers_response::Current {
    v1::watch_peers_response::Current {
        revision,
        ttl: Some(duration(STATE_TTL)),
        protocol: detector_api::PROTOCOL,
    }
}

pub(super) fn change(change: &Change) -> v1::watch_peers_response::Event {
    use v1::watch_peers_response::{Event, Removed};
    match change {
        Change::Changed(state) => Event::Changed(peer_state(state)),
        Change::Removed { peer, revision } => Event::Removed(Removed {
            peer: peer.to_string(),
            revision: *revision,
        }),
    }
}

/// The evidence behind a verdict, as of `now`.
pub fn explanation(explanation: &Explanation, now: Time) -> v1::ExplainPeerResponse {
    v1::ExplainPeerResponse {
        peer: Some(peer_state(&explanation.state)),
        silence: Some(silence(&explanation.silence)),
        flows: explanation.flows.iter().map(|f| flow(f, now)).collect(),
        events: explanation.events.iter().map(|e| event(e, now)).collect(),
        summary: explanation.summary.clone(),
        probes: explanation.probes.iter().map(|p| probe(p, now)).collect(),
        routes: explanation.routes.iter().map(route).collect(),
        destroyed: explanation.destroyed.map(destroyed),
        as_of: Some(clock::wall(now).into()),
        clauses: explanation.clauses.iter().map(clause).collect(),
    }
}

/// What a peer was before, as of `now`.
pub(in crate::serve) fn history(peer: &PeerName, history: &History, now: Time) -> v1::PeerHistory {
    let Samples {
        srtt_micros,
        loss_permille,
    } = history.samples(now);
    let transitions = history.transitions();
    v1::PeerHistory {
        peer: peer.to_string(),
        transitions: transitions.map(|t| transition(peer, t)).collect(),
        step: Some(duration(SAMPLE_EVERY)),
        srtt_micros,
        loss_permille,
    }
}

/// One change of a verdict or breaker.
pub(in crate::serve) fn transition(peer: &PeerName, transition: &Transition) -> v1::Transition {
    v1::Transition {
        peer: peer.to_string(),
        at: Some(clock::wall(transition.at).into()),
        from: verdict(transition.from).into(),
        to: verdict(transition.to).into(),
        reason: reason(transition.reason).into(),
        breaker: breaker(transition.breaker).into(),
        breaker_reason: reason(transition.breaker_reason).into(),
        revision: transition.revision,
    }
}

fn clause(line: &ClauseLine) -> v1::Clause {
    v1::Clause {
        name: line.name.to_owned(),
        measured: line.measured.clone(),
        needed: line.needed.clone(),
        holds: line.holds,
        address: line.address.to_string(),
    }
}

fn silence(silence: &SilenceLine) -> v1::Silence {
    v1::Silence {
        duration: Some(duration(silence.duration)),
        detection_time: Some(duration(silence.detection_time)),
        unanswered_transmissions: silence.unanswered_transmissions,
        required_transmissions: silence.required_transmissions,
        loss_estimate: silence.loss_estimate,
        observed_loss: Some(silence.observed_loss),
        counts_moments: silence.counts_moments,
    }
}

fn flow(line: &FlowLine, now: Time) -> v1::Flow {
    let reading = &line.reading;
    v1::Flow {
        local: reading.id.local.to_string(),
        remote: reading.id.remote.to_string(),
        netns: reading.id.netns,
        cookie: reading.cookie,
        state: reading.state.as_str().to_owned(),
        rto_count: reading.rto_count,
        backoff: reading.backoff,
        unacked_bytes: reading.unacked_bytes,
        send_window_bytes: reading.send_window_bytes,
        last_heard_age: reading.last_heard.map(|at| duration(now.since(at))),
        srtt: Some(duration(reading.srtt)),
        rto: Some(duration(reading.rto)),
        demand: line.demand,
        tuned: Vec::new(),
        stalled_for: line.stalled_for.map(duration),
    }
}

/// Adds to each flow the options that it was tuned with.
pub(super) fn mark_tuned(flows: &mut [v1::Flow], tuned: &[Tuned]) {
    let options: HashMap<u64, _> = tuned.iter().map(|t| (t.cookie, &t.options)).collect();
    for flow in flows {
        if let Some(options) = options.get(&flow.cookie) {
            flow.tuned = options.iter().map(|&option| option.to_owned()).collect();
        }
    }
}

/// A tuned connection.
pub fn tuned_socket(socket: &Tuned) -> v1::TunedSocket {
    let peer = socket.peer.as_ref();
    v1::TunedSocket {
        peer: peer.map_or_else(String::new, ToString::to_string),
        local: socket.local.to_string(),
        remote: socket.remote.to_string(),
        cookie: socket.cookie,
        options: socket.options.iter().map(|&o| o.to_owned()).collect(),
        tuned_at: Some(clock::wall(socket.at).into()),
    }
}

fn event(line: &EventLine, now: Time) -> v1::Event {
    v1::Event {
        age: Some(duration(now.since(line.at))),
        kind: line.what.as_str().to_owned(),
        source: line.source.as_str().to_owned(),
        flow: line.what.subject(),
    }
}

fn probe(line: &ProbeLine, now: Time) -> v1::Probe {
    v1::Probe {
        kind: line.target.as_str().to_owned(),
        target: line.target.to_string(),
        known_to_answer: line.known_to_answer,
        sent: line.sent,
        answered: line.answered,
        unanswered: line.unanswered,
        last_answer_age: line.last_answer.map(|(at, _)| duration(now.since(at))),
        last_answer: line
            .last_answer
            .map_or_else(String::new, |(_, answer)| answer.as_str().to_owned()),
    }
}

fn route(line: &RouteLine) -> v1::Route {
    let neighbour = line.neighbour.map(|state| state.as_str().to_owned());
    v1::Route {
        address: line.addr.to_string(),
        link: line.route.link,
        gateway: line
            .route
            .gateway
            .map_or_else(String::new, |gateway| gateway.to_string()),
        link_up: line.link_up,
        neighbour: neighbour.unwrap_or_default(),
    }
}

fn destroyed(destroyed: Destroyed) -> v1::Destroyed {
    v1::Destroyed {
        destroyed: destroyed.destroyed,
        spared: destroyed.spared,
        gone: destroyed.gone,
        failed: destroyed.failed,
    }
}

pub(super) fn trial(trial: &Trial) -> v1::AcquireTrialResponse {
    v1::AcquireTrialResponse {
        trial: trial.id,
        lease: Some(duration(trial.lease)),
    }
}

/// `None` for the unspecified value, and for values that this version does not know.
pub(super) fn trial_outcome(outcome: i32) -> Option<TrialOutcome> {
    match v1::TrialOutcome::try_from(outcome) {
        Ok(v1::TrialOutcome::Succeeded) => Some(TrialOutcome::Succeeded),
        Ok(v1::TrialOutcome::Failed) => Some(TrialOutcome::Failed),
        _ => None,
    }
}

pub(super) fn trial_error(error: TrialError) -> Status {
    let text = error.to_string();
    match error {
        TrialError::UnknownPeer | TrialError::UnknownTrial => Status::not_found(text),
        TrialError::NotHalfOpen => Status::failed_precondition(text),
        TrialError::Exhausted => Status::resource_exhausted(text),
    }
}

/// The protocol's duration. One beyond its range (292 billion years) becomes the longest possible.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}
