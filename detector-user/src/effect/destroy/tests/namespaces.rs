//! Sockets in several network namespaces.

use super::*;

/// Flow number `n`, in another namespace.
fn other(n: u64) -> FlowReading {
    FlowReading {
        id: FlowId {
            netns: OTHER,
            ..flow(n).id
        },
        ..flow(n)
    }
}

#[test]
fn sockets_of_all_watched_namespaces_are_destroyed() {
    let table = FakeTable::of(vec![flow(1), other(2)]);
    let (told, table) = carry_out(table, &request(&[flow(1), other(2)]));
    assert_eq!(told, result(2, 0, 0, 0));
    assert_eq!(table.sockets, []);
}

#[test]
fn one_that_heard_in_another_namespace_spares_them_too() {
    let table = FakeTable {
        heard: Some((1, 2)),
        ..FakeTable::of(vec![flow(1), other(2)])
    };
    let (told, _) = carry_out(table, &request(&[flow(1)]));
    assert_eq!(told, result(0, 1, 0, 0));
}

/// Nobody knows what the sockets there heard, nor whether they are gone.
#[test]
fn a_namespace_that_cannot_be_read_keeps_its_sockets_and_no_others() {
    let table = FakeTable {
        has_lost_other: true,
        ..FakeTable::of(vec![flow(1), other(2)])
    };
    let (told, table) = carry_out(table, &request(&[flow(1), other(2)]));
    assert_eq!(told, result(1, 0, 0, 1));
    assert_eq!(table.sockets, [other(2)]);
}
