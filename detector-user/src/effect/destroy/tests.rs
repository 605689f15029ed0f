//! The worker on a fake socket table; tests with the kernel's own table are in the lab.

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
    core::{
        Bounds, Destroyed, FlowId, FlowReading, PeerName, Signal, Spare, TcpState, Teardown, Time,
    },
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

/// The sockets of the fake table, and events that happen during the work.
#[derive(Default)]
struct FakeTable {
    sockets: Vec<FlowReading>,
    /// The kernel's answers to the next requests; after these, every request succeeds.
    answers: VecDeque<Result<(), DestroyError>>,
    looks: u32,
    /// From this look on, the socket with this cookie has heard something.
    heard: Option<(u32, u64)>,
    /// During this many looks, all times are reported too late.
    late: u32,
    is_unreadable: bool,
    /// The sockets of the namespace OTHER cannot be read.
    has_lost_other: bool,
    destroyed: Vec<SocketKey>,
}

impl Table for FakeTable {
    fn reaches(&self, netns: u32) -> bool {
        let is_lost = self.has_lost_other && self.looks > 0;
        netns == NETNS || (netns == OTHER && !is_lost)
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
        state: TcpState::Established,
        rto_count: 3,
        backoff: 3,
        probes_out: 0,
        unacked_segments: 1,
        unacked_bytes: 100,
        send_window_bytes: 65535,
        last_heard: Some(SILENT_SINCE),
        srtt: Duration::ZERO,
        rtt_variance: Duration::ZERO,
        rto: Duration::from_millis(1600),
        segments_sent: 4,
        segments_retransmitted: 3,
        bytes_acked: 0,
        mss: 0,
        awaiting_since: None,
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

fn carry_out(mut table: FakeTable, request: &Teardown) -> (Destroyed, FakeTable) {
    let result = Teardowns::default().carry_out(&mut table, request, || Wish::GoOn);
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
    let table = FakeTable {
        sockets: flows(1..=5),
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&flows([1, 2, 4])));
    assert_eq!(told, result(3, 0, 0, 0));
    assert_eq!(table.sockets, flows([3, 5]));
}

#[test]
fn one_that_heard_spares_them_all() {
    let table = FakeTable {
        sockets: flows(1..=4),
        heard: Some((1, 3)),
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&flows([1, 2, 3, 9])));
    assert_eq!(told, result(0, 3, 1, 0));
    assert_eq!(table.destroyed, []);
}

#[test]
fn a_look_that_came_late_spares_nobody() {
    let late = |late| FakeTable {
        sockets: flows(1..=2),
        late,
        ..FakeTable::default()
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
        sockets: flows(1..=4),
        heard: Some((1, 4)),
        ..FakeTable::default()
    };
    let (told, _) = carry_out(table, &request(&flows([1, 2, 3])));
    assert_eq!(told, result(0, 3, 0, 0));
}

#[test]
fn a_peer_that_is_heard_between_two_batches_keeps_the_rest() {
    let table = FakeTable {
        sockets: flows(1..=600),
        heard: Some((2, 1)),
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&flows(1..=600)));
    assert_eq!(told, result(256, 344, 0, 0));
    assert_eq!(table.looks, 1 + LOOKS);
}

#[test]
fn each_batch_has_its_own_look() {
    let table = FakeTable {
        sockets: flows(1..=600),
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&flows(1..=600)));
    assert_eq!(told, result(600, 0, 0, 0));
    assert_eq!(table.looks, 3);
}

#[test]
fn what_is_gone_before_or_at_the_last_moment_is_told() {
    let table = FakeTable {
        sockets: flows(1..=3),
        answers: [Err(DestroyError::Gone)].into(),
        ..FakeTable::default()
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
    let table = FakeTable {
        sockets: vec![flow(1), flow(2), unnamed(0), unnamed(u64::MAX)],
        ..FakeTable::default()
    };
    let asked = [flow(1), foreign, unnamed(0), unnamed(u64::MAX)];
    let (told, table) = carry_out(table, &request(&asked));
    assert_eq!(told, result(1, 0, 0, 3));
    assert_eq!(table.destroyed, [SocketKey::of_flow(&flow(1))]);
}

#[test]
fn a_kernel_that_refuses_is_not_asked_again() {
    for refusal in [DestroyError::NotPermitted, DestroyError::Unsupported] {
        let table = FakeTable {
            sockets: flows(1..=300),
            answers: [Err(refusal)].into(),
            ..FakeTable::default()
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
        sockets: flows(1..=3),
        answers: [Err(DestroyError::Refused(refused))].into(),
        ..FakeTable::default()
    };
    let (told, _) = carry_out(table, &request(&flows(1..=3)));
    assert_eq!(told, result(2, 0, 0, 1));
}

#[test]
fn without_a_last_look_nothing_is_destroyed() {
    let table = FakeTable {
        sockets: flows(1..=3),
        is_unreadable: true,
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&flows(1..=3)));
    assert_eq!(told, result(0, 0, 0, 3));
    assert_eq!(table.destroyed, []);
}

#[test]
fn it_can_be_stopped_or_called_off_between_two_batches() {
    let called_off = Some(result(256, 344, 0, 0));
    for (wish, told) in [(Wish::Stop, None), (Wish::CallOff, called_off)] {
        let mut table = FakeTable {
            sockets: flows(1..=600),
            ..FakeTable::default()
        };
        let asked = std::cell::Cell::new(0);
        let wish = || {
            asked.set(asked.get() + 1);
            if asked.get() > 1 { wish } else { Wish::GoOn }
        };
        let result = Teardowns::default().carry_out(&mut table, &request(&flows(1..=600)), wish);
        assert_eq!(result, told);
        assert_eq!(table.destroyed.len(), 256);
    }
}

fn of_stalled(flows: &[FlowReading]) -> Teardown {
    Teardown {
        spare: Spare::ProgressedSince(SILENT_SINCE),
        ..request(flows)
    }
}

/// The peer is alive: keepalives on this very socket, and other sockets, are answered.
#[test]
fn a_stalled_flow_is_destroyed_though_its_peer_is_heard() {
    let heard = |n| FlowReading {
        last_heard: Some(after(3000)),
        ..flow(n)
    };
    let table = FakeTable {
        sockets: vec![heard(1), heard(2), heard(3)],
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &of_stalled(&flows([1, 3])));
    assert_eq!(told, result(2, 0, 0, 0));
    assert_eq!(table.sockets, [heard(2)]);
    assert_eq!(table.looks, 1);
}

#[test]
fn a_flow_that_goes_on_is_spared_and_the_stalled_ones_beside_it_are_not() {
    let quiet = |n, heard_ms| FlowReading {
        unacked_segments: 0,
        unacked_bytes: 0,
        last_heard: Some(after(heard_ms)),
        ..flow(n)
    };
    let going_on = FlowReading {
        rto_count: 0,
        ..flow(2)
    };
    let shut = FlowReading {
        send_window_bytes: 0,
        ..flow(3)
    };
    // A call waits on the fifth, on which nothing was heard since.
    let sockets = vec![quiet(1, 3000), going_on, shut, flow(4), quiet(5, 0)];
    let table = FakeTable {
        sockets,
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &of_stalled(&flows(1..=5)));
    assert_eq!(told, result(2, 3, 0, 0));
    let destroyed = [flow(5), flow(4)].map(|flow| SocketKey::of_flow(&flow));
    assert_eq!(table.destroyed, destroyed);
}

#[test]
fn stalled_flows_of_one_peer_are_waited_for_together() {
    let mut pending = Pending::new(Bounds::new(4));
    let later = Teardown {
        spare: Spare::ProgressedSince(SILENT_SINCE + Duration::from_secs(1)),
        ..of_stalled(&flows(1..=2))
    };
    // What was heard since the earlier moment spares more, whichever request comes first.
    for (first, second) in [
        (later.clone(), of_stalled(&flows(3..=3))),
        (
            of_stalled(&flows(1..=2)),
            Teardown {
                sockets: of_stalled(&flows(2..=3)).sockets,
                ..later
            },
        ),
    ] {
        put(&mut pending, first);
        assert_eq!(put(&mut pending, second), None);
        assert_eq!(pending.take_first(), Some(of_stalled(&flows(1..=3))));
    }
    // The peer's death covers all of its sockets.
    put(&mut pending, of_stalled(&flows(1..=2)));
    put(&mut pending, request(&flows([3])));
    assert_eq!(pending.take_first(), Some(request(&flows([3]))));
}

#[tokio::test]
async fn what_waits_and_is_called_off_is_answered_as_spared() {
    let (signals, mut answers) = signals::channel(1);
    // There is no thread that takes the waiting request.
    let destroyer = Destroyer {
        worker: Worker::idle(Inbox::new(Pending::new(Bounds::new(4)))),
        signals,
    };
    let asked = request(&flows(1..=3));
    destroyer.request(asked.clone());
    destroyer.call_off(PeerName::from_canonical("http://b:9000"), asked.addr);
    assert!(answers.try_recv().is_err());
    destroyer.call_off(asked.peer.clone(), asked.addr);
    let answer = answers.recv().await.unwrap();
    let Signal::SocketsDestroyed { result: told, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(told, result(0, 3, 0, 0));
    destroyer.call_off(asked.peer.clone(), asked.addr);
    assert!(answers.try_recv().is_err(), "answered once");
}

fn of_peer(peer: &str, generation: u64) -> Teardown {
    Teardown {
        peer: PeerName::from_canonical(peer),
        generation,
        ..request(&flows([1]))
    }
}

#[test]
fn the_newest_generation_wins() {
    let mut pending = Pending::new(Bounds::new(4));
    for (peer, generation) in [("a", 2), ("b", 1), ("a", 3), ("a", 1)] {
        assert_eq!(put(&mut pending, of_peer(peer, generation)), None);
    }
    assert_eq!(pending.take_first(), Some(of_peer("a", 3)));
    assert_eq!(pending.take_first(), Some(of_peer("b", 1)));
}

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
    let table = FakeTable {
        sockets: vec![flow(1), other(2)],
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&[flow(1), other(2)]));
    assert_eq!(told, result(2, 0, 0, 0));
    assert_eq!(table.sockets, []);
}

#[test]
fn one_that_heard_in_another_namespace_spares_them_too() {
    let table = FakeTable {
        sockets: vec![flow(1), other(2)],
        heard: Some((1, 2)),
        ..FakeTable::default()
    };
    let (told, _) = carry_out(table, &request(&[flow(1)]));
    assert_eq!(told, result(0, 1, 0, 0));
}

/// Nobody knows what the sockets there heard, nor whether they are gone.
#[test]
fn a_namespace_that_cannot_be_read_keeps_its_sockets_and_no_others() {
    let table = FakeTable {
        sockets: vec![flow(1), other(2)],
        has_lost_other: true,
        ..FakeTable::default()
    };
    let (told, table) = carry_out(table, &request(&[flow(1), other(2)]));
    assert_eq!(told, result(1, 0, 0, 1));
    assert_eq!(table.sockets, [other(2)]);
}

#[tokio::test]
async fn every_request_is_answered_until_the_thread_ends() {
    let (sender, mut signals) = signals::channel(8);
    let destroyer =
        Destroyer::spawn(sender, Namespaces::only_own().unwrap(), Bounds::new(4)).unwrap();
    // No socket has this cookie, so nothing is destroyed.
    let mut request = request(&[FlowReading {
        cookie: u64::MAX - 1,
        ..flow(1)
    }]);
    request.sockets[0].0.netns = 0;
    destroyer.request(request.clone());
    let answer = signals.recv().await.unwrap();
    let Signal::SocketsDestroyed {
        peer,
        generation,
        result: told,
        ..
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!((peer, generation), (request.peer, 1));
    assert_eq!(told, result(0, 0, count(1), 0));
    drop(destroyer);
    assert_eq!(signals.recv().await, None, "the thread has ended");
}
