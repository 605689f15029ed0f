//! The worker on a fake socket table; tests with the kernel's own table are in the lab.

mod kernel;
mod namespaces;
mod requests;
mod stalled;
mod together;

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::{
    Destroyer, count, put,
    work::{LOOKS, Table, Teardowns, Wish},
};
use crate::{
    core::testing::established,
    model::{Bounds, Destroyed, FlowId, FlowReading, PeerName, Signal, Spare, Teardown, Time},
    netlink::sock_diag::{DestroyError, SockDiagError, Socket, SocketKey},
    netns::Namespaces,
    pending::Pending,
    signals,
    worker::{Inbox, Worker},
};

const NETNS: u32 = 7;
const OTHER: u32 = 8;
const FOREIGN: u32 = 9;
const SILENT_SINCE: Time = Time::from_nanos(5_000_000_000);

/// No other request waits.
const ALONE: BTreeSet<IpAddr> = BTreeSet::new();

/// The sockets of the fake table, and events that happen during the work.
#[derive(Default)]
struct FakeTable {
    sockets: Vec<FlowReading>,
    /// The kernel's answers to the next requests; after these, every request succeeds.
    answers: VecDeque<Result<(), DestroyError>>,
    looks: u32,
    /// How many sockets were read one by one.
    read_again: u32,
    /// From this look on, the socket with this cookie has heard something.
    heard: Option<(u32, u64)>,
    /// During this many looks, all times are reported too late.
    late: u32,
    is_unreadable: bool,
    /// The sockets of the namespace OTHER cannot be read.
    has_lost_other: bool,
    destroyed: Vec<SocketKey>,
}

impl FakeTable {
    fn of(sockets: Vec<FlowReading>) -> Self {
        Self {
            sockets,
            ..Self::default()
        }
    }
}

impl Table for FakeTable {
    fn reaches(&self, netns: u32) -> bool {
        let is_lost = self.has_lost_other && self.looks > 0;
        netns == NETNS || (netns == OTHER && !is_lost)
    }

    fn is_complete(&self) -> bool {
        !self.has_lost_other
    }

    fn resolution(&self) -> Duration {
        Duration::from_millis(9)
    }

    fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Vec<Socket>, SockDiagError> {
        if self.is_unreadable {
            return Err(SockDiagError::Overrun);
        }
        self.looks += 1;
        if let Some((look, cookie)) = self.heard
            && self.looks == look
        {
            let heard = self.sockets.iter_mut().find(|flow| flow.cookie == cookie);
            heard.expect("still there").last_heard = Some(after(1000));
        }
        let wanted = |flow: &&FlowReading| {
            addrs.contains(&flow.id.remote.ip()) && self.reaches(flow.id.netns)
        };
        Ok(self
            .sockets
            .iter()
            .filter(wanted)
            .map(|flow| Socket {
                key: SocketKey::of_flow(flow),
                reading: FlowReading {
                    last_heard: match self.looks <= self.late {
                        true => Some(after(50)),
                        false => flow.last_heard,
                    },
                    ..flow.clone()
                },
            })
            .collect())
    }

    fn again(&mut self, socket: &Socket) -> Result<Option<Socket>, SockDiagError> {
        self.read_again += 1;
        let mut flows = self.sockets.iter();
        let found = flows.find(|flow| SocketKey::of_flow(flow) == socket.key);
        Ok(found.map(|flow| Socket {
            key: socket.key.clone(),
            reading: flow.clone(),
        }))
    }

    fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError> {
        self.answers.pop_front().unwrap_or(Ok(()))?;
        self.sockets
            .retain(|flow| SocketKey::of_flow(flow) != socket.key);
        self.destroyed.push(socket.key.clone());
        Ok(())
    }
}

fn after(ms: u64) -> Time {
    SILENT_SINCE + Duration::from_millis(ms)
}

/// Flow number `n` has cookie `n`.
fn flow(n: u64) -> FlowReading {
    FlowReading {
        id: FlowId {
            netns: NETNS,
            local: format!("10.0.0.1:{}", 10_000 + n).parse().unwrap(),
            remote: "10.0.0.2:9000".parse().unwrap(),
        },
        cookie: n,
        rto_count: 3,
        ..established(0, SILENT_SINCE)
    }
}

fn flows(numbers: impl IntoIterator<Item = u64>) -> Vec<FlowReading> {
    numbers.into_iter().map(flow).collect()
}

fn request(flows: &[FlowReading]) -> Teardown {
    Teardown {
        peer: PeerName::from_canonical("http://a:9000"),
        addr: flows
            .first()
            .map_or([10, 0, 0, 4].into(), |flow| flow.id.remote.ip()),
        generation: 1,
        spare: Spare::HeardSince(SILENT_SINCE),
        sockets: flows.iter().map(|flow| (flow.id, flow.cookie)).collect(),
    }
}

fn of_stalled(flows: &[FlowReading]) -> Teardown {
    Teardown {
        spare: Spare::ProgressedSince(SILENT_SINCE),
        ..request(flows)
    }
}

fn carry_out(mut table: FakeTable, request: &Teardown) -> (Destroyed, FakeTable) {
    let result = Teardowns::default().carry_out(&mut table, request, &ALONE, || Wish::GoOn);
    (result.expect("not stopped"), table)
}

fn result(destroyed: u32, spared: u32, gone: u32, failed: u32) -> Destroyed {
    Destroyed {
        destroyed,
        spared,
        gone,
        failed,
    }
}

#[test]
fn what_was_asked_for_is_destroyed_and_nothing_else() {
    let table = FakeTable::of(flows(1..=5));
    let (told, table) = carry_out(table, &request(&flows([1, 2, 4])));
    assert_eq!(told, result(3, 0, 0, 0));
    assert_eq!(table.sockets, flows([3, 5]));
}

#[test]
fn one_that_heard_spares_them_all() {
    let table = FakeTable {
        heard: Some((1, 3)),
        ..FakeTable::of(flows(1..=4))
    };
    let (told, table) = carry_out(table, &request(&flows([1, 2, 3, 9])));
    assert_eq!(told, result(0, 3, 1, 0));
    assert_eq!(table.destroyed, []);
}

#[test]
fn a_look_that_came_late_spares_nobody() {
    let late = |late| FakeTable {
        late,
        ..FakeTable::of(flows(1..=2))
    };
    let (told, _) = carry_out(late(LOOKS - 1), &request(&flows([1, 2])));
    assert_eq!(told, result(2, 0, 0, 0));
    let (told, _) = carry_out(late(LOOKS), &request(&flows([1, 2])));
    assert_eq!(told, result(0, 2, 0, 0));
}

/// A new connection shows that the peer is back, although none of the old ones has noticed it yet.
#[test]
fn another_socket_of_the_peer_that_heard_spares_them_too() {
    let table = FakeTable {
        heard: Some((1, 4)),
        ..FakeTable::of(flows(1..=4))
    };
    let (told, _) = carry_out(table, &request(&flows([1, 2, 3])));
    assert_eq!(told, result(0, 3, 0, 0));
}

#[test]
fn a_peer_that_is_heard_between_two_batches_keeps_the_rest() {
    let table = FakeTable {
        heard: Some((2, 1)),
        ..FakeTable::of(flows(1..=600))
    };
    let (told, table) = carry_out(table, &request(&flows(1..=600)));
    assert_eq!(told, result(256, 344, 0, 0));
    assert_eq!(table.looks, 1 + LOOKS);
}

#[test]
fn each_batch_has_its_own_look() {
    let table = FakeTable::of(flows(1..=600));
    let (told, table) = carry_out(table, &request(&flows(1..=600)));
    assert_eq!(told, result(600, 0, 0, 0));
    assert_eq!(table.looks, 3);
}

#[test]
fn what_is_gone_before_or_at_the_last_moment_is_told() {
    let table = FakeTable {
        answers: [Err(DestroyError::Gone)].into(),
        ..FakeTable::of(flows(1..=3))
    };
    // The dump does not contain this cookie: the ports belong to another connection now.
    let (told, _) = carry_out(table, &request(&flows([1, 2, 3, 4, 5])));
    assert_eq!(told, result(2, 0, 3, 0));
}

#[test]
fn without_a_cookie_or_from_another_namespace_nothing_is_tried() {
    let foreign = FlowReading {
        id: FlowId {
            netns: FOREIGN,
            ..flow(2).id
        },
        ..flow(2)
    };
    let unnamed = |cookie| FlowReading { cookie, ..flow(3) };
    let table = FakeTable::of(vec![flow(1), flow(2), unnamed(0), unnamed(u64::MAX)]);
    let asked = [flow(1), foreign, unnamed(0), unnamed(u64::MAX)];
    let (told, table) = carry_out(table, &request(&asked));
    assert_eq!(told, result(1, 0, 0, 3));
    assert_eq!(table.destroyed, [SocketKey::of_flow(&flow(1))]);
}

#[test]
fn a_kernel_that_refuses_is_not_asked_again() {
    for refusal in [DestroyError::NotPermitted, DestroyError::Unsupported] {
        let table = FakeTable {
            answers: [Err(refusal)].into(),
            ..FakeTable::of(flows(1..=300))
        };
        let (told, table) = carry_out(table, &request(&flows(1..=300)));
        assert_eq!(told, result(0, 0, 0, 300));
        assert_eq!(table.destroyed, []);
    }
}

#[test]
fn one_socket_that_is_refused_does_not_keep_the_others() {
    let refused = std::io::Error::from_raw_os_error(nix::libc::EINVAL);
    let table = FakeTable {
        answers: [Err(DestroyError::Refused(refused))].into(),
        ..FakeTable::of(flows(1..=3))
    };
    let (told, _) = carry_out(table, &request(&flows(1..=3)));
    assert_eq!(told, result(2, 0, 0, 1));
}

#[test]
fn without_a_last_look_nothing_is_destroyed() {
    let table = FakeTable {
        is_unreadable: true,
        ..FakeTable::of(flows(1..=3))
    };
    let (told, table) = carry_out(table, &request(&flows(1..=3)));
    assert_eq!(told, result(0, 0, 0, 3));
    assert_eq!(table.destroyed, []);
}

#[test]
fn it_can_be_stopped_or_called_off_between_two_batches() {
    let called_off = Some(result(256, 344, 0, 0));
    for (wish, told) in [(Wish::Stop, None), (Wish::CallOff, called_off)] {
        let mut table = FakeTable::of(flows(1..=600));
        let asked = std::cell::Cell::new(0);
        let wish = || {
            asked.set(asked.get() + 1);
            if asked.get() > 1 { wish } else { Wish::GoOn }
        };
        let result =
            Teardowns::default().carry_out(&mut table, &request(&flows(1..=600)), &ALONE, wish);
        assert_eq!(result, told);
        assert_eq!(table.destroyed.len(), 256);
    }
}
