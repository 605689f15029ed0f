//! The JSON output has the protocol's names and words.

use std::time::Duration;

use prost_reflect::MessageDescriptor;
use serde_json::json;

use super::*;
use crate::model;

fn parsed(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn duration(millis: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(millis).try_into().ok()
}

/// The messages of the protocol, nested ones too.
fn all_messages() -> impl Iterator<Item = MessageDescriptor> {
    let ours = |message: &MessageDescriptor| message.package_name() == "detector.v1";
    POOL.all_messages().filter(ours)
}

#[test]
fn every_field_of_every_message_can_be_written() {
    let mut fields = 0;
    for message in all_messages() {
        let mut full = DynamicMessage::new(message.clone());
        for field in message.fields() {
            assert!(!field.is_map(), "{}", field.full_name());
            // A list without values would hide what is in it.
            let value = match field.is_list() {
                true => Value::List(vec![Value::default_value(&field.kind())]),
                false => Value::default_value(&field.kind()),
            };
            full.set_field(&field, value);
        }
        let json = parsed(&line(&Object(full)));
        assert_eq!(json.get("error"), None, "{}", message.full_name());
        for field in message.fields() {
            // Of a oneof, the last that was set is there.
            let there = field.containing_oneof().is_some() || !json[field.name()].is_null();
            assert!(there, "{}", field.full_name());
            fields += 1;
        }
    }
    assert!(fields > 100, "{fields}");
}

#[test]
fn the_protocol_s_words_are_the_model_s() {
    let number = |prefix: &str, word: &str, of: &str| {
        let kind = POOL.get_enum_by_name(of).unwrap();
        let name = format!("{prefix}_{}", word.to_uppercase());
        let value = kind.get_value_by_name(&name);
        let number = value.unwrap_or_else(|| panic!("no {name}")).number();
        assert_eq!(super::word(&kind, number), word);
        number
    };
    for verdict in model::Verdict::ALL {
        let number = number("VERDICT", verdict.as_str(), "detector.v1.Verdict");
        let here = v1::Verdict::try_from(number).unwrap();
        assert_eq!(here.to_string(), verdict.as_str());
    }
    for breaker in model::Breaker::ALL {
        let number = number("BREAKER", breaker.as_str(), "detector.v1.Breaker");
        let here = v1::Breaker::try_from(number).unwrap();
        assert_eq!(here.to_string(), breaker.as_str());
    }
    for reason in model::Reason::ALL {
        let number = number("REASON", reason.as_str(), "detector.v1.Reason");
        let here = v1::Reason::try_from(number).unwrap();
        assert_eq!(here.to_string(), reason.as_str());
    }
    // One more each: what is unspecified.
    let values = |of: &str| POOL.get_enum_by_name(of).unwrap().values().len();
    assert_eq!(values("detector.v1.Verdict"), model::Verdict::ALL.len() + 1);
    assert_eq!(values("detector.v1.Breaker"), model::Breaker::ALL.len() + 1);
    assert_eq!(values("detector.v1.Reason"), model::Reason::ALL.len() + 1);
}

#[test]
fn a_word_of_a_newer_daemon_is_unspecified() {
    let state = v1::PeerState {
        verdict: 99,
        ..Default::default()
    };
    assert_eq!(parsed(&message(&state))["verdict"], "unspecified");
}

#[test]
fn a_flow_s_stall_a_path_and_a_clause_keep_what_was_told() {
    let explanation = v1::ExplainPeerResponse {
        peer: Some(v1::PeerState {
            stalled_flows: 1,
            oldest_stall: duration(2_400),
            contested: true,
            paths: vec![v1::PathState {
                address: "10.0.0.4".to_owned(),
                verdict: v1::Verdict::Dead.into(),
                reason: v1::Reason::HostUnanswered.into(),
                breaker: v1::Breaker::Open.into(),
                last_heard_age: duration(312),
                flows: 7,
                srtt: None,
                loss: Some(0.021),
            }],
            ..Default::default()
        }),
        flows: vec![v1::Flow {
            cookie: u64::MAX,
            stalled_for: duration(2_400),
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
    };
    let json = parsed(&message(&explanation));
    let peer = &json["peer"];
    assert_eq!(peer["stalled_flows"], 1);
    assert_eq!(peer["oldest_stall"], "2.400s");
    assert_eq!(peer["contested"], true);
    let path = json!({
        "address": "10.0.0.4", "verdict": "dead", "reason": "host_unanswered",
        "breaker": "open", "last_heard_age": "0.312s", "flows": 7, "srtt": null, "loss": 0.021,
    });
    assert_eq!(peer["paths"][0], path);
    assert_eq!(json["flows"][0]["stalled_for"], "2.400s");
    assert_eq!(json["flows"][0]["cookie"], u64::MAX);
    let clause = json!({
        "name": "silent_long_enough", "measured": "312 ms", "needed": "at least 250 ms",
        "holds": true, "address": "10.0.0.4",
    });
    assert_eq!(json["clauses"][0], clause);
}

#[test]
fn times_and_durations_are_written_as_protobuf_writes_them() {
    let state = v1::PeerState {
        peer: "http://node4:9000".to_owned(),
        verdict: v1::Verdict::Dead.into(),
        breaker: v1::Breaker::HalfOpen.into(),
        changed_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_000_000,
        }),
        silence: duration(253),
        ..Default::default()
    };
    assert_eq!(
        message(&state),
        concat!(
            r#"{"peer":"http://node4:9000","verdict":"dead","breaker":"half_open","#,
            r#""reason":"unspecified","generation":0,"revision":0,"mode":"unspecified","#,
            r#""would_be_breaker":"unspecified","addresses":[],"#,
            r#""changed_at":"2023-11-14T22:13:20.123Z","silence":"0.253s","#,
            r#""isolated":false,"last_heard_age":null,"srtt":null,"rtt_variance":null,"#,
            r#""health":null,"breaker_reason":"unspecified","stalled_flows":0,"#,
            r#""oldest_stall":null,"contested":false,"paths":[],"override":null}"#,
            "\n"
        )
    );
    for (nanos, text) in [
        (0, "0s"),
        (1_500_000_000, "1.500s"),
        (1_000, "0.000001s"),
        (1, "0.000000001s"),
    ] {
        let event = v1::Event {
            age: Duration::from_nanos(nanos).try_into().ok(),
            ..Default::default()
        };
        assert_eq!(parsed(&message(&event))["age"], text);
    }
}

#[test]
fn a_peer_that_is_gone_is_marked() {
    let gone = Removed {
        peer: "http://node4:9000".to_owned(),
        revision: 7,
    };
    let expected = json!({ "peer": "http://node4:9000", "revision": 7, "removed": true });
    assert_eq!(parsed(&removed(&gone)), expected);
}
