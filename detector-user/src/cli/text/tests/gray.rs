//! Peers that are neither healthy nor dead: some of what is sent to them is stuck.

use super::*;

fn degraded() -> PeerState {
    PeerState {
        verdict: "degraded".to_owned(),
        reason: "flows_stalled".to_owned(),
        breaker: "closed".to_owned(),
        would_be_breaker: "closed".to_owned(),
        breaker_reason: "packet_received".to_owned(),
        stalled_flows: 1,
        oldest_stall: Some(Duration::from_millis(2_400)),
        paths: Vec::new(),
        ..state()
    }
}

fn flow(cookie: u64, stalled_for: Option<Duration>) -> Flow {
    Flow {
        local: "10.0.0.1:40000".to_owned(),
        remote: "10.0.0.4:9000".to_owned(),
        netns: 1,
        cookie,
        state: "established".to_owned(),
        rto_count: 0,
        backoff: 0,
        unacked_bytes: 0,
        send_window_bytes: 0,
        last_heard_age: None,
        srtt: None,
        rto: None,
        demand: true,
        tuned: Vec::new(),
        stalled_for,
    }
}

#[test]
fn a_stall_is_told_with_the_number_of_flows_and_what_to_do() {
    let stall = Some(Duration::from_millis(2_400));
    let explained = Explanation {
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
    let explained = Explanation {
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
    let alive = path("10.0.0.4", "alive", "packet_received");
    let dead = path("fd00::4", "dead", "host_unanswered");
    let state = PeerState {
        reason: "path_dead".to_owned(),
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
        reason: "packet_received".to_owned(),
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
    let with = |breaker: &str, would_be: &str, breaker_reason: &str| PeerState {
        breaker: breaker.to_owned(),
        would_be_breaker: would_be.to_owned(),
        breaker_reason: breaker_reason.to_owned(),
        ..degraded()
    };
    for (state, shown) in [
        (with("closed", "closed", "packet_received"), "closed"),
        (
            with("open", "open", "failures_reported"),
            "open (failures_reported)",
        ),
        (with("open", "open", "flows_stalled"), "open"),
        (
            with("closed", "open", "failures_reported"),
            "closed (would be open: failures_reported)",
        ),
        (
            with("closed", "closed", "forced_closed"),
            "closed (forced_closed)",
        ),
        // An older daemon sends no reason.
        (with("open", "open", "unspecified"), "open"),
    ] {
        assert_eq!(breaker(&state), shown);
    }
    let open = with("open", "open", "forced_open");
    let text = explanation(&bare(open));
    assert!(
        text.contains("breaker       open (forced_open), mode enforce\n"),
        "{text}"
    );
}
