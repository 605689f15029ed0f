//! The API for stalled flows, single addresses, and the clauses of the rule.

use super::*;
use crate::model::{ClauseLine, PathState, ProbeAnswer, ProbeLine, ProbeTarget};

/// A peer with a stalled flow and a dead address.
pub(super) const GRAY: &str = "http://node5:9000";

fn gray() -> PeerState {
    let path = |address: [u8; 4], verdict, reason, breaker| PathState {
        address: address.into(),
        verdict,
        reason,
        breaker,
        last_heard: Some(clock::now() - 300 * MS),
        measured: Default::default(),
    };
    PeerState {
        reason: Reason::FlowsStalled,
        breaker_reason: Reason::PacketReceived,
        stalled_flows: 1,
        oldest_stall: Some(2400 * MS),
        contested: true,
        paths: vec![
            path(
                [10, 0, 0, 5],
                Verdict::Degraded,
                Reason::FlowsStalled,
                Breaker::Closed,
            ),
            path(
                [10, 1, 0, 5],
                Verdict::Dead,
                Reason::HostUnanswered,
                Breaker::Open,
            ),
        ],
        ..state(GRAY, Verdict::Degraded, Breaker::Closed, 3)
    }
}

pub(super) fn explanation() -> Explanation {
    let plain = super::explanation();
    let mut flow = plain.flows[0].clone();
    flow.stalled_for = Some(2400 * MS);
    Explanation {
        state: gray(),
        probes: vec![ProbeLine {
            target: ProbeTarget::Flow {
                flow: flow.reading.id,
                cookie: 11,
            },
            known_to_answer: true,
            sent: 3,
            answered: 2,
            unanswered: 1,
            last_answer: Some((clock::now() - 5 * MS, ProbeAnswer::Ack)),
        }],
        flows: vec![flow],
        clauses: vec![ClauseLine {
            address: [10, 1, 0, 5].into(),
            name: "silent_long_enough",
            measured: "312 ms".to_owned(),
            needed: "at least 250 ms".to_owned(),
            holds: true,
        }],
        ..plain
    }
}

#[tokio::test]
async fn a_peer_that_is_half_well_is_told_in_full() {
    let rig = Rig::start().await;
    rig.board.publish(gray());
    let get = v1::GetPeerRequest { peer: GRAY.into() };
    let shown = rig.client().get_peer(get).await.unwrap().into_inner();
    let shown = shown.peer.unwrap();
    assert_eq!(shown.reason(), v1::Reason::FlowsStalled);
    assert_eq!(shown.breaker_reason(), v1::Reason::PacketReceived);
    assert_eq!(shown.stalled_flows, 1);
    let oldest = shown.oldest_stall.unwrap();
    assert_eq!((oldest.seconds, oldest.nanos), (2, 400_000_000));
    assert!(shown.contested);
    let [well, dead] = &shown.paths[..] else {
        panic!("{:?}", shown.paths)
    };
    assert_eq!(well.verdict(), v1::Verdict::Degraded);
    assert_eq!(dead.address, "10.1.0.5");
    assert_eq!(dead.verdict(), v1::Verdict::Dead);
    assert_eq!(dead.reason(), v1::Reason::HostUnanswered);
    assert_eq!(dead.breaker(), v1::Breaker::Open);
    assert!(dead.last_heard_age.unwrap().nanos >= 300_000_000);
}

#[tokio::test]
async fn an_explanation_has_the_clauses_the_stall_and_the_probes_on_the_flow() {
    let rig = Rig::start().await;
    let request = v1::ExplainPeerRequest { peer: GRAY.into() };
    let shown = rig.client().explain_peer(request).await.unwrap();
    let shown = shown.into_inner();
    let clause = v1::Clause {
        name: "silent_long_enough".to_owned(),
        measured: "312 ms".to_owned(),
        needed: "at least 250 ms".to_owned(),
        holds: true,
        address: "10.1.0.5".to_owned(),
    };
    assert_eq!(shown.clauses, [clause]);
    let [flow] = &shown.flows[..] else { panic!() };
    let stalled = flow.stalled_for.unwrap();
    assert_eq!((stalled.seconds, stalled.nanos), (2, 400_000_000));
    let [probe] = &shown.probes[..] else { panic!() };
    assert_eq!(
        (probe.kind.as_str(), probe.last_answer.as_str()),
        ("keepalive", "ack")
    );
    assert_eq!(probe.target, "10.0.0.1:40000 -> 10.0.0.4:9000");
    assert_eq!((probe.sent, probe.answered, probe.unanswered), (3, 2, 1));
}
