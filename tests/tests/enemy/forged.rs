//! A host on the link that speaks in the peer's name. Only the peer's own silence makes it dead, and
//! nothing that another says keeps it alive.

use std::net::TcpStream;

use anyhow::{Context as _, ensure};
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, DaemonOptions, Forged, Forger, PEER_PORT, Says, Trio, testbed,
    trio::{PROMPT, report, said},
};

use crate::{A_WHILE, LIMIT, SOON, ports, still_there};

/// h4 speaks in h2's name: resets, answers to connects, acknowledgements and ICMP errors, for each
/// connection of h1 with h2, with guessed numbers; and it repeats real answers of h2 to connects.
fn forges(trio: &Trio, ports: &[u16]) -> anyhow::Result<Forger> {
    let (us, peer) = (trio.lab().host(1), trio.lab().host(2));
    let to = (peer.v4(), PEER_PORT);
    let overheard = us.overhears(|| {
        for _ in 0..8 {
            let _closed_again = TcpStream::connect(to);
        }
    })?;
    ensure!(overheard.len() >= 8, "{} answers", overheard.len());
    trio.lab().host(4).forges(Forged {
        from: peer.v4(),
        to: us.v4(),
        ports: ports.to_vec(),
        overheard,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_resets_answers_and_errors_kill_no_living_peer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, DaemonOptions::default()).await?;
        let ports = ports(trio.lab(), &[2])?;
        let forger = forges(&trio, &ports)?;
        let lives = trio.daemon().never_dead(&trio.peer(), A_WHILE).await;
        lives.with_context(|| said(trio.daemon(), &trio.peer()))?;
        ensure!(forger.sent() > 1000, "only {} were forged", forger.sent());
        still_there(trio.lab(), &ports)?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// Another host also claims the dead one's address (gratuitous ARP), all the time.
#[tokio::test(flavor = "multi_thread")]
async fn forged_answers_keep_no_dead_peer_alive() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, DaemonOptions::default()).await?;
        let forger = forges(&trio, &ports(trio.lab(), &[2])?)?;
        let address = trio.lab().host(2).v4();
        let cut = trio.scene.cut(2, Cut::SilentDrop)?;
        let claims = trio.lab().stranger(Says::Claims { address })?;
        let peer = trio.peer();
        let is_dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let dead = trio
            .daemon()
            .await_since(cut.at_ns, &peer, PROMPT, is_dead)
            .await
            .with_context(|| said(trio.daemon(), &peer))?;
        report(trio.daemon(), "dead", cut.at_ns, &dead);
        trio.a_call_returns(cut.at_ns).await?;
        let open = trio
            .daemon()
            .stays_open(dead.at_ns, &trio.peer(), A_WHILE)
            .await;
        open.with_context(|| said(trio.daemon(), &trio.peer()))?;
        ensure!(forger.sent() > 1000, "only {} were forged", forger.sent());
        // The others' verdicts are not held for it either.
        let other = trio.daemon().peer(&trio.other()).await?;
        ensure!(
            !other.isolated && other.verdict() == Verdict::Alive,
            "{other:?}"
        );

        drop((claims, forger));
        let healed = trio.scene.heal(2)?;
        let h1 = trio.lab().host(1);
        h1.exec("ip", &["neigh", "flush", "dev", "eth0"])?;
        trio.recovers(healed.at_ns).await?;
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        trio.daemon()
            .await_since(healed.at_ns, &trio.peer(), SOON, alive)
            .await?;
        trio.scene.daemon.stop().await
    })
    .await
}
