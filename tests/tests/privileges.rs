//! What a running daemon may still do, as the kernel shows it in /proc, and who may read its files.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Lab, Scene, SceneOptions, Via, get, testbed,
    trio::{request_loops, served},
};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);

/// Bits of include/uapi/linux/capability.h.
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const BPF: u64 = 1 << 39;

/// Before this kernel, each use of a map takes CAP_BPF.
fn with_maps(kept: u64) -> anyhow::Result<u64> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let mut next = || numbers.next().context("a version")?.context("a number");
    let version: (u32, u32) = (next()?, next()?);
    Ok(if version < (5, 19) { kept | BPF } else { kept })
}

/// A field of each thread's /proc/PID/task/TID/status.
fn of_threads(daemon: &Daemon, field: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.process().pid()))? {
        // A thread that has ended meanwhile has none.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let value = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.map(|value| value.trim().to_owned())
        };
        let name = value("Name:").unwrap_or_default();
        found.push((name, value(field).context("no such field")?));
    }
    ensure!(found.len() > 5, "only these threads: {found:?}");
    Ok(found)
}

/// Checks that every thread has these capabilities and no others, and no way to get them.
fn has_only(daemon: &Daemon, kept: u64) -> anyhow::Result<()> {
    let kept = with_maps(kept)?;
    for field in ["CapPrm:", "CapEff:"] {
        for (thread, hex) in of_threads(daemon, field)? {
            let held = u64::from_str_radix(&hex, 16)?;
            ensure!(held == kept, "{thread}: {field} {held:x}, not {kept:x}");
        }
    }
    for (field, expected) in [
        ("CapInh:", "0000000000000000"),
        ("CapAmb:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        for (thread, value) in of_threads(daemon, field)? {
            ensure!(value == expected, "{thread}: {field} {value}");
        }
    }
    Ok(())
}

async fn started(lab: &Lab, options: DaemonOptions) -> anyhow::Result<Daemon> {
    Daemon::start(lab.host(1), &options.peer(lab.host(2).url())).await
}

/// Each configuration keeps what its work takes, on all threads, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn every_thread_has_only_what_the_configuration_takes() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let namespace = format!("/run/netns/{}", lab.host(2).namespace());
        let options = DaemonOptions::default;
        let keeping = options().args(["--destroy-sockets", "off"]);
        let refusing = "refuse_connects = [\"nothing.service\"]\ndestroy_sockets = \"off\"";
        for (options, kept) in [
            (options(), NET_RAW | NET_ADMIN),
            (options().args(["--mode", "observe"]), NET_RAW | NET_ADMIN),
            (keeping.clone(), NET_RAW),
            (keeping.clone().source("sock-diag"), NET_RAW),
            (options().config(refusing), NET_RAW | NET_ADMIN),
            (
                keeping.args(["--network-namespace", &namespace]),
                NET_RAW | SYS_ADMIN | SYS_PTRACE,
            ),
        ] {
            let said = format!("{options:?}");
            let daemon = started(&lab, options).await?;
            has_only(&daemon, kept).context(said)?;
            daemon.stop().await?;
        }
        Ok(())
    })
    .await
}

/// It publishes what it kept; the filter can be made to log, or be switched off.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_can_be_switched_off_and_is_shown() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let outer = fs::read_to_string("/proc/self/status")?;
        let is_filtered = outer.lines().any(|line| line == "Seccomp:\t2");
        let without = if is_filtered { "2" } else { "0" };
        for (seccomp, mode) in [("on", "2"), ("log", "2"), ("off", without)] {
            let config = format!("seccomp = \"{seccomp}\"");
            let daemon = started(&lab, DaemonOptions::default().config(config)).await?;
            for (thread, value) in of_threads(&daemon, "Seccomp:")? {
                ensure!(value == mode, "{seccomp}: {thread}: {value}");
            }
            let address = detector_tests::METRICS.parse()?;
            let metrics = get(lab.host(1), address, "/metrics")?;
            let line = metrics
                .lines()
                .find(|line| line.starts_with("detector_privileges_info{"));
            let line = line.context("no such metric")?;
            for what in ["CAP_NET_RAW", &format!("seccomp=\"{seccomp}\"")] {
                ensure!(line.contains(what), "{line}");
            }
            daemon.stop().await?;
        }
        Ok(())
    })
    .await
}

/// A user of its own with four ambient capabilities, as in `deploy/detector.service`, has all the
/// effects: a death is found, and the sockets are destroyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_its_own_with_ambient_capabilities_is_enough() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (_servers, options) = served(&lab, &[2, 3]).await?;
        let directory = tempfile::tempdir()?;
        let (user, group) = Via::OWN_USER;
        chown(directory.path(), Some(user), Some(group))?;
        let socket = directory.path().join("detector.sock");
        let options = options.via(Via::OwnUser);
        let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
        has_only(&daemon, NET_RAW | NET_ADMIN)?;
        let _loops = [
            request_loops(&lab, 1, 2, 3, 20_000).await?,
            request_loops(&lab, 1, 3, 3, 20_000).await?,
        ];
        let url = lab.host(2).url();
        let is = |verdict| move |state: &PeerState| state.verdict() == verdict;
        daemon.await_state(&url, SOON, is(Verdict::Alive)).await?;
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        daemon
            .await_since(cut.at_ns, &url, SOON, is(Verdict::Dead))
            .await?;
        testbed::until("its sockets are destroyed", SOON, async || {
            let explained = daemon.explain(&url).await?;
            Ok(explained.destroyed.filter(|sockets| sockets.destroyed > 0))
        })
        .await?;
        daemon.stop().await
    })
    .await
}

/// Only their owner may read a recording and what outlasts a restart, whatever the umask is.
#[tokio::test(flavor = "multi_thread")]
async fn recordings_and_state_are_for_their_owner_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let recording = directory.path().join("a.rec");
        let file = recording.to_str().context("a path in UTF-8")?;
        let options = DaemonOptions::default();
        let options = options.via(Via::OpenUmask).args(["--record", file]);
        let scene = Scene::new(SceneOptions {
            hosts: 3,
            daemon: options,
        })
        .await?;
        let state = scene.daemon.socket().with_extension("state");
        let _traffic = scene.traffic_to(2).await?;
        let held = [
            "override",
            &scene.lab.host(3).url(),
            "open",
            "--for",
            "1m",
            "--reason",
            "test",
        ];
        scene.daemon.cli(scene.lab.host(1), &held)?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        testbed::until(
            "override, audit log and dead peers are kept",
            SOON,
            async || Ok((fs::read_dir(&state)?.count() >= 3).then_some(())),
        )
        .await?;
        let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o7777);
        assert_eq!(mode(&recording)?, 0o600);
        assert_eq!(mode(&state)?, 0o700);
        for file in fs::read_dir(&state)? {
            let path = file?.path();
            ensure!(
                mode(&path)? == 0o600,
                "{}: {:o}",
                path.display(),
                mode(&path)?
            );
            ensure!(fs::metadata(&path)?.uid() == 0);
        }
        scene.daemon.stop().await
    })
    .await
}
