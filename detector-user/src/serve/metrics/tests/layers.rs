//! The metrics of stalled flows, contested addresses, single addresses and the two reasons.

use super::*;
use crate::model::PathState;

const PEER: &str = "http://a:1";

fn path(address: [u8; 4], verdict: Verdict) -> PathState {
    PathState {
        address: address.into(),
        verdict,
        reason: Reason::HostUnanswered,
        breaker: Breaker::Closed,
        last_heard: None,
        measured: Default::default(),
    }
}

fn degraded() -> PeerState {
    PeerState {
        reason: Reason::FlowsStalled,
        breaker_reason: Reason::PacketReceived,
        stalled_flows: 2,
        oldest_stall: Some(Duration::from_millis(2_400)),
        contested: true,
        paths: vec![
            path([10, 0, 0, 4], Verdict::Degraded),
            path([10, 1, 0, 4], Verdict::Dead),
        ],
        ..state(PEER, Verdict::Degraded, Breaker::Closed)
    }
}

#[test]
fn what_is_wrong_with_a_living_peer_is_rendered_and_ends_with_it() {
    let metrics = Metrics::new().unwrap();
    metrics.state_published(None, &degraded());
    let text = metrics.render();
    for line in [
        r#"detector_peer_reason{peer="http://a:1",reason="flows_stalled"} 1"#,
        r#"detector_peer_breaker_reason{peer="http://a:1",reason="packet_received"} 1"#,
        r#"detector_peer_stalled_flows{peer="http://a:1"} 2"#,
        r#"detector_peer_oldest_stall_seconds{peer="http://a:1"} 2.4"#,
        r#"detector_peer_contested{peer="http://a:1"} 1"#,
        r#"detector_path_verdict{address="10.0.0.4",peer="http://a:1",verdict="degraded"} 1"#,
        r#"detector_path_verdict{address="10.0.0.4",peer="http://a:1",verdict="dead"} 0"#,
        r#"detector_path_verdict{address="10.1.0.4",peer="http://a:1",verdict="dead"} 1"#,
    ] {
        has(&text, line);
    }
    metrics.state_published(None, &state(PEER, Verdict::Alive, Breaker::Closed));
    let text = metrics.render();
    for line in [
        r#"detector_peer_stalled_flows{peer="http://a:1"} 0"#,
        r#"detector_peer_oldest_stall_seconds{peer="http://a:1"} 0"#,
        r#"detector_peer_contested{peer="http://a:1"} 0"#,
    ] {
        has(&text, line);
    }
    metrics.state_published(None, &degraded());
    metrics.peer_retracted(&degraded().peer);
    assert!(!metrics.render().contains(PEER), "{}", metrics.render());
}

#[test]
fn an_address_that_the_peer_has_lost_has_no_series() {
    let metrics = Metrics::new().unwrap();
    let two = degraded();
    let one = PeerState {
        paths: vec![path([10, 1, 0, 4], Verdict::Alive)],
        ..two.clone()
    };
    metrics.state_published(None, &two);
    metrics.state_published(Some(&two), &one);
    let text = metrics.render();
    assert!(!text.contains("10.0.0.4"), "{text}");
    has(
        &text,
        r#"detector_path_verdict{address="10.1.0.4",peer="http://a:1",verdict="alive"} 1"#,
    );
}

#[test]
fn the_addresses_of_a_peer_are_bounded() {
    let metrics = Metrics::new().unwrap();
    let paths = (0..=255).map(|n| path([10, 0, 0, n], Verdict::Alive));
    let many = PeerState {
        paths: paths.collect(),
        ..degraded()
    };
    metrics.state_published(None, &many);
    let series = metrics.render().matches("detector_path_verdict{").count();
    assert_eq!(series, crate::model::MAX_ADDRESSES * Verdict::ALL.len());
}

#[test]
fn each_transition_is_counted_under_its_own_reason() {
    let metrics = Metrics::new().unwrap();
    let alive = state(PEER, Verdict::Alive, Breaker::Closed);
    let dead = PeerState {
        reason: Reason::HostUnanswered,
        breaker_reason: Reason::ForcedOpen,
        ..state(PEER, Verdict::Dead, Breaker::Open)
    };
    metrics.state_published(Some(&alive), &dead);
    let text = metrics.render();
    for line in [
        r#"detector_transitions_total{from="alive",peer="http://a:1",reason="host_unanswered",to="dead"} 1"#,
        r#"detector_breaker_transitions_total{from="closed",peer="http://a:1",reason="forced_open",to="open"} 1"#,
    ] {
        has(&text, line);
    }
}

#[test]
fn probes_on_a_flow_are_counted() {
    let metrics = Metrics::new().unwrap();
    let addr = "10.0.0.1:1".parse().unwrap();
    let target = ProbeTarget::Flow {
        flow: FlowId {
            netns: 0,
            local: addr,
            remote: addr,
        },
        cookie: 7,
    };
    for outcome in [
        ProbeOutcome::Sent,
        ProbeOutcome::Answered(ProbeAnswer::Ack),
        ProbeOutcome::Answered(ProbeAnswer::Reset),
    ] {
        metrics.signal(&Signal::Probe(ProbeEvent {
            at: Time::default(),
            probe: ProbeId(1),
            target,
            outcome,
        }));
    }
    let text = metrics.render();
    for result in ["sent", "ack", "reset"] {
        let line = format!(r#"detector_probes_total{{kind="keepalive",result="{result}"}} 1"#);
        has(&text, &line);
    }
}
