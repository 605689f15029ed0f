//! The rendered metrics.

mod foreign;
mod layers;

use std::time::Duration;

use super::*;
use crate::{
    clock,
    core::testing::unknown,
    insight::{Correlations, Pool, outlook},
    model::{
        Breaker, Endpoint, FlowEvent, FlowEventKind, FlowId, Operation, OperationReport, Outcome,
        ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Reason, Time, Verdict,
    },
};

fn state(peer: &str, verdict: Verdict, breaker: Breaker) -> PeerState {
    PeerState {
        verdict,
        breaker,
        would_be_breaker: breaker,
        reason: Reason::RtoUnanswered,
        breaker_reason: Reason::RtoUnanswered,
        detection_latency: (verdict == Verdict::Dead).then_some(Duration::from_millis(290)),
        ..unknown(peer)
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
}

#[test]
fn the_condition_of_a_peer_is_rendered_while_it_is_known() {
    let metrics = Metrics::new().unwrap();
    let alive = state("http://a:1", Verdict::Alive, Breaker::Closed);
    let dead = state("http://a:1", Verdict::Dead, Breaker::Open);
    metrics.state_published(None, &alive);
    let vitals = PeerState {
        srtt: Some(Duration::from_millis(3)),
        health: Some(crate::model::Health::default()),
        ..alive.clone()
    };
    metrics.state_published(Some(&alive), &vitals);
    let text = metrics.render();
    for line in [
        r#"detector_peer_health_score{peer="http://a:1"} 100"#,
        r#"detector_peer_srtt_seconds{peer="http://a:1"} 0.003"#,
        r#"rustfs_circuit_breaker_state{peer="http://a:1"} 0"#,
    ] {
        has(&text, line);
    }
    metrics.state_published(Some(&alive), &dead);
    let text = metrics.render();
    has(
        &text,
        r#"rustfs_circuit_breaker_state{peer="http://a:1"} 1"#,
    );
    assert!(!text.contains("health_score{"), "it is not known any more");
    metrics.state_published(Some(&dead), &vitals);
    metrics.peer_retracted(&vitals.peer);
    assert!(!metrics.render().contains("http://a:1"));
}

#[test]
fn a_published_change_is_rendered_and_a_retracted_peer_leaves_nothing() {
    let metrics = Metrics::new().unwrap();
    let alive = state("http://a:1", Verdict::Alive, Breaker::Closed);
    let dead = state("http://a:1", Verdict::Dead, Breaker::Open);
    let other = state("http://b:1", Verdict::Alive, Breaker::Closed);
    metrics.state_published(None, &alive);
    metrics.state_published(Some(&alive), &dead);
    metrics.state_published(Some(&dead), &dead);
    metrics.state_published(None, &other);
    metrics.set_protection(&[(dead.peer.clone(), 2)], 0);
    metrics.set_protection(&[(dead.peer.clone(), 3)], 5);
    let destroyed = Destroyed {
        destroyed: 4,
        gone: 1,
        ..Destroyed::default()
    };
    metrics.sockets_destroyed(&dead.peer, destroyed);
    metrics.sockets_destroyed(&dead.peer, destroyed);
    let text = metrics.render();
    for line in [
        r#"detector_connects_refused_total{peer="http://a:1"} 3"#,
        "detector_sockets_tuned 5",
        r#"detector_peer_verdict{peer="http://a:1",verdict="dead"} 1"#,
        r#"detector_peer_verdict{peer="http://a:1",verdict="alive"} 0"#,
        r#"detector_peer_breaker{breaker="open",peer="http://a:1"} 1"#,
        r#"detector_peer_breaker{breaker="closed",peer="http://a:1"} 0"#,
        r#"detector_peer_would_be_breaker{breaker="open",peer="http://a:1"} 1"#,
        r#"detector_peer_reason{peer="http://a:1",reason="rto_unanswered"} 1"#,
        r#"detector_transitions_total{from="alive",peer="http://a:1",reason="rto_unanswered",to="dead"} 1"#,
        r#"detector_breaker_transitions_total{from="closed",peer="http://a:1",reason="rto_unanswered",to="open"} 1"#,
        r#"detector_sockets_destroyed_total{peer="http://a:1",result="destroyed"} 8"#,
        r#"detector_sockets_destroyed_total{peer="http://a:1",result="gone"} 2"#,
        r#"detector_sockets_destroyed_total{peer="http://a:1",result="spared"} 0"#,
        r#"detector_sockets_destroyed_total{peer="http://a:1",result="failed"} 0"#,
        r#"detector_detection_latency_seconds_bucket{le="0.28"} 0"#,
        r#"detector_detection_latency_seconds_bucket{le="0.3"} 1"#,
        "detector_detection_latency_seconds_count 1",
    ] {
        has(&text, line);
    }
    metrics.peer_retracted(&dead.peer);
    let text = metrics.render();
    assert!(!text.contains("http://a:1"), "{text}");
    has(
        &text,
        r#"detector_peer_verdict{peer="http://b:1",verdict="alive"} 1"#,
    );
}

#[test]
fn only_the_present_reason_has_a_series() {
    let metrics = Metrics::new().unwrap();
    let mut state = state("http://a:1", Verdict::Dead, Breaker::Open);
    metrics.state_published(None, &state);
    let before = state.clone();
    state.reason = Reason::PacketReceived;
    metrics.state_published(Some(&before), &state);
    let text = metrics.render();
    assert_eq!(text.matches("detector_peer_reason{").count(), 1, "{text}");
    assert!(text.contains(r#"reason="packet_received""#));
}

#[test]
fn signals_and_the_sources_counters_are_rendered() {
    let metrics = Metrics::new().unwrap();
    metrics.set_build_info("1.2.3", false);
    let addr = "10.0.0.1:1".parse().unwrap();
    metrics.signal(&Signal::Flow(FlowEvent {
        at: Time::default(),
        source: SourceKind::Ebpf,
        flow: FlowId {
            netns: 0,
            local: addr,
            remote: addr,
        },
        kind: FlowEventKind::Rto { count: 1 },
        reading: None,
    }));
    let counters = |ring_drops| SourceCounters {
        ring_drops,
        flows_tracked: 4,
        ..SourceCounters::default()
    };
    metrics.set_counters(SourceKind::Ebpf, counters(2));
    metrics.set_counters(SourceKind::Ebpf, counters(5));
    let text = metrics.render();
    for line in [
        r#"detector_build_info{ebpf="false",version="1.2.3"} 1"#,
        r#"detector_signals_total{kind="rto",source="ebpf"} 1"#,
        r#"detector_source_info{source="ebpf"} 1"#,
        r#"detector_source_info{source="sock_diag"} 0"#,
        "detector_ring_drops_total 5",
        "detector_flows_full_total 0",
        "detector_retransmits_total 0",
        "detector_malformed_records_total 0",
        "detector_flows_tracked 4",
    ] {
        has(&text, line);
    }
}

#[test]
fn what_the_network_source_counts_is_rendered() {
    let metrics = Metrics::new().unwrap();
    metrics.set_network_counters(NetworkCounters {
        resyncs: 2,
        malformed: 1,
    });
    metrics.signal(&Signal::Network {
        at: Time::default(),
        event: crate::model::NetworkEvent::Link {
            link: 2,
            name: "eth0".to_owned(),
            up: false,
        },
    });
    let text = metrics.render();
    has(&text, "detector_netlink_resyncs_total 2");
    has(&text, "detector_netlink_malformed_total 1");
    has(
        &text,
        r#"detector_signals_total{kind="link_down",source="rtnetlink"} 1"#,
    );
}

#[test]
fn probes_are_counted_by_kind_and_result_and_not_as_signals() {
    let metrics = Metrics::new().unwrap();
    let addr = "10.0.0.1".parse().unwrap();
    let probe = |target, outcome| {
        metrics.signal(&Signal::Probe(ProbeEvent {
            at: Time::default(),
            probe: ProbeId(1),
            target,
            outcome,
        }));
    };
    let neighbour = ProbeTarget::Neighbour { addr, link: 2 };
    let connect = ProbeTarget::Connect(Endpoint { addr, port: 9000 });
    probe(neighbour, ProbeOutcome::Sent);
    probe(
        neighbour,
        ProbeOutcome::Answered(ProbeAnswer::Neighbour(crate::model::HardwareAddress(
            [0; 6],
        ))),
    );
    probe(connect, ProbeOutcome::Sent);
    probe(connect, ProbeOutcome::Sent);
    probe(connect, ProbeOutcome::Answered(ProbeAnswer::SynAck));
    probe(connect, ProbeOutcome::Answered(ProbeAnswer::Reset));
    probe(connect, ProbeOutcome::Failed { errno: 1 });
    metrics.set_malformed_answers(3);
    metrics.set_dropped_signals(2);
    let text = metrics.render();
    for line in [
        r#"detector_probes_total{kind="neighbour",result="sent"} 1"#,
        r#"detector_probes_total{kind="neighbour",result="neighbour"} 1"#,
        r#"detector_probes_total{kind="connect",result="sent"} 2"#,
        r#"detector_probes_total{kind="connect",result="syn_ack"} 1"#,
        r#"detector_probes_total{kind="connect",result="reset"} 1"#,
        r#"detector_probes_total{kind="connect",result="failed"} 1"#,
        "detector_probe_malformed_answers_total 3",
        "detector_signals_dropped_total 2",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("detector_signals_total{"), "{text}");
}

#[test]
fn isolation_and_the_last_packet_are_rendered_and_end_with_the_peer() {
    let metrics = Metrics::new().unwrap();
    let mut state = state("http://a:1", Verdict::Suspect, Breaker::Closed);
    metrics.state_published(None, &state);
    has(
        &metrics.render(),
        r#"detector_isolated{peer="http://a:1"} 0"#,
    );
    let name = "detector_peer_last_heard_timestamp_seconds";
    assert!(!metrics.render().contains(name), "it was never heard");

    state.isolated = true;
    state.last_heard = Some(clock::now());
    metrics.state_published(None, &state);
    let text = metrics.render();
    has(&text, r#"detector_isolated{peer="http://a:1"} 1"#);
    let series = format!("{name}{{peer=\"http://a:1\"}} ");
    let seconds = |text: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse().unwrap()
    };
    let before = seconds(&text);
    assert!(before > 1.6e9, "{before}");
    metrics.heard(&state.peer, clock::now() + Duration::from_secs(5));
    assert!(
        seconds(&metrics.render()) >= before,
        "a moment ahead is now"
    );

    metrics.peer_retracted(&state.peer);
    assert!(!metrics.render().contains("http://a:1"));
}

#[test]
fn what_the_node_reports_is_rendered_under_the_documented_names() {
    use crate::core::testing::{ms, report};
    let metrics = Metrics::new().unwrap();
    let mut correlations = Correlations::default();
    let about = |operation, outcome| OperationReport {
        lock: Some("iam/users".into()),
        peer: Some(PeerName::from_canonical("http://a:1")),
        retries: 2,
        ..report(0, operation, outcome)
    };
    let reports = vec![
        about(Operation::Control, Outcome::Unreachable),
        about(Operation::Lock, Outcome::TimedOut),
        about(Operation::Lock, Outcome::TimedOut),
        about(Operation::IamRead, Outcome::TimedOut),
        about(Operation::DiskState, Outcome::TimedOut),
        about(Operation::DiskState, Outcome::Succeeded),
    ];
    correlations.reported(ms(0), &reports);
    metrics.signal(&Signal::Reported { reports });
    metrics.reports_dropped(7);
    for _ in 0..2 {
        metrics.set_correlations(&correlations, ms(1));
    }
    let text = metrics.render();
    for line in [
        r#"detector_reports_total{operation="lock",outcome="timed_out"} 2"#,
        "detector_reports_dropped_total 7",
        "rustfs_disk_state_check_duration_seconds_count 2",
        r#"rustfs_disk_state_check_duration_seconds_bucket{le="0.1"} 2"#,
        "rustfs_disk_state_check_timeouts_total 1",
        "rustfs_config_read_duration_seconds_count 1",
        "rustfs_config_read_timeouts_total 1",
        "rustfs_config_lock_timeouts_total 2",
        "rustfs_config_lock_retries_total 6",
        r#"rustfs_lock_health_status{path="iam/users"} 0"#,
        r#"rustfs_lock_health_timeouts_total{path="iam/users"} 3"#,
        r#"rustfs_cascading_failure_events_total{component="iam/users",type="lock_timeout"} 2"#,
        r#"rustfs_cascading_failure_events_total{component="iam/users",type="iam_timeout"} 1"#,
        r#"rustfs_cascading_failure_events_total{component="http://a:1",type="peer_unreachable"} 1"#,
        r#"rustfs_cascading_failure_patterns_total{initial="peer_unreachable"} 1"#,
        r#"rustfs_cascading_failure_patterns_total{initial="lock_timeout"} 0"#,
        r#"rustfs_cascading_failure_critical{pattern="peer_unreachable_locks_iam"} 0"#,
        "detector_locks_beyond_bound_total 0",
    ] {
        has(&text, line);
    }
    // After ten minutes without attempts the lock is forgotten; after an hour, nothing of it is
    // left.
    metrics.set_correlations(&correlations, ms(600_001));
    let text = metrics.render();
    assert!(!text.contains("rustfs_lock_health_status{"), "{text}");
    assert!(
        !text.contains("rustfs_lock_health_timeouts_total{"),
        "{text}"
    );
    assert!(text.contains("iam/users"), "its failures are still counted");
    let last = report(4_000_000, Operation::Upload, Outcome::TimedOut);
    correlations.reported(ms(4_000_000), &[last]);
    metrics.set_correlations(&correlations, ms(4_000_000));
    let text = metrics.render();
    assert!(!text.contains("iam/users"), "{text}");
    has(
        &text,
        r#"rustfs_cascading_failure_events_total{component="unknown",type="upload_failed"} 1"#,
    );
}

#[test]
fn the_outlook_is_rendered_so_that_the_documented_query_divides() {
    let metrics = Metrics::new().unwrap();
    let node = |name| PeerName::from_canonical(name);
    let pool = Pool {
        name: "hot".to_owned(),
        nodes: ["http://a:1", "http://b:1", "http://c:1", "http://d:1"]
            .map(node)
            .to_vec(),
        drives_per_node: 4,
        data: 8,
        parity: 8,
    };
    let lost = node("http://b:1");
    metrics.set_outlook(&outlook(&[pool], |node| *node != lost));
    let text = metrics.render();
    for line in [
        r#"rustfs_available_disks_total{pool="hot",set="0"} 12"#,
        r#"rustfs_write_quorum_required{pool="hot",set="0"} 9"#,
        r#"rustfs_read_quorum_required{pool="hot",set="0"} 8"#,
        r#"detector_quorum_more_losses{access="read",pool="hot",set="0"} 1"#,
        r#"detector_quorum_more_losses{access="write",pool="hot",set="0"} 0"#,
    ] {
        has(&text, line);
    }
}
