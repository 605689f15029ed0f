//! Refusals: shared addresses, counters, and a kernel map that fails.

use std::net::IpAddr;

use super::*;
use crate::{core::testing::unknown, model::Reason};

#[derive(Debug, Default)]
struct Fake {
    map: BTreeMap<Address, u32>,
    counts: BTreeMap<u32, u64>,
    is_broken: bool,
    renewed: u32,
}

impl Entries<Address> for Fake {
    fn put(&mut self, address: &Address, slot: Option<u32>) -> Result<(), MapError> {
        if self.is_broken {
            return Err(MapError::ElementNotFound);
        }
        match slot {
            Some(slot) => self.map.insert(*address, slot),
            None => self.map.remove(address),
        };
        Ok(())
    }
}

impl Dead for Fake {
    fn renew(&mut self) -> Result<(), MapError> {
        self.renewed += 1;
        Ok(())
    }

    fn refused(&self, slot: u32) -> u64 {
        self.counts.get(&slot).copied().unwrap_or(0)
    }
}

const A: &str = "http://a:9000";
const B: &str = "http://b:9000";

fn name(text: &str) -> PeerName {
    PeerName::from_canonical(text)
}

fn state(peer: &str, breaker: Breaker, addresses: &[&str]) -> PeerState {
    PeerState {
        verdict: Verdict::Dead,
        breaker,
        would_be_breaker: Breaker::Open,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..unknown(peer)
    }
}

fn refuser() -> Refuser<Fake> {
    Refuser::new(Fake::default(), 2)
}

fn refused(refuser: &Refuser<Fake>) -> Vec<String> {
    let plain = |address: &Address| std::net::Ipv6Addr::from(*address).to_canonical();
    let addresses = refuser.dead.map.map.keys().map(plain);
    addresses.map(|a: IpAddr| a.to_string()).collect()
}

#[test]
fn only_an_open_breaker_refuses_and_anything_else_lifts_it() {
    for lifting in [Breaker::HalfOpen, Breaker::Closed] {
        let mut refuser = refuser();
        refuser.publish(&state(A, Breaker::Closed, &["10.0.0.1", "fd00::1"]));
        assert_eq!(refused(&refuser), [""; 0]);
        refuser.publish(&state(A, Breaker::Open, &["10.0.0.1", "fd00::1"]));
        assert_eq!(refused(&refuser), ["10.0.0.1", "fd00::1"]);
        refuser.publish(&state(A, lifting, &["10.0.0.1", "fd00::1"]));
        assert_eq!(refused(&refuser), [""; 0]);
    }
}

#[test]
fn addresses_may_change_while_the_breaker_is_open() {
    let mut refuser = refuser();
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.1", "10.0.0.2"]));
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.2", "10.0.0.3"]));
    assert_eq!(refused(&refuser), ["10.0.0.2", "10.0.0.3"]);
    refuser.retract(&name(A));
    assert_eq!(refused(&refuser), [""; 0]);
}

#[test]
fn a_shared_address_is_refused_only_while_all_its_peers_are_open() {
    let mut refuser = refuser();
    refuser.publish(&state(A, Breaker::Closed, &["10.0.0.1"]));
    refuser.publish(&state(B, Breaker::Open, &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(refused(&refuser), ["10.0.0.2"]);
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.1"]));
    assert_eq!(refused(&refuser), ["10.0.0.1", "10.0.0.2"]);
    refuser.publish(&state(B, Breaker::HalfOpen, &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(refused(&refuser), [""; 0]);
    // The peer that kept the address from being refused is removed.
    refuser.retract(&name(B));
    assert_eq!(refused(&refuser), ["10.0.0.1"]);
}

#[test]
fn a_v4_mapped_address_is_the_v4_one() {
    let mut refuser = refuser();
    refuser.publish(&state(A, Breaker::Closed, &["10.0.0.1"]));
    refuser.publish(&state(B, Breaker::Open, &["::ffff:10.0.0.1"]));
    assert_eq!(refused(&refuser), [""; 0]);
}

#[test]
fn connects_are_counted_by_peer_and_from_its_own_beginning() {
    let mut refuser = refuser();
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.1"]));
    refuser.publish(&state(B, Breaker::Closed, &["10.0.0.2"]));
    let slot = *refuser.dead.map.map.values().next().unwrap();
    refuser.dead.map.counts.insert(slot, 7);
    assert_eq!(refuser.refused(), [(name(A), 7)]);
    // The count is kept while the breaker is not Open, and another peer does not inherit it.
    refuser.publish(&state(A, Breaker::Closed, &["10.0.0.1"]));
    assert_eq!(refuser.refused(), [(name(A), 7)]);
    refuser.retract(&name(A));
    refuser.publish(&state(B, Breaker::Open, &["10.0.0.2"]));
    assert_eq!(refuser.refused(), [(name(B), 0)]);
}

#[test]
fn slots_are_bounded_and_a_peer_without_one_is_refused_all_the_same() {
    let mut refuser = refuser();
    for i in 0..5 {
        let (peer, address) = (format!("http://{i}:1"), format!("10.0.0.{i}"));
        refuser.publish(&state(&peer, Breaker::Open, &[&address]));
    }
    let slots: Vec<_> = refuser.dead.map.map.values().copied().collect();
    assert_eq!(slots, [0, 1, 2, 2, 2]);
    for i in 0..5 {
        refuser.retract(&name(&format!("http://{i}:1")));
    }
    assert_eq!(refuser.slots.free.len(), 2);
    assert!(refuser.sharing.is_empty() && refuser.dead.len() == 0);
}

#[test]
fn refusals_stand_from_the_first_on_and_while_chores_are_done() {
    let mut refuser = refuser();
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.1"]));
    assert_eq!(refuser.dead.map.renewed, 1);
    refuser.chores();
    assert_eq!(refuser.dead.map.renewed, 2);
}

#[test]
fn what_the_map_did_not_take_is_tried_again() {
    let mut refuser = refuser();
    refuser.dead.map.is_broken = true;
    refuser.publish(&state(A, Breaker::Open, &["10.0.0.1"]));
    refuser.chores();
    assert_eq!(refused(&refuser), [""; 0]);
    refuser.dead.map.is_broken = false;
    refuser.chores();
    assert_eq!(refused(&refuser), ["10.0.0.1"]);
    // The same in the other direction: an address that must pass is refused for now, and released
    // later.
    refuser.dead.map.is_broken = true;
    refuser.publish(&state(A, Breaker::Closed, &["10.0.0.1"]));
    assert_eq!(refused(&refuser), ["10.0.0.1"]);
    refuser.dead.map.is_broken = false;
    refuser.chores();
    assert_eq!(refused(&refuser), [""; 0]);
}

#[test]
fn of_several_addresses_those_that_are_dead_are_refused() {
    let mut refuser = refuser();
    let mut one_dead = state("http://a:9000", Breaker::Closed, &["10.0.0.1", "10.0.0.2"]);
    one_dead.paths = one_dead
        .addresses
        .iter()
        .map(|&address| PathState {
            address,
            verdict: Verdict::Dead,
            reason: Reason::RtoUnanswered,
            breaker: Breaker::Open,
            last_heard: None,
            measured: Default::default(),
        })
        .collect();
    one_dead.paths[1].verdict = Verdict::Alive;
    one_dead.paths[1].breaker = Breaker::Closed;
    refuser.publish(&one_dead);
    assert_eq!(refused(&refuser), ["10.0.0.1"]);
    one_dead.mode = Mode::Observe;
    refuser.publish(&one_dead);
    assert_eq!(refused(&refuser), [""; 0]);
}
