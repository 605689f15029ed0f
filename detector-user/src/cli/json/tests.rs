use std::collections::BTreeSet;

use detector_api::v1;
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
        peer: Some(v1::PeerState {
            paths: vec![v1::PathState::default()],
            ..Default::default()
        }),
        silence: Some(v1::Silence::default()),
        flows: vec![v1::Flow::default()],
        events: vec![v1::Event::default()],
        summary: String::new(),
        probes: vec![v1::Probe::default()],
        routes: vec![v1::Route::default()],
        destroyed: Some(v1::Destroyed::default()),
        as_of: Some(prost_types::Timestamp::default()),
        clauses: vec![v1::Clause::default()],
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
    let peer = explanation.peer.as_ref().unwrap();
    assert_eq!(json_fields(&peer.paths[0]), proto_fields("PathState"));
    assert_eq!(json_fields(&explanation.clauses[0]), proto_fields("Clause"));
    assert_eq!(json_fields(&explanation.silence), proto_fields("Silence"));
    assert_eq!(json_fields(&explanation.flows[0]), proto_fields("Flow"));
    assert_eq!(json_fields(&explanation.events[0]), proto_fields("Event"));
    assert_eq!(json_fields(&explanation.probes[0]), proto_fields("Probe"));
    assert_eq!(json_fields(&explanation.routes[0]), proto_fields("Route"));
    let health = Health::from(v1::Health::default());
    assert_eq!(json_fields(&health), proto_fields("Health"));
    let lock = Lock::from(v1::Lock::default());
    assert_eq!(json_fields(&lock), proto_fields("Lock"));
    let cascade = Cascade::from(v1::Cascade::default());
    assert_eq!(json_fields(&cascade), proto_fields("Cascade"));
    let pool = PoolOutlook::from(v1::PoolOutlook::default());
    assert_eq!(json_fields(&pool), proto_fields("PoolOutlook"));
    let set = SetOutlook::from(v1::SetOutlook::default());
    assert_eq!(json_fields(&set), proto_fields("SetOutlook"));
    let destroyed = explanation.destroyed.unwrap();
    assert_eq!(json_fields(&destroyed), proto_fields("Destroyed"));
    let tuned = TunedSocket::from(v1::TunedSocket::default());
    assert_eq!(json_fields(&tuned), proto_fields("TunedSocket"));
    let sockets = TunedSockets {
        sockets: vec![tuned],
    };
    let expected = proto_fields("ListTunedSocketsResponse");
    assert_eq!(json_fields(&sockets), expected);
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
            breaker_reason: v1::Reason::from_str_name(&name("REASON", reason.as_str()))
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
                assert_eq!(state.breaker_reason, reason.as_str());
            }
        }
    }
}

#[test]
fn a_flow_s_stall_a_path_and_a_clause_keep_what_was_told() {
    let stalled_for = Some(Duration::from_millis(2_400));
    let age = Some(Duration::from_millis(312));
    let told = |duration: Option<Duration>| duration.map(|d| d.try_into().unwrap());
    let explanation = Explanation::from(v1::ExplainPeerResponse {
        peer: Some(v1::PeerState {
            stalled_flows: 1,
            oldest_stall: told(stalled_for),
            contested: true,
            paths: vec![v1::PathState {
                address: "10.0.0.4".to_owned(),
                verdict: v1::Verdict::Dead.into(),
                reason: v1::Reason::HostUnanswered.into(),
                breaker: v1::Breaker::Open.into(),
                last_heard_age: told(age),
            }],
            ..Default::default()
        }),
        flows: vec![v1::Flow {
            stalled_for: told(stalled_for),
            ..Default::default()
        }],
        clauses: vec![v1::Clause {
            name: "silent_long_enough".to_owned(),
            measured: "312 ms".to_owned(),
            needed: "at least 250 ms".to_owned(),
            holds: true,
            address: "10.0.0.4".to_owned(),
        }],
        ..Default::default()
    });
    let json = serde_json::to_value(&explanation).unwrap();
    let peer = &json["peer"];
    assert_eq!(peer["stalled_flows"], 1);
    assert_eq!(peer["oldest_stall"], "2.400s");
    assert_eq!(peer["contested"], true);
    let path = serde_json::json!({
        "address": "10.0.0.4", "verdict": "dead", "reason": "host_unanswered",
        "breaker": "open", "last_heard_age": "0.312s",
    });
    assert_eq!(peer["paths"][0], path);
    assert_eq!(json["flows"][0]["stalled_for"], "2.400s");
    let clause = serde_json::json!({
        "name": "silent_long_enough", "measured": "312 ms", "needed": "at least 250 ms",
        "holds": true, "address": "10.0.0.4",
    });
    assert_eq!(json["clauses"][0], clause);
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
            r#""isolated":false,"last_heard_age":null,"srtt":null,"rtt_variance":null,"#,
            r#""health":null,"breaker_reason":"unspecified","stalled_flows":0,"#,
            r#""oldest_stall":null,"contested":false,"paths":[]}"#,
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
