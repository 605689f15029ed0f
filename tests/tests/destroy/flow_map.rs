//! The eBPF source's map of flows: it makes up for a full ring, and keeps only what is watched.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::SocketAddr,
};

use detector_tests::{Cut, testbed};
use detector_user::{
    clock,
    model::{Endpoint, FlowEventKind, PeerName, Signal},
    signals::{self, SignalSender},
    source::{
        Source as _,
        ebpf::{EbpfOptions, EbpfSource},
    },
};

use super::{LIMIT, Pair, SOON, Stand, result};

/// More than two rings full, as each flow has a record of its probe and of each time-out.
const FLOWS: usize = 300;

/// A source with the smallest ring that watches h2.
fn source(stand: &Stand, signals: SignalSender) -> anyhow::Result<EbpfSource> {
    let options = EbpfOptions {
        netns: Some(stand.sock_diag.netns()),
        ring_bytes: 0,
        ..EbpfOptions::default()
    };
    let mut source = EbpfSource::load(&options, signals)?;
    let peer = PeerName::from_canonical(&stand.lab.host(2).url());
    let SocketAddr::V4(v4) = stand.v4() else {
        unreachable!("it is IPv4");
    };
    let endpoint = Endpoint {
        addr: (*v4.ip()).into(),
        port: v4.port(),
    };
    source.watch(&BTreeMap::from([(peer, vec![endpoint])]))?;
    Ok(source)
}

/// Flows to h2, which is cut off, with something unanswered on each.
fn stalled(stand: &Stand, flows: usize) -> anyhow::Result<Vec<Pair>> {
    let pairs: anyhow::Result<Vec<Pair>> = (0..flows).map(|_| stand.connect(stand.v4())).collect();
    let mut pairs = pairs?;
    stand.lab.cut(&[2], Cut::SilentDrop)?;
    for pair in &mut pairs {
        pair.ours.write_all(b"a request")?;
    }
    Ok(pairs)
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_end_while_the_ring_is_full_are_reported() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        // Nobody takes the signals, so that the ring fills up.
        let (sender, mut signals) = signals::channel(1);
        let source = source(&stand, sender)?;
        let _pairs = stalled(&stand, FLOWS)?;
        testbed::until("the ring is full", SOON, async || {
            Ok((source.counters().ring_drops > 0).then_some(()))
        })
        .await?;

        let sockets = stand.sockets()?;
        let named: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.reading.id, socket.reading.cookie))
            .collect();
        assert_eq!(named.len(), FLOWS);
        let before = source.counters().ring_drops;
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(FLOWS as u32, 0, 0, 0));
        assert!(source.counters().ring_drops > before, "their ends are lost");

        let mut open: BTreeSet<_> = named.iter().map(|(flow, _)| flow.local).collect();
        while !open.is_empty() {
            let signal = tokio::time::timeout(SOON, signals.recv()).await?;
            if let Some(Signal::Flow(event)) = signal
                && matches!(event.kind, FlowEventKind::Closed { .. })
            {
                open.remove(&event.flow.local);
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_are_no_longer_watched_leave_the_map() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let stand = Stand::new()?;
        let (sender, _signals) = signals::channel(1024);
        let mut source = source(&stand, sender)?;
        let _pairs = stalled(&stand, 10)?;
        testbed::until("all flows are in the map", SOON, async || {
            Ok((source.counters().flows_tracked == 10).then_some(()))
        })
        .await?;
        source.watch(&BTreeMap::new())?;
        testbed::until("the map is empty", SOON, async || {
            Ok((source.counters().flows_tracked == 0).then_some(()))
        })
        .await
    })
    .await
}
