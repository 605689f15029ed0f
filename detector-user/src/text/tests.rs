//! The text output, compared with the expected text.

mod gray;

use detector_api::v1::{
    Clause, Destroyed, Event, ExplainPeerResponse, Flow, Health, Mode, Probe, Route, Silence,
    Trend, Verdict,
};

use super::*;

fn millis(millis: u64) -> prost_types::Duration {
    Duration::from_millis(millis).try_into().unwrap()
}

fn micros(micros: u64) -> prost_types::Duration {
    Duration::from_micros(micros).try_into().unwrap()
}

fn state() -> PeerState {
    PeerState {
        peer: "http://node4:9000".to_owned(),
        verdict: Verdict::Dead.into(),
        breaker: Breaker::Open.into(),
        reason: Reason::RtoUnanswered.into(),
        generation: 3,
        revision: 9,
        mode: Mode::Enforce.into(),
        would_be_breaker: Breaker::Open.into(),
        addresses: vec!["10.0.0.4".to_owned()],
        changed_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        }),
        silence: Some(millis(253)),
        isolated: false,
        last_heard_age: Some(millis(254)),
        srtt: Some(micros(180)),
        rtt_variance: Some(micros(40)),
        health: Some(Health {
            score: 82,
            trend: Trend::Worsening.into(),
            loss_penalty: 3,
            rtt_penalty: 4,
            stall_penalty: 5,
            timeout_penalty: 6,
        }),
        breaker_reason: Reason::RtoUnanswered.into(),
        stalled_flows: 0,
        oldest_stall: None,
        contested: false,
        paths: vec![path("10.0.0.4", Verdict::Dead, Reason::RtoUnanswered)],
        r#override: None,
    }
}

fn path(address: &str, verdict: Verdict, reason: Reason) -> PathState {
    let breaker = match verdict {
        Verdict::Dead => Breaker::Open,
        _ => Breaker::Closed,
    };
    PathState {
        address: address.to_owned(),
        verdict: verdict.into(),
        reason: reason.into(),
        breaker: breaker.into(),
        last_heard_age: Some(millis(254)),
        ..Default::default()
    }
}

/// An explanation of `state` without any evidence.
fn bare(state: PeerState) -> ExplainPeerResponse {
    ExplainPeerResponse {
        peer: Some(state),
        ..Default::default()
    }
}

fn clause(address: &str, name: &str, measured: &str, needed: &str, holds: bool) -> Clause {
    Clause {
        name: name.to_owned(),
        measured: measured.to_owned(),
        needed: needed.to_owned(),
        holds,
        address: address.to_owned(),
    }
}

#[test]
fn health_is_shown_with_its_parts() {
    assert!(peers(&[state()]).contains("82 worsening  180us"));
    let mut alive = state();
    alive.verdict = Verdict::Alive.into();
    let text = explanation(&bare(alive.clone()));
    let health = "health        82 of 100 (loss -3, round-trip time -4, stalls -5, time-outs -6), \
                  worsening\n";
    assert!(text.contains(health), "{text}");
    assert!(
        text.contains("srtt          180us, mean deviation 40us\n"),
        "{text}"
    );
    alive.health = Some(Health {
        score: 100,
        ..Default::default()
    });
    let text = explanation(&bare(alive));
    let health = "health        100 of 100 (nothing wrong), ";
    assert!(text.contains(health), "{text}");
}

#[test]
fn what_no_number_says_is_said_in_words() {
    let explained = ExplainPeerResponse {
        flows: vec![Flow {
            state: "syn_sent".to_owned(),
            unacked_bytes: 1,
            send_window_bytes: u32::MAX,
            srtt: Some(micros(0)),
            rto: Some(millis(1000)),
            ..Default::default()
        }],
        probes: vec![Probe {
            kind: "neighbour".to_owned(),
            target: "fe80::4%2".to_owned(),
            ..Default::default()
        }],
        ..bare(state())
    };
    let text = explanation(&explained);
    assert!(!text.contains(&u32::MAX.to_string()), "{text}");
    assert!(
        text.contains("  1        -       -      -     1.0s  "),
        "{text}"
    );
    assert!(text.contains("neighbour  fe80::4 on link 2  "), "{text}");
    let health = "health        0 of 100 (dead), worsening\n";
    let mut dead = state();
    dead.health.as_mut().unwrap().score = 0;
    let text = explanation(&bare(dead));
    assert!(text.contains(health), "{text}");
}

#[test]
fn a_change_is_one_line() {
    let dead = state();
    assert_eq!(
        change(moment(dead.changed_at), &dead),
        "2023-11-14T22:13:20.123Z http://node4:9000        dead     open       \
         rto_unanswered       heard 254ms ago\n"
    );
    let observed = PeerState {
        breaker: Breaker::Closed.into(),
        last_heard_age: None,
        ..state()
    };
    let line = change(None, &observed);
    assert!(line.contains("closed (would be open)"), "{line}");
    assert!(line.ends_with("never heard from\n"), "{line}");
    let held = PeerState {
        verdict: Verdict::Suspect.into(),
        isolated: true,
        ..state()
    };
    let line = change(None, &held);
    assert!(line.contains("suspect (isolated) open"), "{line}");
    assert!(peers(&[held]).contains("suspect (isolated)  open"));
}

/// A flow on which something is unanswered.
fn flow_of_a_dead_peer() -> Flow {
    Flow {
        local: "10.0.0.1:40000".to_owned(),
        remote: "10.0.0.4:9000".to_owned(),
        netns: 4026531840,
        cookie: 77,
        state: "established".to_owned(),
        rto_count: 1,
        backoff: 1,
        unacked_bytes: 4096,
        send_window_bytes: 65535,
        last_heard_age: Some(millis(253)),
        srtt: Some(micros(80)),
        rto: Some(millis(408)),
        demand: true,
        tuned: vec!["rto_min".to_owned(), "keepalive".to_owned()],
        stalled_for: None,
    }
}

fn probes_of_a_dead_peer() -> Vec<Probe> {
    vec![
        Probe {
            kind: "neighbour".to_owned(),
            target: "10.0.0.4%2".to_owned(),
            known_to_answer: true,
            sent: 9,
            answered: 4,
            unanswered: 5,
            last_answer_age: Some(millis(3000)),
            last_answer: "neighbour".to_owned(),
        },
        Probe {
            kind: "connect".to_owned(),
            target: "10.0.0.4:9000".to_owned(),
            known_to_answer: false,
            sent: 1,
            answered: 0,
            unanswered: 1,
            last_answer_age: None,
            last_answer: String::new(),
        },
    ]
}

fn explained() -> ExplainPeerResponse {
    ExplainPeerResponse {
        silence: Some(Silence {
            duration: Some(millis(253)),
            detection_time: Some(millis(250)),
            unanswered_transmissions: 3,
            required_transmissions: 2,
            loss_estimate: 0.5,
            observed_loss: Some(0.0125),
            counts_moments: true,
        }),
        flows: vec![flow_of_a_dead_peer()],
        events: vec![Event {
            age: Some(millis(40)),
            kind: "rto".to_owned(),
            source: "ebpf".to_owned(),
            flow: "10.0.0.1:40000 -> 10.0.0.4:9000".to_owned(),
        }],
        summary: "3 moments unanswered (2 needed), silent for 253 ms (250 ms needed)".to_owned(),
        probes: probes_of_a_dead_peer(),
        routes: vec![Route {
            address: "10.0.0.4".to_owned(),
            link: 2,
            gateway: String::new(),
            link_up: true,
            neighbour: "failed".to_owned(),
        }],
        clauses: vec![
            clause(
                "10.0.0.4",
                "silent_long_enough",
                "253 ms",
                "at least 250 ms",
                true,
            ),
            clause("10.0.0.4", "asked_enough", "3 moments", "2 moments", true),
        ],
        destroyed: Some(Destroyed {
            destroyed: 12,
            spared: 1,
            gone: 2,
            failed: 0,
        }),
        ..bare(state())
    }
}

#[test]
fn an_explanation_shows_numbers_flows_and_events() {
    let explained = explained();
    let text = explanation(&explained);
    let expected = "\
3 moments unanswered (2 needed), silent for 253 ms (250 ms needed)

verdict       dead (rto_unanswered)
since         2023-11-14T22:13:20.123Z
breaker       open (rto_unanswered), mode enforce
generation    3, revision 9
addresses     10.0.0.4
heard         254ms ago
health        82 of 100 (dead), worsening
srtt          180us, mean deviation 40us
silence       253ms; dead from 250ms
unanswered    3 moments; dead from 2 (loss assumed: 50.00 %, observed: 1.25 %)
destroyed     12 sockets (1 spared, 2 gone before, 0 failed)

10.0.0.4 is dead when every clause holds; 2 of 2 do:
[x] silent_long_enough  253 ms     (at least 250 ms)
[x] asked_enough        3 moments  (2 moments)

LOCAL           REMOTE         STATE        DEMAND  STALLED  RTOS  BACKOFF  UNACKED  WINDOW  HEARD  SRTT  RTO    TUNED              NETNS       COOKIE
10.0.0.1:40000  10.0.0.4:9000  established  yes     -        1     1        4096     65535   253ms  80us  408ms  rto_min,keepalive  4026531840  77

PROBE      TARGET              ANSWERS  SENT  ANSWERED  UNANSWERED  LAST ANSWER
neighbour  10.0.0.4 on link 2  yes      9     4         5           neighbour 3.0s ago
connect    10.0.0.4:9000       -        1     0         1           -

ROUTE     LINK  GATEWAY  CARRIER  NEIGHBOUR TABLE
10.0.0.4  2     -        up       failed

AGE   EVENT  SOURCE  FLOW
40ms  rto    ebpf    10.0.0.1:40000 -> 10.0.0.4:9000
";
    assert_eq!(text, expected, "{text}");
    let nothing = ExplainPeerResponse {
        flows: Vec::new(),
        events: Vec::new(),
        probes: Vec::new(),
        routes: Vec::new(),
        clauses: Vec::new(),
        ..explained
    };
    assert!(explanation(&nothing).ends_with("\nno flows\n\nno events\n"));
}

#[test]
fn a_tuned_connection_is_shown_with_what_the_kernel_took() {
    let mut socket = TunedSocket {
        peer: "http://b:9000".to_owned(),
        local: "10.0.0.1:40000".to_owned(),
        remote: "10.0.0.2:9000".to_owned(),
        cookie: 77,
        options: vec!["rto_min".to_owned(), "keepalive".to_owned()],
        tuned_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        }),
    };
    assert_eq!(
        tuned(std::slice::from_ref(&socket)),
        "\
PEER           LOCAL           REMOTE         TUNED              SINCE                     COOKIE
http://b:9000  10.0.0.1:40000  10.0.0.2:9000  rto_min,keepalive  2023-11-14T22:13:20.123Z  77
"
    );
    assert_eq!(
        just_tuned(&socket),
        "2023-11-14T22:13:20.123Z http://b:9000            \
         10.0.0.1:40000 -> 10.0.0.2:9000  rto_min, keepalive\n"
    );
    socket.peer.clear();
    socket.options.clear();
    assert!(just_tuned(&socket).contains(" -  "));
    assert!(just_tuned(&socket).contains("took no option"));
}

#[test]
fn tables_are_aligned_without_trailing_blanks() {
    let mut table = Table::new(["A", "LONGER"]);
    table.row(["wide cell".to_owned(), "é".to_owned()]);
    table.row(["é".to_owned(), "x".to_owned()]);
    assert_eq!(
        table.render(),
        "A          LONGER\nwide cell  é\né          x\n"
    );
}

#[test]
fn durations_are_short() {
    for (millis, text) in [
        (0, "0us"),
        (253, "253ms"),
        (1_250, "1.2s"),
        (61_000, "1m01s"),
        (7_260_000, "2h01m"),
    ] {
        assert_eq!(duration(Duration::from_millis(millis)), text);
    }
}
