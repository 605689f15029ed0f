//! The replay of a real recorded cut gives the daemon's own verdicts, and shows what other settings
//! would give.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::{
    PeerWatch, Report,
    v1::{Operation, Outcome, Verdict},
};
use detector_tests::{Cut, Daemon, DaemonOptions, Log, Observed, Scene, SceneOptions, testbed};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const PROMPT: Duration = Duration::from_secs(10);
/// The detection time that is the default.
const USUAL: &str = "250ms";

/// A lab whose daemon records into this file.
async fn recorded_scene(file: &Path, detection_time: &str) -> anyhow::Result<Scene> {
    let file = file.to_str().context("the temporary directory's name")?;
    Scene::new(SceneOptions {
        daemon: DaemonOptions::default().args([
            "--record",
            file,
            "--detection-time",
            detection_time,
        ]),
        ..SceneOptions::default()
    })
    .await
}

struct Replayed {
    lines: Vec<Value>,
    summary: String,
}

/// `detector replay FILE ARGS… --output json`.
fn replay(file: &Path, args: &[&str]) -> anyhow::Result<Replayed> {
    let mut command = Daemon::program()?;
    command.arg("replay").arg(file).args(args);
    let ran = command.args(["--output", "json"]).output()?;
    let summary = String::from_utf8(ran.stderr)?;
    ensure!(ran.status.success(), "{}: {summary}", ran.status);
    println!("replay {args:?}:\n{summary}");
    Ok(Replayed {
        lines: parsed(String::from_utf8(ran.stdout)?.lines())?,
        summary,
    })
}

fn parsed<'a>(lines: impl Iterator<Item = &'a str>) -> anyhow::Result<Vec<Value>> {
    let value = |line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    lines.map(value).collect()
}

/// All that the daemon printed, once it has ended.
async fn printed(stdout: &Log<String>) -> anyhow::Result<Vec<Value>> {
    stdout.find(PROMPT, |_| None::<()>).await;
    parsed(stdout.all().iter().map(String::as_str))
}

/// Without what two clocks, or a moment's delay in printing, make differ.
fn comparable(lines: &[Value]) -> Vec<Value> {
    let mut lines = lines.to_vec();
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        line.remove("changed_at");
        line.remove("last_heard_age");
        let paths = line.get_mut("paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten() {
            path.as_object_mut()
                .map(|path| path.remove("last_heard_age"));
        }
    }
    lines
}

/// The states that a watcher received, by generation: verdict and reason as each began.
fn told(seen: &[Observed]) -> Vec<(u64, String, String)> {
    let mut told: Vec<(u64, String, String)> = Vec::new();
    for Observed { state, .. } in seen {
        if told
            .last()
            .is_none_or(|(generation, ..)| *generation < state.generation)
        {
            let (verdict, reason) = (state.verdict(), state.reason());
            told.push((state.generation, verdict.to_string(), reason.to_string()));
        }
    }
    told
}

fn replayed(lines: &[Value]) -> Vec<(u64, String, String)> {
    let mut told: Vec<(u64, String, String)> = Vec::new();
    for line in lines {
        let generation = line["generation"].as_u64().unwrap_or_default();
        if told.last().is_none_or(|(last, ..)| *last < generation) {
            let word = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
            told.push((generation, word("verdict"), word("reason")));
        }
    }
    told
}

/// When the peer was first found dead; comparable as text.
fn death(lines: &[Value]) -> Option<String> {
    let dead = lines.iter().find(|line| line["verdict"] == "dead")?;
    let at = dead["changed_at"].as_str()?.strip_suffix('Z')?;
    let (seconds, fraction) = at.split_once('.').unwrap_or((at, ""));
    Some(format!("{seconds}.{fraction:0<9}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_says_what_the_daemon_said() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("h1.rec");
        let scene = recorded_scene(&file, "1s").await?;
        let traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let (_, after) = scene.open_after(cut, 2, PROMPT).await?;
        println!("open after {after:?}");
        let heal = scene.heal(2)?;
        scene.closed_after(heal, 2, PROMPT).await?;
        traffic.ok_since(heal.at_ns, PROMPT).await?;
        let seen = scene.daemon.watcher().seen().clone();
        let stdout = scene.daemon.process().stdout().clone();
        scene.daemon.stop().await?;
        println!("{} bytes", std::fs::metadata(&file)?.len());

        let usual = replay(&file, &[])?;
        assert_eq!(
            comparable(&usual.lines),
            comparable(&printed(&stdout).await?)
        );
        let (told, replayed) = (told(&seen.all()), replayed(&usual.lines));
        // A watcher may have come after the first of them.
        assert!(
            told.len() >= 3 && replayed.ends_with(&told),
            "{told:?} {replayed:?}"
        );
        let settings = "settings: as recorded\nthe recording ends: the daemon was stopped\n";
        assert!(usual.summary.ends_with(settings), "{}", usual.summary);

        let died = death(&usual.lines).context("it died")?;
        // With a shorter detection time still, a moment without CPU would be a pause.
        let hasty = death(&replay(&file, &["--detection-time", USUAL])?.lines);
        assert!(
            hasty
                .clone()
                .context("died with a shorter detection time")?
                <= died,
            "{hasty:?} {died}"
        );
        let calm = replay(&file, &["--detection-time", "20s"])?;
        assert_eq!(death(&calm.lines), None, "it was back before");
        Ok(())
    })
    .await
}

/// What the node reported is a signal like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_hears_the_reports_too() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("h1.rec");
        let scene = recorded_scene(&file, USUAL).await?;
        let _traffic = scene.traffic_to(2).await?;
        let watch = PeerWatch::start(scene.daemon.socket());
        ensure!(watch.ready(PROMPT).await, "{}", watch.status());
        let url = scene.lab.host(2).url();
        let asked = |outcome| Report {
            peer: &url,
            ..Report::new(Operation::DiskState, outcome, Duration::from_millis(100))
        };
        for _ in 0..3 {
            watch.reporter().report(asked(Outcome::TimedOut));
        }
        scene.await_verdict(2, Verdict::Degraded).await?;
        watch.reporter().report(asked(Outcome::Succeeded));
        scene.alive(2).await?;
        let stdout = scene.daemon.process().stdout().clone();
        scene.daemon.stop().await?;

        let replayed = replay(&file, &[])?.lines;
        assert!(
            replayed
                .iter()
                .any(|line| line["reason"] == "slowness_reported"),
            "{replayed:?}"
        );
        assert_eq!(comparable(&replayed), comparable(&printed(&stdout).await?));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_a_killed_daemon_is_good_up_to_its_last_line() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("h1.rec");
        let scene = recorded_scene(&file, USUAL).await?;
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, PROMPT).await?;
        let stdout = scene.daemon.process().stdout().clone();
        scene.daemon.kill().await?;

        let replayed = replay(&file, &[])?;
        let printed = comparable(&printed(&stdout).await?);
        // Of the two, each may lack what the other had just written.
        let common = replayed.lines.len().min(printed.len());
        assert!(common >= 3, "{printed:?}");
        assert_eq!(comparable(&replayed.lines)[..common], printed[..common]);
        assert!(
            replayed.summary.contains("warning: "),
            "{}",
            replayed.summary
        );
        Ok(())
    })
    .await
}

/// The daemon is worth more than its recording.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_when_its_recording_is_at_its_limit() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("h1.rec");
        let path = file.to_str().context("the temporary directory's name")?;
        let args = ["--record", path, "--record-limit", "64KiB"];
        let scene = Scene::new(SceneOptions {
            // Each time that the sockets are read is a line.
            daemon: DaemonOptions::default()
                .args(args)
                .config("idle_probe_interval = \"50ms\"\n"),
            ..SceneOptions::default()
        })
        .await?;
        let _traffic = scene.traffic_to(2).await?;
        let stderr = scene.daemon.process().stderr().clone();
        let warned = |line: &String| line.contains("has reached its limit").then_some(());
        stderr.find(LIMIT / 2, warned).await.context("no warning")?;
        let cut = scene.cut(2, Cut::PortDown)?;
        scene.open_after(cut, 2, PROMPT).await?;
        scene.daemon.stop().await?;
        assert!(std::fs::metadata(&file)?.len() <= 64 << 10);
        let summary = replay(&file, &[])?.summary;
        assert!(summary.contains("had reached its limit"), "{summary}");
        Ok(())
    })
    .await
}
