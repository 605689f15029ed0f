//! The host acknowledges nothing, while its card still answers or one direction still works.

use detector_api::v1::Reason;
use detector_tests::{
    Cut, Lab, Rules, Traffic, Trio, clock, testbed,
    trio::{report, request_loops},
};

use crate::LIMIT;

/// Only h2 is found dead because of the fault; a hanging call returns; all is well after the fault.
async fn dies(
    trio: &Trio,
    fault: impl FnOnce(&Lab) -> anyhow::Result<Rules>,
    reasons: &[Reason],
) -> anyhow::Result<()> {
    let begun = clock::now_ns();
    let fault = fault(trio.lab())?;
    trio.dies(begun, reasons).await?;
    trio.a_call_returns(begun).await?;
    let ended = clock::now_ns();
    drop(fault);
    trio.recovers(ended).await
}

/// A firewall set to DROP, or a hung kernel behind a card that answers ARP.
#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_host() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let deaf = |lab: &Lab| lab.host(2).deaf();
        dies(&trio, deaf, &[Reason::HostUnanswered]).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The peer has nothing to send but acknowledgements: it falls silent as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_we_send_is_lost() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let lost = |lab: &Lab| lab.lose_sent(1, 2);
        let reasons = [Reason::HostUnanswered, Reason::SendsUnanswered];
        dies(&trio, lost, &reasons).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// Its own requests still arrive: one direction works.
#[tokio::test(flavor = "multi_thread")]
async fn what_we_send_is_lost_and_the_peer_sends_by_itself() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let _server = Traffic::grpc_server(trio.lab().host(1)).await?;
        let _its_own = request_loops(trio.lab(), 2, 1, 3, 20_000).await?;
        let lost = |lab: &Lab| lab.lose_sent(1, 2);
        dies(&trio, lost, &[Reason::SendsUnanswered]).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// Our segments arrive, and nothing of the peer's does.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_sends_is_lost() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let lost = |lab: &Lab| lab.lose_answers(1, 2);
        dies(&trio, lost, &[Reason::HostUnanswered]).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The same, with a peer that sends by itself in vain.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_sends_by_itself_is_lost() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let _server = Traffic::grpc_server(trio.lab().host(1)).await?;
        let _its_own = request_loops(trio.lab(), 2, 1, 3, 20_000).await?;
        let lost = |lab: &Lab| lab.lose_answers(1, 2);
        dies(&trio, lost, &[Reason::HostUnanswered]).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// For comparison: silent on every layer, which needs no longer time than it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_cut() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let cut = trio.scene.cut(2, Cut::SilentDrop)?;
        let reasons = [
            Reason::TlpUnanswered,
            Reason::RtoUnanswered,
            Reason::ProbeUnanswered,
            Reason::NeighbourFailed,
            Reason::ConnectUnanswered,
        ];
        let dead = trio.dies(cut.at_ns, &reasons).await?;
        report(trio.daemon(), "a clean cut: dead", cut.at_ns, &dead);
        trio.a_call_returns(cut.at_ns).await?;
        let healed = trio.scene.heal(2)?;
        trio.recovers(healed.at_ns).await?;
        trio.scene.daemon.stop().await
    })
    .await
}
