//! The source against the kernel that runs the tests. What needs a network of its own is tested in
//! the lab.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    NetworkSource,
    socket::{BATCH, Requests},
};
use crate::model::{Bounds, NetworkEvent, Signal};

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Answers of a whole batch come, each for its own address.
#[test]
fn this_kernel_answers_for_a_batch() {
    let mut requests = Requests::open().unwrap();
    let addrs: Vec<IpAddr> = (1..=BATCH as u8).map(|n| [127, 0, 0, n].into()).collect();
    let mut answered = Vec::new();
    requests
        .routes(&addrs, |addr, route| answered.push((addr, route)))
        .unwrap();
    let expected: Vec<_> = addrs.iter().map(|addr| (*addr, Ok(None))).collect();
    assert_eq!(answered, expected, "loopback addresses are this host's own");
}

#[tokio::test]
async fn this_kernel_tells_of_a_watched_address() {
    let (sender, mut signals) = crate::signals::channel(16);
    let source = NetworkSource::start(sender, Bounds::new(4)).unwrap();
    let own = addr("127.0.0.1");
    source.watch(BTreeSet::from([addr("::ffff:127.0.0.1")]));
    let told = NetworkEvent::Route {
        addr: own,
        route: None,
    };
    match signals.recv().await {
        Some(Signal::Network { event, .. }) => assert_eq!(event, told),
        other => panic!("{other:?}"),
    }
    assert_eq!(source.counters().malformed, 0);
    drop(source);
    // The thread has ended and with it the other end.
    while signals.recv().await.is_some() {}
}
