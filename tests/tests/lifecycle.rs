//! How the daemon starts and stops, and that it leaves nothing behind.

use std::{
    collections::BTreeSet, fs, os::unix::net::UnixListener, process::Command, time::Duration,
};

use anyhow::Context as _;
use detector_api::v1::ListPeersRequest;
use detector_tests::{Daemon, DaemonOptions, Lab, Scene, SceneOptions, testbed};
use nix::{sys::signal::Signal, unistd::Pid};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
/// For a stop.
const PROMISED: Duration = Duration::from_secs(2);

/// The BPF objects a process holds, as `bpftool` names them: `("prog", id)`.
fn bpf_objects(pid: Pid) -> anyhow::Result<BTreeSet<(&'static str, u32)>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut objects = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))? {
        // A descriptor may be closed while we look.
        let Ok(info) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        for line in info.lines() {
            let (key, value) = line.split_once(':').unwrap_or_default();
            let kind = match key {
                "prog_id" => "prog",
                "map_id" => "map",
                "link_id" => "link",
                _ => continue,
            };
            objects.insert((kind, value.trim().parse()?));
        }
    }
    Ok(objects)
}

/// Whether the kernel still has it.
fn exists(kind: &str, id: u32) -> anyhow::Result<bool> {
    let shown = Command::new("bpftool")
        .args([kind, "show", "id", &id.to_string()])
        .output()
        .context("cannot run bpftool: apt-get install bpftool")?;
    Ok(shown.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_no_socket_program_or_map() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let objects = bpf_objects(scene.daemon.process().pid())?;
        for kind in ["prog", "map"] {
            assert!(
                objects.iter().any(|(k, _)| *k == kind),
                "the daemon holds no {kind}: {objects:?}"
            );
        }
        for (kind, id) in &objects {
            assert!(exists(kind, *id)?, "{kind} {id} is shown while it is held");
        }
        // Checks the socket, too.
        scene.daemon.stop().await?;
        // The kernel frees them after a grace period.
        testbed::until("programs and maps are gone", SOON, async || {
            for (kind, id) in &objects {
                if exists(kind, *id)? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    })
    .await
}

/// Holds when one of a few stops takes no longer than the daemon promises: others may have had
/// the CPU meanwhile.
async fn stops_in_time(stop: impl AsyncFn() -> anyhow::Result<Duration>) -> anyhow::Result<()> {
    let mut took = Vec::new();
    while took.len() < 3 {
        took.push(stop().await?);
        if took.last() <= Some(&PROMISED) {
            return Ok(());
        }
    }
    anyhow::bail!("no stop within {PROMISED:?}: {took:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_time_with_watchers_and_in_mid_outage() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        stops_in_time(async || {
            let scene = Scene::new(SceneOptions::default()).await?;
            let _traffic = scene.traffic_to(2).await?;
            let cut = scene.cut(2, detector_tests::Cut::PortDown)?;
            scene.open_after(cut, 2, SOON).await?;
            scene.daemon.stop_by(Signal::SIGTERM).await
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_it_as_well() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        stops_in_time(async || {
            let lab = Lab::new(1)?;
            let options = DaemonOptions::default().peer("http://10.77.0.2:9000");
            let daemon = Daemon::start(lab.host(1), &options).await?;
            daemon.stop_by(Signal::SIGINT).await
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_socket_is_refused() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let options = DaemonOptions::default().peer("http://10.77.0.3:9000");
        let first = Daemon::start(lab.host(1), &options).await?;
        // On another host, so that only the socket can be in the way.
        let mut second = Daemon::spawn(lab.host(2), &options, first.socket())?;
        let status = second.ended(SOON).await?;
        assert!(!status.success());
        let socket = first.socket().to_string_lossy().into_owned();
        let named = second
            .stderr()
            .find(SOON, |line| line.contains(&socket).then_some(()));
        assert!(named.await.is_some(), "{}", second.stderr_tail(20));
        first.client().list_peers(ListPeersRequest {}).await?;
        first.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_file_is_replaced() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        // The file outlives its listener, as after a crash.
        drop(UnixListener::bind(&socket)?);
        assert!(socket.exists());
        let options = DaemonOptions::default().peer("http://10.77.0.2:9000");
        let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
        daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_can_be_started_again() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let options = DaemonOptions::default().peer("http://10.77.0.2:9000");
        let killed = Daemon::start_at(lab.host(1), &options, &socket).await?;
        killed.kill().await?;
        assert!(socket.exists());
        let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
        daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_before_anything_is_made() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let options = DaemonOptions::default()
            .peer("not a peer")
            .args(["--detection-time", "soon"]);
        let mut process = Daemon::spawn(lab.host(1), &options, &socket)?;
        let status = process.ended(SOON).await?;
        assert_eq!(status.code(), Some(2));
        // All errors together, each with its place.
        for place in ["--peer", "--detection-time"] {
            let named = process
                .stderr()
                .find(SOON, |line| line.contains(place).then_some(()));
            assert!(
                named.await.is_some(),
                "{place}: {}",
                process.stderr_tail(20)
            );
        }
        assert!(!socket.exists());
        Ok(())
    })
    .await
}
