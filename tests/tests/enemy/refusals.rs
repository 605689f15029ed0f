//! A host that lives, and is called dead, teaches nothing.

use anyhow::Context as _;
use detector_tests::{
    Daemon, DaemonOptions, Lab, PEER_PORT, Traffic, clock, dial,
    peer::Dialed,
    testbed,
    trio::{idle, report, said},
};
use nix::sys::signal::Signal;

use crate::{A_WHILE, LIMIT, SOON, ports, still_there};

/// It refuses every other port by ICMP, of which Linux sends one a second; its program is
/// stopped, and its queue of connections full. An idle caller has connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_routed_host_that_rejects_is_alive() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 2)?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let _rejects = peer.other_ports_rejected(PEER_PORT)?;
        peer.short_accept_queue(1)?;
        let server = Traffic::grpc_server(peer).await?;
        let _other = Traffic::grpc_server(other).await?;
        let options = [peer, other].map(|host| host.url());
        let options = options
            .into_iter()
            .fold(DaemonOptions::default(), DaemonOptions::peer);
        let daemon = Daemon::start(us, &options).await?;
        let address = (peer.v4(), PEER_PORT).into();
        let _idle = idle(&lab, 1, 2, 2).await?;
        let ports = ports(&lab, &[2])?;
        server.process.signal(Signal::SIGSTOP)?;
        testbed::until("the queue is full", SOON, async || {
            Ok((dial(us, address, &[])? == Dialed::Hung).then_some(()))
        })
        .await?;

        let begun = clock::now_ns();
        let lives = daemon.never_dead(&peer.url(), A_WHILE * 2).await;
        lives.with_context(|| said(&daemon, &peer.url()))?;
        still_there(&lab, &ports)?;
        let now = daemon.peer(&peer.url()).await?;
        let at_ns = clock::now_ns();
        let now = detector_tests::Observed { at_ns, state: now };
        report(&daemon, "at the end", begun, &now);
        daemon.stop().await
    })
    .await
}
