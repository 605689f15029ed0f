//! Requests that wait for the thread, are called off, and are answered.

use super::*;

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

#[tokio::test]
async fn one_too_many_is_answered_as_failed() {
    let (signals, mut answers) = signals::channel(1);
    let bounds = Bounds::new(1);
    // There is no thread that takes the waiting requests.
    let destroyer = Destroyer {
        worker: Worker::idle(Inbox::new(Pending::new(bounds))),
        signals,
    };
    for n in 0..=bounds.waiting() {
        let name = format!("http://node{n}:9000");
        destroyer.request(Teardown {
            peer: PeerName::from_canonical(&name),
            ..request(&flows(1..=3))
        });
    }
    let answer = answers.try_recv().unwrap();
    let Signal::SocketsDestroyed { result: told, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(told, result(0, 0, 0, 3));
    assert!(answers.try_recv().is_err(), "the others wait");
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
