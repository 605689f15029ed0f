//! Reports of a program that links the client crate to a running daemon, and their effects.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::{
    PeerWatch, Report, Reporter,
    v1::{Breaker, Operation, Outcome, Reason, Verdict},
};
use detector_tests::{Cut, Daemon, DaemonOptions, METRICS, Scene, SceneOptions, get, testbed};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);
const IAM_LOCK: &str = "config/iam/format.json";

/// Four nodes of four drives each in one set of 12 + 4; this node is the first.
const LAYOUT: &str = r#"
node_name = "http://10.77.0.1:9000"
[[pool]]
name = "hot"
nodes = [
    "http://10.77.0.1:9000", "http://10.77.0.2:9000",
    "http://10.77.0.3:9000", "http://10.77.0.4:9000",
]
drives_per_node = 4
data = 12
parity = 4
"#;

async fn watching(daemon: &Daemon) -> anyhow::Result<(PeerWatch, Reporter)> {
    let watch = PeerWatch::start(daemon.socket());
    anyhow::ensure!(watch.ready(SOON).await, "{}", watch.status());
    let reporter = watch.reporter();
    Ok((watch, reporter))
}

fn timed_out<'a>(operation: Operation, peer: &'a str) -> Report<'a> {
    Report {
        peer,
        ..Report::new(operation, Outcome::TimedOut, Duration::from_millis(100))
    }
}

/// What `detector ARGS… --output json` prints, a value a line, once `is` holds of it.
async fn cli(
    scene: &Scene,
    args: &[&str],
    is: impl Fn(&[Value]) -> bool,
) -> anyhow::Result<Vec<Value>> {
    testbed::until(&format!("what detector {args:?} says"), SOON, async || {
        let args = [args, &["--output", "json"]].concat();
        let text = scene.daemon.cli(scene.lab.host(1), &args)?;
        let lines = text.lines().map(serde_json::from_str);
        let lines = lines.collect::<Result<Vec<Value>, _>>().context(text)?;
        Ok(is(&lines).then_some(lines))
    })
    .await
}

/// The values of these fields.
fn of<const N: usize>(line: &Value, fields: [&str; N]) -> [Value; N] {
    fields.map(|field| line[field].clone())
}

/// What `detector quorum` says of the only pool, once so many of its nodes are available.
async fn outlook(scene: &Scene, nodes: u64) -> anyhow::Result<Value> {
    let has = |pools: &[Value]| pools.len() == 1 && pools[0]["nodes_available"] == nodes;
    Ok(cli(scene, &["quorum"], has).await?.remove(0))
}

/// Reports what a store sees that hangs on the dead node's part of a lock.
fn report_a_lock_that_hangs(reporter: &Reporter, dead: &str) {
    let about_the_lock = |operation, peer| Report {
        lock: IAM_LOCK,
        ..timed_out(operation, peer)
    };
    for _ in 0..3 {
        reporter.report(about_the_lock(Operation::Lock, dead));
    }
    reporter.report(about_the_lock(Operation::IamRead, ""));
}

/// The metrics have these lines at last: gauges follow once a second.
async fn are_counted<const N: usize>(scene: &Scene, lines: [&str; N]) -> anyhow::Result<()> {
    testbed::until("the metrics show it", SOON, async || {
        let metrics = get(scene.lab.host(1), METRICS.parse()?, "/metrics")?;
        let has = |line: &&str| metrics.lines().any(|shown| shown == *line);
        Ok(lines.iter().all(has).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_the_root_cause_of_what_the_node_reports_after_it() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            hosts: 4,
            daemon: DaemonOptions::default().config(LAYOUT),
        })
        .await?;
        let (_watch, reporter) = watching(&scene.daemon).await?;
        let mut traffic = Vec::new();
        for host in 2..=4 {
            traffic.push(scene.traffic_to(host).await?);
        }
        let whole = outlook(&scene, 4).await?;
        assert_eq!(whole["disks_available"], 16, "{whole:?}");
        let set = &whole["sets"][0];
        assert_eq!(set["more_losses_until_unwritable"], 1, "{whole:?}");

        let cut = scene.cut(4, Cut::SilentDrop)?;
        scene.open_after(cut, 4, SOON).await?;
        let less = outlook(&scene, 3).await?;
        let set = &less["sets"][0];
        let losses = ["disks_available", "readable", "writable"];
        assert_eq!(of(set, losses), [json!(12), json!(true), json!(true)]);
        assert_eq!(set["more_losses_until_unwritable"], 0, "{less:?}");

        let dead = scene.lab.host(4).url();
        report_a_lock_that_hangs(&reporter, &format!("{dead}/data/rustfs1"));
        let is_told = |locks: &[Value]| locks.first().is_some_and(|lock| lock["attempts"] == 4);
        let locks = cli(&scene, &["locks"], is_told).await?;
        let lock = of(&locks[0], ["lock", "health", "consecutive_timeouts"]);
        assert_eq!(lock, [json!(IAM_LOCK), json!("unhealthy"), json!(4)]);
        let cascades = cli(&scene, &["cascades"], |cascades| !cascades.is_empty()).await?;
        let cascade = of(&cascades[0], ["pattern", "component", "kernel_verdict"]);
        let pattern = json!("peer_unreachable_locks_iam");
        assert_eq!(cascade, [pattern, json!(dead), json!(true)], "{cascades:?}");
        let counted = [
            "rustfs_available_disks_total{pool=\"hot\",set=\"0\"} 12",
            "rustfs_config_lock_timeouts_total 3",
            "rustfs_lock_health_timeouts_total{path=\"config/iam/format.json\"} 4",
            "rustfs_cascading_failure_patterns_total{initial=\"peer_unreachable\"} 1",
        ];
        are_counted(&scene, counted).await?;
        scene.daemon.stop().await
    })
    .await
}

/// The kernel saying alive keeps a slow program from being called dead.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_live_peer_make_it_slow_and_an_answer_ends_that() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let (watch, reporter) = watching(&scene.daemon).await?;
        let url = scene.lab.host(2).url();
        let states = watch.states();
        let peer = states.peer(&url);
        for _ in 0..3 {
            reporter.report(timed_out(Operation::DiskState, &url));
        }
        let slow = peer.until(|state| state.verdict == Verdict::Degraded);
        let state = tokio::time::timeout(SOON, slow).await?;
        assert_eq!(state.reason, Reason::SlownessReported);
        let took = Duration::from_millis(2);
        reporter.report(Report {
            peer: &url,
            ..Report::new(Operation::DiskState, Outcome::Succeeded, took)
        });
        let alive = peer.until(|state| state.verdict == Verdict::Alive);
        tokio::time::timeout(SOON, alive).await?;
        let seen = scene.daemon.watcher().seen().all();
        let opened = seen
            .iter()
            .find(|seen| seen.state.breaker() != Breaker::Closed);
        assert!(opened.is_none(), "{opened:?}");
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_alone_open_the_breaker_of_a_peer_that_nothing_is_known_of() -> anyhow::Result<()>
{
    testbed::run(LIMIT, async {
        // No such host; but another one answers, so that it is not this one that is cut off.
        let nobody = "http://10.77.0.99:9000";
        let scene = Scene::new(SceneOptions {
            hosts: 2,
            daemon: DaemonOptions::default()
                .peer("http://10.77.0.2:9000")
                .peer(nobody)
                .config("recovery_timeout = \"5s\"\n"),
        })
        .await?;
        let _traffic = scene.traffic_to(2).await?;
        let (watch, reporter) = watching(&scene.daemon).await?;
        let peer = watch.states().peer(nobody);
        for _ in 0..3 {
            reporter.report(timed_out(Operation::DiskState, nobody));
        }
        let open = peer.until(|state| state.breaker == Breaker::Open);
        let state = tokio::time::timeout(SOON, open).await?;
        assert_eq!(
            (state.verdict, state.breaker_reason),
            (Verdict::Unknown, Reason::FailuresReported)
        );
        let half_open = peer.until(|state| state.breaker == Breaker::HalfOpen);
        tokio::time::timeout(SOON, half_open).await?;
        scene.daemon.stop().await
    })
    .await
}

/// Fail open: the last state of a dead peer from a stopped daemon ends with its time to live, and
/// returns when the daemon continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_daemon_is_believed_no_more_until_it_goes_on() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let (watch, _) = watching(&scene.daemon).await?;
        let states = watch.states();
        let peer = states.peer(&scene.lab.host(2).url());
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        tokio::time::timeout(SOON, peer.until_down()).await?;

        scene.daemon.process().signal(Signal::SIGSTOP)?;
        tokio::time::timeout(SOON, states.until_stale()).await?;
        assert_eq!(peer.state(), detector_api::State::default());
        scene.daemon.process().signal(Signal::SIGCONT)?;
        tokio::time::timeout(SOON, states.until_fresh()).await?;
        tokio::time::timeout(SOON, peer.until_down()).await?;
        scene.daemon.stop().await
    })
    .await
}
