//! Some flows, or some segments, are lost while the peer is alive: this is published, and the flows
//! are destroyed.

use std::time::Duration;

use anyhow::bail;
use detector_api::v1::{PeerState, Reason, Verdict};
use detector_tests::{
    DaemonOptions, Lab, Rules, Traffic, Trio, clock, testbed,
    trio::{A_WHILE, SOON, report},
};
use nix::sys::signal::Signal;

use crate::LIMIT;

/// One of h2's three flows stalls: it is published as stalled, destroyed, and dialled again.
async fn one_of_three_stalls(
    trio: &Trio,
    fault: impl FnOnce(&Lab, u16) -> anyhow::Result<Rules>,
) -> anyhow::Result<()> {
    let port = trio.a_port()?;
    let begun = clock::now_ns();
    let fault = fault(trio.lab(), port)?;
    let degraded = trio.degrades(begun, Reason::FlowsStalled).await?;
    assert_eq!(degraded.state.stalled_flows, 1, "{degraded:?}");
    assert!(degraded.state.oldest_stall.is_some(), "{degraded:?}");
    let (channel, returned) = trio.a_call_returns(begun).await?;
    trio.works(channel, returned).await?;
    // The flow is gone, and with it the reason for Degraded, although the fault still exists.
    trio.recovers(returned).await?;
    drop(fault);
    Ok(())
}

/// One bad path of several.
#[tokio::test(flavor = "multi_thread")]
async fn one_flow_one_way() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        one_of_three_stalls(&trio, |lab, port| lab.lose_flow(1, port, false)).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The flow is lost in both directions, with a request under way: a call that waits for a reply
/// has nothing unanswered on this side.
fn forgotten(lab: &Lab, port: u16) -> anyhow::Result<Rules> {
    let _request = lab.lose_flow(1, port, false)?;
    let filter = format!("sport = :{port}");
    for _ in 0..500 {
        let shown = lab.host(1).exec("ss", &["-tniH", &filter])?;
        if shown.contains("unacked:") {
            return lab.lose_flow(1, port, true);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("no request is under way on port {port}")
}

/// A firewall or load balancer has forgotten the flow, and drops it without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_flow() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        one_of_three_stalls(&trio, forgotten).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// A path MTU black hole: every request with a body hangs, every small one works.
#[tokio::test(flavor = "multi_thread")]
async fn large_segments() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let begun = clock::now_ns();
        let fault = trio.lab().lose_large(1, 1000)?;
        let degraded = trio.degrades(begun, Reason::LargeSegmentsLost).await?;
        report(trio.daemon(), "large segments", begun, &degraded);
        trio.a_call_returns(begun).await?;
        let ended = clock::now_ns();
        drop(fault);
        trio.recovers(ended).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The stall is published nevertheless, and no socket is destroyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_flow_is_kept_when_that_is_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let off = DaemonOptions::default().config("destroy_stalled_after = \"off\"\n");
        let trio = Trio::with(3, off).await?;
        let port = trio.a_port()?;
        let begun = clock::now_ns();
        let fault = trio.lab().lose_flow(1, port, false)?;
        trio.degrades(begun, Reason::FlowsStalled).await?;
        let early = trio.loops.error_since(begun, A_WHILE).await;
        assert!(early.is_err(), "a call returned: {early:?}");
        drop(fault);
        // The kernel's next retransmission gets through.
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        trio.daemon()
            .await_state(&trio.peer(), SOON * 2, alive)
            .await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// A closed window is acknowledged all the time: no stall, and nothing is ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_zero_window_is_no_stall() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        trio.scene.servers[0].process.signal(Signal::SIGSTOP)?;
        // HTTP/2 would hold back by itself; this sends what the kernels take.
        let upload = ["http-client", "--target", "10.77.0.2:9000"];
        let upload = Traffic::start(trio.lab().host(1), &upload)?;
        let begun = clock::now_ns();
        trio.daemon().never_dead(&trio.peer(), A_WHILE).await?;
        let ended = trio.loops.error_since(begun, A_WHILE / 8).await;
        assert!(ended.is_err(), "a call returned: {ended:?}");
        let state = trio.daemon().peer(&trio.peer()).await?;
        assert_eq!(state.stalled_flows, 0, "{state:?}");
        drop(upload);
        trio.scene.daemon.stop().await
    })
    .await
}
