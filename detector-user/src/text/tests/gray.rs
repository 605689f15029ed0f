//! Peers that are neither healthy nor dead: some of what is sent to them is stuck.

use super::*;

fn degraded() -> PeerState {
    PeerState {
        verdict: Verdict::Degraded.into(),
        reason: Reason::FlowsStalled.into(),
        breaker: Breaker::Closed.into(),
        would_be_breaker: Breaker::Closed.into(),
        breaker_reason: Reason::PacketReceived.into(),
        stalled_flows: 1,
        oldest_stall: Some(millis(2_400)),
        paths: Vec::new(),
        ..state()
    }
}

fn flow(cookie: u64, stalled_for: Option<prost_types::Duration>) -> Flow {
    Flow {
        cookie,
        demand: true,
        stalled_for,
        ..Default::default()
    }
}

#[test]
fn a_stall_is_told_with_the_number_of_flows_and_what_to_do() {
    let stall = Some(millis(2_400));
    let explained = ExplainPeerResponse {
        flows: vec![flow(1, stall), flow(2, None), flow(3, None)],
        ..bare(degraded())
    };
    let text = explanation(&explained);
    for line in [
        "verdict       degraded (flows_stalled)\n",
        "breaker       closed (packet_received), mode enforce\n",
        "stalled       1 of 3 flows stalled for 2.4s\n",
        "advice        the host answers, and these connections do not get through",
        "DEMAND  STALLED  RTOS",
        "yes     2.4s     0",
        "yes     -        0",
    ] {
        assert!(text.contains(line), "{line}\nnot in\n{text}");
    }
    let several = PeerState {
        stalled_flows: 2,
        ..degraded()
    };
    let line = change(None, &several);
    let end = "heard 254ms ago; 2 flows stalled, the oldest for 2.4s\n";
    assert!(line.ends_with(end), "{line}");
    let table = peers(&[degraded(), state()]);
    assert!(
        table.ends_with("\n\nhttp://node4:9000: 1 flow stalled for 2.4s\n"),
        "{table}"
    );
}

#[test]
fn the_rule_is_printed_clause_by_clause_for_each_address() {
    let explained = ExplainPeerResponse {
        clauses: vec![
            clause(
                "10.0.0.4",
                "silent_long_enough",
                "312 ms",
                "at least 250 ms",
                true,
            ),
            clause(
                "fd00::4",
                "silent_long_enough",
                "3 ms",
                "at least 250 ms",
                false,
            ),
            clause("10.0.0.4", "not_isolated", "no", "", false),
        ],
        ..bare(degraded())
    };
    let expected = "
10.0.0.4 is dead when every clause holds; 1 of 2 do:
[x] silent_long_enough  312 ms  (at least 250 ms)
[ ] not_isolated        no

fd00::4 is dead when every clause holds; 0 of 1 do:
[ ] silent_long_enough  3 ms  (at least 250 ms)
";
    let text = explanation(&explained);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn each_of_several_addresses_has_a_line() {
    let alive = path("10.0.0.4", Verdict::Alive, Reason::PacketReceived);
    let dead = path("fd00::4", Verdict::Dead, Reason::HostUnanswered);
    let state = PeerState {
        reason: Reason::PathDead.into(),
        addresses: vec!["10.0.0.4".to_owned(), "fd00::4".to_owned()],
        stalled_flows: 0,
        paths: vec![alive.clone(), dead],
        ..degraded()
    };
    let table = peers(std::slice::from_ref(&state));
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert_eq!(
        rows,
        [
            "  10.0.0.4         alive     closed   packet_received  -                         254ms  -             -      -",
            "  fd00::4          dead      open     host_unanswered  -                         254ms  -             -      -",
        ],
        "{table}"
    );
    let text = explanation(&bare(state.clone()));
    let expected = "
ADDRESS   VERDICT  BREAKER  REASON           HEARD
10.0.0.4  alive    closed   packet_received  254ms
fd00::4   dead     open     host_unanswered  254ms
";
    assert!(text.contains(expected), "{text}");
    let line = change(None, &state);
    let marks = "; 10.0.0.4 alive (packet_received); fd00::4 dead (host_unanswered)\n";
    assert!(line.ends_with(marks), "{line}");
    let one = PeerState {
        paths: vec![alive],
        ..state
    };
    assert!(!peers(std::slice::from_ref(&one)).contains("\n  10.0.0.4"));
    assert!(!explanation(&bare(one)).contains("ADDRESS"));
}

#[test]
fn a_contested_address_is_told_in_plain_words() {
    let contested = PeerState {
        contested: true,
        stalled_flows: 0,
        reason: Reason::PacketReceived.into(),
        ..degraded()
    };
    let text = explanation(&bare(contested.clone()));
    let said = "contested     another network card answers ARP or NDP for 10.0.0.4: ";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("`ip neighbour`"), "{text}");
    assert!(peers(std::slice::from_ref(&contested)).contains("another network card"));
    let line = change(None, &contested);
    assert!(
        line.ends_with("heard 254ms ago; address contested\n"),
        "{line}"
    );
    let two = PeerState {
        addresses: vec!["10.0.0.4".to_owned(), "10.1.0.4".to_owned()],
        ..contested
    };
    assert!(explanation(&bare(two)).contains("for one of 10.0.0.4, 10.1.0.4: "));
}

#[test]
fn the_breaker_s_own_reason_is_told_where_it_is_another_one() {
    use Breaker::{Closed, Open};
    let with = |breaker: Breaker, would_be: Breaker, breaker_reason: Reason| PeerState {
        breaker: breaker.into(),
        would_be_breaker: would_be.into(),
        breaker_reason: breaker_reason.into(),
        ..degraded()
    };
    for (state, shown) in [
        (with(Closed, Closed, Reason::PacketReceived), "closed"),
        (
            with(Open, Open, Reason::FailuresReported),
            "open (failures_reported)",
        ),
        (with(Open, Open, Reason::FlowsStalled), "open"),
        (
            with(Closed, Open, Reason::FailuresReported),
            "closed (would be open: failures_reported)",
        ),
        (
            with(Closed, Closed, Reason::ForcedClosed),
            "closed (forced_closed)",
        ),
        // An older daemon sends no reason.
        (with(Open, Open, Reason::Unspecified), "open"),
    ] {
        assert_eq!(breaker(&state), shown);
    }
    let open = with(Open, Open, Reason::ForcedOpen);
    let text = explanation(&bare(open));
    assert!(
        text.contains("breaker       open (forced_open), mode enforce\n"),
        "{text}"
    );
}
