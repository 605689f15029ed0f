//! `detector report` during a real cut: the bundle is private, says what is missing, and its
//! recording gives the verdict again.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::Verdict;
use detector_tests::{Cut, Daemon, Scene, SceneOptions, testbed};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);
const PROMPT: Duration = Duration::from_secs(10);
const NOT_REACHABLE: i32 = 3;

/// `detector report PEER --to FILE ARGS…`.
fn report(socket: &Path, peer: &str, file: &Path, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Daemon::program()?;
    command.arg("--socket").arg(socket);
    command.args(["--output", "json", "report", peer]);
    Ok(command.arg("--to").arg(file).args(args).output()?)
}

/// What the command said of the bundle.
fn said(output: &Output) -> anyhow::Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("{output:?}"))
}

fn why_missing(said: &Value, name: &str) -> Option<String> {
    let parts = said["parts"].as_array()?;
    let part = parts.iter().find(|part| part["name"] == name)?;
    part["missing"].as_str().map(str::to_owned)
}

/// Unpacks as a person would, and returns the bundle's directory.
fn unpack(file: &Path, said: &Value) -> anyhow::Result<std::path::PathBuf> {
    let into = file.parent().context("a directory")?;
    let mut tar = std::process::Command::new("tar");
    let unpacked = tar.arg("-xzf").arg(file).arg("-C").arg(into).status()?;
    ensure!(unpacked.success(), "{unpacked}");
    let directory = said["directory"].as_str().context("a directory's name")?;
    Ok(into.join(directory))
}

/// The verdicts on a peer in a recording, each as it began.
fn replayed(recording: &Path, peer: &str) -> anyhow::Result<Vec<String>> {
    let mut command = Daemon::program()?;
    command.args(["--output", "json", "replay"]).arg(recording);
    let ran = command.output()?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{}: {errors}", ran.status);
    println!("{errors}");
    let mut verdicts = Vec::new();
    for line in String::from_utf8(ran.stdout)?.lines() {
        let state: Value = serde_json::from_str(line)?;
        if state["peer"] == peer {
            verdicts.push(state["verdict"].as_str().context("a verdict")?.to_owned());
        }
    }
    Ok(verdicts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_during_a_cut_has_what_a_ticket_needs() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let peer = scene.lab.host(2).url();
        let socket = scene.daemon.socket().to_owned();
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, PROMPT).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("r.tar.gz");

        let made = report(&socket, &peer, &file, &[])?;
        ensure!(made.status.success(), "{made:?}");
        let mode = file.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
        let parts = said(&made)?;
        let inside = unpack(&file, &parts)?;
        let read = |name: &str| fs::read_to_string(inside.join(name)).context(name.to_owned());
        let verdicts = replayed(&inside.join("recording.rec"), &peer)?;
        ensure!(
            verdicts.last().is_some_and(|last| last == "dead"),
            "{verdicts:?}"
        );
        let explained = read("explanation.txt")?;
        ensure!(explained.contains("is dead"), "{explained}");
        ensure!(read("config.toml")?.contains(&peer), "the flags count");
        ensure!(read("doctor.txt")?.contains("missing"), "the sum");
        ensure!(read("versions.txt")?.contains("pid "));
        let contents = read("README.txt")?;
        ensure!(contents.contains("MISSING"), "no journal: {contents}");
        let missing = why_missing(&parts, "journal.txt").context("the lab is no unit")?;
        ensure!(missing.contains("no systemd service"), "{missing}");

        let again = report(&socket, &peer, &file, &[])?;
        let error = String::from_utf8_lossy(&again.stderr);
        ensure!(
            !again.status.success() && error.contains("--force"),
            "{error}"
        );
        let again = report(&socket, &peer, &file, &["--force"])?;
        ensure!(again.status.success(), "{again:?}");

        // The rest is worth having while the daemon is away.
        scene.await_verdict(2, Verdict::Dead).await?;
        scene.daemon.stop().await?;
        let other = directory.path().join("other.tar.gz");
        let alone = report(&socket, &peer, &other, &[])?;
        ensure!(alone.status.code() == Some(NOT_REACHABLE), "{alone:?}");
        let parts = said(&alone)?;
        ensure!(why_missing(&parts, "recording.rec").is_some(), "{parts}");
        ensure!(unpack(&other, &parts)?.join("doctor.txt").exists());
        Ok(())
    })
    .await
}
