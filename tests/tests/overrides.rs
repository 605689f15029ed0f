//! Administrators' overrides on a real daemon: maintenance, forced breakers, a restart.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::{Breaker, OverrideKind, PeerState, Reason, Verdict};
use detector_tests::{Cut, Daemon, DaemonOptions, Lab, Traffic, clock, testbed};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(15);
/// Longer than any destroy delay.
const A_WHILE: Duration = Duration::from_secs(3);

fn is_alive(state: &PeerState) -> bool {
    state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
}

fn is_in_maintenance(state: &PeerState) -> bool {
    let held = state.r#override.as_ref().map(|held| held.kind());
    held == Some(OverrideKind::Maintenance)
        && state.breaker() == Breaker::Open
        && state.breaker_reason() == Reason::Maintenance
}

/// The lines of the audit log of a daemon with this socket.
fn audited(socket: &Path) -> anyhow::Result<Vec<Value>> {
    let log = socket.with_extension("state").join("audit.log");
    let text = fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_outlasts_a_restart_and_ends_when_the_peer_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let peer = lab.host(2).url();
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let options = DaemonOptions::default().peer(&peer);
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let _calls = Traffic::start(lab.host(1), &["grpc-client", "--target", &peer])?;

        let first = Daemon::start_at(lab.host(1), &options, &socket).await?;
        first.await_state(&peer, SOON, is_alive).await?;
        let args = ["maintenance", &peer, "--for", "10m", "--reason", "new disk"];
        let said = first.cli(lab.host(1), &args)?;
        ensure!(
            said.contains("new disk") && said.contains("breaker open"),
            "{said}"
        );
        let held = first.await_state(&peer, SOON, is_in_maintenance).await?;
        ensure!(held.state.verdict() == Verdict::Alive, "{held:?}");
        for command in [&["peers"][..], &["explain", &peer]] {
            let shown = first.cli(lab.host(1), command)?;
            ensure!(
                shown.contains("maintenance by user 0"),
                "{command:?}: {shown}"
            );
        }

        // As after a crash: nothing is said before the end.
        first.kill().await?;
        let second = Daemon::start_at(lab.host(1), &options, &socket).await?;
        second.await_state(&peer, SOON, is_in_maintenance).await?;

        let cut = lab.cut(&[2], Cut::PortDown)?;
        let is_dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let dead = second.await_since(cut.at_ns, &peer, SOON, is_dead).await?;
        ensure!(is_in_maintenance(&dead.state), "{dead:?}");
        let healed = lab.heal(&[2])?;
        let back = second
            .await_since(healed.at_ns, &peer, SOON, is_alive)
            .await?;
        ensure!(back.state.r#override.is_none(), "{back:?}");
        second.stop().await?;
        let lines = audited(&socket)?;
        let of = |key: &str| {
            lines
                .iter()
                .map(|line| line[key].clone())
                .collect::<Vec<_>>()
        };
        ensure!(of("action") == ["set", "ended"], "{lines:?}");
        ensure!(
            of("why") == [Value::Null, "peer_returned".into()],
            "{lines:?}"
        );
        ensure!(
            lines[0]["uid"] == 0 && lines[0]["reason"] == "new disk",
            "{lines:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_is_held_closed_spares_a_dead_peers_sockets() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let peer = lab.host(2).url();
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let _calls = Traffic::start(lab.host(1), &["grpc-client", "--target", &peer])?;
        let options = DaemonOptions::default().peer(&peer);
        let daemon = Daemon::start(lab.host(1), &options).await?;
        daemon.await_state(&peer, SOON, is_alive).await?;
        let args = [
            "override", &peer, "closed", "--for", "10m", "--reason", "a test",
        ];
        daemon.cli(lab.host(1), &args)?;
        let cut = lab.cut(&[2], Cut::PortDown)?;
        let is_dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let dead = daemon.await_since(cut.at_ns, &peer, SOON, is_dead).await?;
        ensure!(dead.state.breaker() == Breaker::Closed, "{dead:?}");
        let opened = daemon
            .await_since(cut.at_ns, &peer, A_WHILE, |state| {
                state.breaker() != Breaker::Closed
            })
            .await;
        ensure!(opened.is_err(), "{opened:?}");
        let destroyed = daemon.explain(&peer).await?.destroyed;
        ensure!(destroyed.is_none(), "{destroyed:?}");

        let ended = clock::now_ns();
        daemon.cli(lab.host(1), &["override", &peer, "--end"])?;
        let is_open = |state: &PeerState| state.breaker() == Breaker::Open;
        daemon.await_since(ended, &peer, SOON, is_open).await?;
        testbed::until("its sockets are destroyed", SOON, async || {
            let destroyed = daemon.explain(&peer).await?.destroyed;
            Ok(destroyed.filter(|all| all.destroyed > 0))
        })
        .await?;
        Ok(())
    })
    .await
}
