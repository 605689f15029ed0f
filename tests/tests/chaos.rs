//! `lab chaos`, which `cargo xtask chaos` runs, and `deploy/chaos.sh` for a staging cluster: every fault
//! passes, and a killed one leaves nothing.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use detector_api::v1::Verdict;
use detector_tests::{Host, Lab, Process, Scene, SceneOptions, clock, testbed};

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(20);

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg("chaos").args(args);
    command
}

/// The namespaces of the labs of this process.
fn namespaces(process: u32) -> Vec<String> {
    let entries = fs::read_dir(Path::new("/run/netns"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&format!("dtl-{process}-")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_checklist_passes() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut chaos = Process::start("lab chaos", lab(&[]))?;
        let ended = chaos.ended(LIMIT).await?;
        let said = chaos.stdout().all().join("\n");
        println!("{said}");
        assert!(ended.success(), "{said}\n{}", chaos.stderr_tail(40));
        assert_eq!(said.matches("\n  pass  ").count(), 8, "{said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_a_killed_command_is_undone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let args = ["--only", "silent-drop", "--hold", "60"];
        let mut chaos = Process::start("lab chaos", lab(&args))?;
        let process = chaos.pid().as_raw().unsigned_abs();
        let begun = |line: &String| line.contains("silent drop").then_some(());
        chaos.stdout().find(SOON, begun).await.expect("it begins");
        assert_eq!(namespaces(process).len(), 5, "four hosts and a switch");
        chaos.kill().await?;
        testbed::until("the lab is removed", SOON, async || {
            Ok(namespaces(process).is_empty().then_some(()))
        })
        .await
    })
    .await
}

/// `deploy/chaos.sh` with these arguments, on a host of the lab.
fn script(host: &Host, args: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chaos.sh");
    let mut command = host.command("sh");
    command.arg(path).args(args);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_staging_cluster_is_broken_if_it_is_named_twice() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let traffic = scene.traffic_to(2).await?;
        let host = scene.lab.host(2);
        let this = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let this = this.trim();
        for refused in [
            ["silent-drop", this, "other", "3"],
            ["silent-drop", "other", "other", "3"],
            ["silent-drop", this, this, "9999"],
            ["unknown", this, this, "3"],
        ] {
            let ran = script(host, &refused).output()?;
            assert_eq!(ran.status.code(), Some(2), "{refused:?}: {ran:?}");
        }
        assert_eq!(
            host.exec("nft", &["list", "tables"])?,
            "",
            "nothing was done"
        );

        // Killed by -9, with what it runs; the kernel ends the fault.
        let begun = clock::now_ns();
        let args = ["silent-drop", this, this, "3"];
        let mut chaos = Process::start("chaos.sh", script(host, &args))?;
        scene.await_verdict(2, Verdict::Dead).await?;
        chaos.kill().await?;
        scene.alive(2).await?;
        traffic.ok_since(clock::now_ns(), SOON).await?;
        let lasted = clock::between(begun, clock::now_ns());
        assert!(lasted >= Duration::from_secs(2), "{lasted:?}");

        let ended = script(host, &["loss", this, this, "1"]).output()?;
        assert!(ended.status.success(), "{ended:?}");
        let ended = script(host, &["flaps", this, this, "1"]).output()?;
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(host.exec("nft", &["list", "tables"])?, "", "nothing stays");
        scene.daemon.stop().await
    })
    .await
}

/// A stand-in for systemctl, because no systemd runs here: it passes its signals on to this
/// process, or fails.
fn systemctl(directory: &Path, body: &str) -> anyhow::Result<String> {
    let path = directory.join("systemctl");
    fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    let inherited = std::env::var("PATH")?;
    Ok(format!("{}:{inherited}", directory.display()))
}

async fn becomes(process: &Process, stopped: bool) -> anyhow::Result<()> {
    let stat = format!("/proc/{}/stat", process.pid());
    testbed::until(&format!("stopped: {stopped}"), SOON, async || {
        let is_stopped = fs::read_to_string(&stat)?.contains(") T ");
        Ok((is_stopped == stopped).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_unit_goes_on_even_if_the_script_is_killed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let this = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let args = ["stop", this.trim(), this.trim(), "2", "some.service"];
        let stop = |path: &str| {
            let mut command = script(lab.host(1), &args);
            command.env("PATH", path);
            command
        };
        let directory = tempfile::tempdir()?;
        let mut sleeping = Command::new("sleep");
        sleeping.arg("120");
        let unit = Process::start("a unit", sleeping)?;
        let pass_on = format!("kill -s ${{2#--signal=}} {}", unit.pid());
        let path = systemctl(directory.path(), &pass_on)?;
        let mut chaos = Process::start("chaos.sh", stop(&path))?;
        becomes(&unit, true).await?;
        chaos.kill().await?;
        becomes(&unit, false).await?;

        // What could not be done is not over.
        let path = systemctl(directory.path(), "exit 1")?;
        let ran = stop(&path).output()?;
        assert!(!ran.status.success(), "{ran:?}");
        assert!(!String::from_utf8(ran.stdout)?.contains("is over"));
        Ok(())
    })
    .await
}

/// `deploy/chaos.sh power-cut`, where this folder is /proc, and the file in it takes what would be said
/// to the kernel. Were it the kernel's own after all, nothing would be started.
fn power_cut(proc: &Path, node: &str) -> Command {
    let covered = "mount --bind \"$1\" /proc && grep -qx covered /proc/sysrq-trigger && shift && \
                   exec sh \"$@\"";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chaos.sh");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", covered, "sh"]);
    command.arg(proc).arg(script);
    command.args(["power-cut", node, node, "1"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_restarts_the_kernel_of_the_named_node_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let this = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let proc = tempfile::tempdir()?;
        let trigger = proc.path().join("sysrq-trigger");
        fs::write(&trigger, "covered\n")?;
        let ran = power_cut(proc.path(), "other").output()?;
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert_eq!(fs::read_to_string(&trigger)?, "covered\n", "{ran:?}");

        // A kernel that goes on after that has not restarted.
        let ran = power_cut(proc.path(), this.trim()).output()?;
        assert_eq!(fs::read_to_string(&trigger)?, "b\n", "{ran:?}");
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        let said = String::from_utf8(ran.stderr)?;
        assert!(said.contains("has not restarted"), "{said}");
        Ok(())
    })
    .await
}
