//! The pod of `deploy/kubernetes`, as far as it can be had without Kubernetes: its capabilities, its
//! group and its mounts, on this kernel. `deploy/check_kubernetes.py` checks the manifests.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Process, binary, testbed};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const DAEMON_SET: &str = include_str!("../../deploy/kubernetes/daemonset.yaml");

/// The value of a line of the manifest.
fn of_manifest(key: &str) -> anyhow::Result<&'static str> {
    let values = DAEMON_SET.lines().map(str::trim);
    let value = values.filter_map(|line| line.strip_prefix(key)).next();
    value
        .map(str::trim)
        .with_context(|| format!("no {key} in the manifest"))
}

/// For setpriv: nothing but what the manifest adds.
fn bounding_set() -> anyhow::Result<String> {
    let (_, added) = DAEMON_SET
        .split_once(" add:\n")
        .context("nothing is added")?;
    let names = added
        .lines()
        .map_while(|line| line.trim().strip_prefix("- "));
    let names = names.filter_map(|name| name.split_whitespace().next());
    let set = names.fold("--bounding-set=-all".to_owned(), |set, name| {
        format!("{set},+{}", name.to_lowercase())
    });
    ensure!(set.contains("+bpf"), "{set}");
    Ok(set)
}

/// The daemon's program as in its container.
fn in_daemon_pod(args: &[&str]) -> anyhow::Result<Command> {
    ensure!(
        of_manifest("runAsUser:")? == "0" && of_manifest("allowPrivilegeEscalation:")? == "false"
    );
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--cgroup",
            "setpriv",
            "--clear-groups",
            "--no-new-privs",
        ])
        .args(["--regid", of_manifest("runAsGroup:")?, "--inh-caps=-all"])
        .args([&bounding_set()?, "--"])
        .arg(binary()?)
        .args(args);
    Ok(command)
}

/// A directory that other users may enter.
fn open_directory() -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// A storage node's container: it has no capability, and the socket's directory is mounted read-only.
struct StoragePod {
    program: PathBuf,
    mount: PathBuf,
    _directory: TempDir,
}

impl StoragePod {
    fn new() -> anyhow::Result<Self> {
        let directory = open_directory()?;
        let (program, mount) = (
            directory.path().join("detector"),
            directory.path().join("run"),
        );
        fs::copy(binary()?, &program).context("cannot copy the program")?;
        fs::create_dir(&mount)?;
        Ok(Self {
            program,
            mount,
            _directory: directory,
        })
    }

    /// Lists the peers as a client of this user and group.
    fn ask(&self, host_path: &Path, id: &str) -> anyhow::Result<Output> {
        let enter = r#"mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && shift 2 && exec setpriv "$@""#;
        let socket = self.mount.join("detector.sock");
        let asked = Command::new("unshare")
            .args(["--mount", "sh", "-c", enter, "sh"])
            .args([host_path, &self.mount])
            .args([
                "--reuid",
                id,
                "--regid",
                id,
                "--clear-groups",
                "--bounding-set=-all",
                "--",
            ])
            .arg(&self.program)
            .arg("peers")
            .arg("--socket")
            .arg(socket)
            .output();
        asked.context("cannot run unshare")
    }
}

#[tokio::test]
async fn the_capabilities_of_the_manifest_are_enough() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let doctor = in_daemon_pod(&["doctor"])?
            .output()
            .context("cannot run unshare")?;
        let said = String::from_utf8_lossy(&doctor.stdout);
        ensure!(
            doctor.status.success() && said.contains(" 0 missing"),
            "{said}{doctor:?}"
        );
        for what in ["loads and attaches", "destroy sockets", "refuse connects"] {
            ensure!(
                said.contains(&format!("ok        {what}:")),
                "{what}: {said}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_of_the_group_reaches_the_socket_through_its_mount() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let host_path = open_directory()?;
        let socket = host_path.path().join("detector.sock");
        let named = socket.to_str().context("a path in UTF-8")?;
        let pod = StoragePod::new()?;
        let group = of_manifest("runAsGroup:")?;
        let args = [
            "run",
            "--mode",
            "observe",
            "--metrics",
            "off",
            "--socket",
            named,
        ];
        // A new daemon has a new socket; the pod stays, with its mount of the directory.
        for _ in 0..2 {
            let mut daemon = Process::start("detector", in_daemon_pod(&args)?)?;
            testbed::until("the pod reaches the daemon", LIMIT, async || {
                let asked = pod.ask(host_path.path(), group)?;
                Ok(asked.status.success().then_some(()))
            })
            .await?;
            let stranger = pod.ask(host_path.path(), "10002")?;
            let said = String::from_utf8_lossy(&stranger.stderr);
            ensure!(
                said.contains("may not be used by this user"),
                "{stranger:?}"
            );
            daemon.signal(Signal::SIGTERM)?;
            testbed::until("the daemon ends", LIMIT, async || {
                Ok(daemon.has_ended()?.then_some(()))
            })
            .await?;
        }
        Ok(())
    })
    .await
}
