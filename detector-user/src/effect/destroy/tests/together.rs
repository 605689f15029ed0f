//! Several peers that die together.

use super::{super::shared::next, *};

fn of_host(n: u8, flows: Vec<FlowReading>) -> Vec<FlowReading> {
    let at = |mut flow: FlowReading| {
        flow.id.remote.set_ip([10, 0, 1, n].into());
        flow
    };
    flows.into_iter().map(at).collect()
}

/// Three peers that die together, the second of which is heard.
#[test]
fn one_look_serves_those_that_wait() {
    let mut second = of_host(2, flows([3, 4]));
    second[0].last_heard = Some(after(1000));
    let hosts = [of_host(1, flows([1, 2])), second, of_host(3, flows([5]))];
    let requests = hosts.clone().map(|flows| request(&flows));
    let mut table = FakeTable {
        sockets: hosts.concat(),
        ..FakeTable::default()
    };
    let mut teardowns = Teardowns::default();
    let mut told = Vec::new();
    for n in 0..3 {
        let next = next(requests[n + 1..].iter());
        told.extend(teardowns.carry_out(&mut table, &requests[n], &next, || Wish::GoOn));
    }
    let spared = result(0, 2, 0, 0);
    assert_eq!(told, [result(2, 0, 0, 0), spared, result(1, 0, 0, 0)]);
    // The peer that was heard has looks of its own before it is spared.
    assert_eq!(table.looks, 1 + LOOKS - 1);
    assert_eq!(table.read_again, 3, "those of the second and the third");
}

/// The second peer answers, and a socket of the third is closed, after the snapshot that shows all.
#[test]
fn what_one_look_showed_of_others_is_read_again() {
    let hosts = [1, 2, 3].map(|n| of_host(n, flows([u64::from(n) * 2, u64::from(n) * 2 + 1])));
    let requests = hosts.clone().map(|flows| request(&flows));
    let mut table = FakeTable::of(hosts.concat());
    let mut teardowns = Teardowns::default();
    let next = next(requests[1..].iter());
    let mut carry_out = |table: &mut FakeTable, n: usize| {
        teardowns.carry_out(table, &requests[n], &next, || Wish::GoOn)
    };
    assert_eq!(carry_out(&mut table, 0), Some(result(2, 0, 0, 0)));
    for flow in &mut table.sockets {
        flow.last_heard = Some(after(1000)).filter(|_| flow.cookie == 4);
    }
    table.sockets.retain(|flow| flow.cookie != 6);
    assert_eq!(carry_out(&mut table, 1), Some(result(0, 2, 0, 0)));
    assert_eq!(carry_out(&mut table, 2), Some(result(1, 0, 1, 0)));
}

/// It began to wait after the snapshot of the first.
#[test]
fn one_that_the_last_look_does_not_show_has_a_look_of_its_own() {
    let hosts = [1, 2].map(|n| of_host(n, flows([u64::from(n)])));
    let mut table = FakeTable::of(hosts.concat());
    let mut teardowns = Teardowns::default();
    for flows in &hosts {
        let told = teardowns.carry_out(&mut table, &request(flows), &ALONE, || Wish::GoOn);
        assert_eq!(told, Some(result(1, 0, 0, 0)));
    }
    assert_eq!(table.looks, 2);
}

/// Between two snapshots its flows may make progress.
#[test]
fn a_living_peer_has_a_snapshot_of_its_own() {
    let (dead, living) = (of_host(1, flows([1])), of_host(2, flows([2])));
    let mut table = FakeTable::of([dead.clone(), living.clone()].concat());
    let mut teardowns = Teardowns::default();
    let requests = [request(&dead), of_stalled(&living)];
    let next = next(requests[1..].iter());
    for request in &requests {
        teardowns.carry_out(&mut table, request, &next, || Wish::GoOn);
    }
    assert_eq!((table.looks, table.destroyed.len()), (2, 2));
}

/// The memory for one snapshot is bounded.
#[test]
fn one_look_serves_no_more_than_there_is_room_for() {
    let big: Vec<Teardown> = (1..=8)
        .map(|n| request(&of_host(n, flows(1..=5_000))))
        .collect();
    assert_eq!(next(big.iter()).len(), 3);
    let small = (0..600_u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        let mut one = flows([1]);
        one[0].id.remote.set_ip([10, 0, high, low].into());
        request(&one)
    });
    assert_eq!(next(small.collect::<Vec<_>>().iter()).len(), 511);
}
