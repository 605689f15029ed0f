//! What a restart and a reload leave as it was: a dead peer's breaker is open all the time, a living
//! one's closed.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{Cut, Daemon, DaemonOptions, Lab, Traffic, clock, peer::Kind, testbed};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(15);
/// From the start of a daemon to the death of a peer that was dead before.
const DEAD_AGAIN: Duration = Duration::from_secs(5);
/// Longer than any destroy delay.
const A_WHILE: Duration = Duration::from_secs(2);

const TWO_PEERS: &str = "\
[[peer]]
url = \"http://10.77.0.2:9000\"
[[peer]]
url = \"http://10.77.0.3:9000\"
";

fn is_open(state: &PeerState) -> bool {
    state.verdict() == Verdict::Dead && state.breaker() == Breaker::Open
}

fn is_alive(state: &PeerState) -> bool {
    state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
}

async fn traffic(lab: &Lab, to: usize) -> anyhow::Result<(Traffic, Traffic)> {
    let server = Traffic::grpc_server(lab.host(to)).await?;
    let url = lab.host(to).url();
    let client = Traffic::grpc_client(lab.host(1), &url, Kind::Put, 3, 100).await?;
    Ok((server, client))
}

/// A line of the daemon's log that contains this.
async fn logged(daemon: &Daemon, text: &str) -> anyhow::Result<String> {
    let log = daemon.process().stderr();
    let found = log.find(SOON, |line| line.contains(text).then(|| line.clone()));
    let found = found.await;
    found.with_context(|| format!("{text}: {}", daemon.process().stderr_tail(30)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_dead_dead_again_and_the_living_alive() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (dead, alive) = (lab.host(2).url(), lab.host(3).url());
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let options = DaemonOptions::default().peer(&dead).peer(&alive);
        let _to_2 = traffic(&lab, 2).await?;
        let _to_3 = traffic(&lab, 3).await?;
        let first = Daemon::start_at(lab.host(1), &options, &socket).await?;
        first.await_state(&dead, SOON, is_alive).await?;
        let cut = lab.cut(&[2], Cut::PortDown)?;
        let open = first.await_since(cut.at_ns, &dead, SOON, is_open).await?;
        // Its sockets are destroyed: the next daemon sees none of them.
        first.stays_open(open.at_ns, &dead, A_WHILE).await?;
        first.stop().await?;

        let began = clock::now_ns();
        let second = Daemon::start_at(lab.host(1), &options, &socket).await?;
        let (again, open, lives) = tokio::join!(
            second.await_state(&dead, DEAD_AGAIN, is_open),
            second.stays_open(began, &dead, A_WHILE),
            second.never_dead(&alive, A_WHILE),
        );
        open?;
        lives?;
        let took = clock::between(began, again?.at_ns);
        eprintln!("dead {took:?} after the second daemon was started");
        second.await_state(&alive, SOON, is_alive).await?;

        // A peer that returned while no daemon ran is never dead for the next one.
        second.kill().await?;
        let healed = lab.heal(&[2])?;
        let third = Daemon::start_at(lab.host(1), &options, &socket).await?;
        let mut died = false;
        let is_alive_again = |state: &PeerState| {
            died |= state.verdict() == Verdict::Dead;
            is_alive(state)
        };
        third
            .await_since(healed.at_ns, &dead, SOON, is_alive_again)
            .await?;
        ensure!(!died, "dead although it had returned");
        third.never_dead(&dead, A_WHILE).await?;
        third.stop().await?;
        let kept = fs::read_to_string(socket.with_extension("state").join("dead.json"))?;
        ensure!(kept.contains("\"dead\":[]"), "{kept}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_it_names_and_no_verdict() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(4)?;
        let [dead, alive, new] = [2, 3, 4].map(|host| lab.host(host).url());
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let file = socket.with_extension("toml");
        let _to_2 = traffic(&lab, 2).await?;
        let _to_3 = traffic(&lab, 3).await?;
        let _to_4 = traffic(&lab, 4).await?;
        let options = DaemonOptions::default().config(TWO_PEERS);
        let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
        for peer in [&dead, &alive] {
            daemon.await_state(peer, SOON, is_alive).await?;
        }
        let cut = lab.cut(&[2], Cut::PortDown)?;
        let open = daemon.await_since(cut.at_ns, &dead, SOON, is_open).await?;

        let settings = "detection_time = \"100ms\"\nmax_flows = 128\n";
        let wanted = format!("{settings}{TWO_PEERS}[[peer]]\nurl = \"{new}\"\n");
        fs::write(&file, wanted)?;
        daemon.process().signal(Signal::SIGHUP)?;
        let (added, open, alive_all_the_time) = tokio::join!(
            daemon.await_state(&new, SOON, is_alive),
            daemon.stays_open(open.at_ns, &dead, A_WHILE),
            daemon.never_dead(&alive, A_WHILE),
        );
        added?;
        open?;
        alive_all_the_time?;
        let said = logged(&daemon, "configuration reloaded").await?;
        for word in [
            "detection_time = \"100ms\"",
            "watches http://10.77.0.4:9000",
            "max_flows",
        ] {
            ensure!(said.contains(word), "{word}: {said}");
        }

        // A file with errors changes nothing, and says where they are.
        fs::write(&file, "detection_time = 5\n")?;
        daemon.process().signal(Signal::SIGHUP)?;
        let said = logged(&daemon, "is not taken over").await?;
        ensure!(said.contains("detector.toml:1"), "{said}");
        daemon.never_dead(&new, Duration::from_millis(500)).await?;

        // A peer that is named no longer is forgotten; the cut one comes back.
        fs::write(&file, format!("{settings}{TWO_PEERS}"))?;
        daemon.process().signal(Signal::SIGHUP)?;
        logged(&daemon, "forgets http://10.77.0.4:9000").await?;
        testbed::until("the peer is forgotten", SOON, async || {
            Ok(daemon.peer(&new).await.is_err().then_some(()))
        })
        .await?;
        let healed = lab.heal(&[2])?;
        daemon
            .await_since(healed.at_ns, &dead, SOON, is_alive)
            .await?;
        daemon.stop().await
    })
    .await
}
