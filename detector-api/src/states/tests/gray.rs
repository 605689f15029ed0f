//! Peers that are neither healthy nor dead, and breakers with another reason than the verdict's.

use super::*;
use crate::v1::PathState;

fn degraded() -> PeerState {
    PeerState {
        verdict: Verdict::Degraded.into(),
        reason: Reason::FlowsStalled.into(),
        breaker_reason: Reason::PacketReceived.into(),
        stalled_flows: 2,
        oldest_stall: Some(prost_types::Duration {
            seconds: 2,
            nanos: 400_000_000,
        }),
        contested: true,
        ..closed(NODE4)
    }
}

fn path(address: &str, verdict: Verdict, breaker: Breaker) -> PathState {
    PathState {
        address: address.to_owned(),
        verdict: verdict.into(),
        reason: Reason::HostUnanswered.into(),
        breaker: breaker.into(),
        last_heard_age: None,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_degraded_peer_is_called_and_told_with_its_stalls() {
    let states = states();
    states.replace(&[degraded()], TTL);
    let peer = states.peer(NODE4);
    assert_eq!(
        peer.state().to_string(),
        "degraded: flows_stalled; breaker closed: packet_received"
    );
    assert!(peer.down().is_none());
    let details = peer.details();
    assert_eq!(details.stalled_flows, 2);
    assert_eq!(details.oldest_stall, Some(Duration::from_millis(2_400)));
    assert!(details.contested);
    states.end();
    assert_eq!(peer.details(), Details::default());
}

#[tokio::test]
async fn a_peer_is_down_for_its_breaker_s_reason() {
    let states = states();
    let forced = PeerState {
        verdict: Verdict::Alive.into(),
        breaker_reason: Reason::ForcedOpen.into(),
        ..open(NODE4)
    };
    states.replace(&[forced], TTL);
    let peer = states.peer(NODE4);
    let down = peer.down().unwrap();
    assert_eq!(down.to_string(), "http://node4:9000 is down: forced_open");
    assert_eq!(now_or_never(peer.until_down()), Some(down));
    let opened = peer.slot().openings.borrow().clone();
    assert_eq!(opened.unwrap().reason, Reason::ForcedOpen);
}

#[tokio::test]
async fn each_address_is_told_by_itself_until_nothing_is() {
    let states = states();
    let paths = vec![
        path("10.0.0.4", Verdict::Alive, Breaker::Closed),
        path("fd00::4", Verdict::Dead, Breaker::Open),
        path("nonsense", Verdict::Dead, Breaker::Open),
    ];
    states.replace(
        &[PeerState {
            paths,
            ..closed(NODE4)
        }],
        TTL,
    );
    let peer = states.peer(NODE4);
    let [well, dead] = &peer.paths()[..] else {
        panic!("{:?}", peer.paths())
    };
    assert_eq!(
        (well.verdict, well.breaker),
        (Verdict::Alive, Breaker::Closed)
    );
    assert_eq!(dead.address, "fd00::4".parse::<std::net::IpAddr>().unwrap());
    assert_eq!((dead.verdict, dead.breaker), (Verdict::Dead, Breaker::Open));
    assert_eq!(dead.reason, Reason::HostUnanswered);
    states.end();
    assert!(peer.paths().is_empty());
}

#[tokio::test]
async fn the_addresses_of_a_peer_are_bounded() {
    let states = states();
    let path = |n| {
        path(
            &format!("10.0.{}.{}", n / 256, n % 256),
            Verdict::Alive,
            Breaker::Closed,
        )
    };
    let paths = (0..1_000).map(path).collect();
    states.replace(
        &[PeerState {
            paths,
            ..closed(NODE4)
        }],
        TTL,
    );
    assert_eq!(states.peer(NODE4).paths().len(), book::MAX_ADDRESSES);
}
