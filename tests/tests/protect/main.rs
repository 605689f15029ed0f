//! Services are protected through their cgroups: what is refused and tuned, and what is not.

mod refuse;
mod tune;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Cgroup, DaemonOptions, PEER_PORT, SceneOptions, testbed};
use detector_user::config::Target;

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than the daemon's longest interval between two looks at a peer's sockets (10 s).
const SOON: Duration = Duration::from_secs(20);

fn target(text: &str) -> Vec<Target> {
    vec![Target::parse(text).expect("a target")]
}

fn service(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), PEER_PORT)
}

/// The programs that are attached to the cgroup. `bpftool cgroup show` would ask in a way that kernels
/// before 6.0 do not know.
fn attached(cgroup: &Cgroup) -> anyhow::Result<Vec<String>> {
    let cgroup = fs::metadata(cgroup.path())?.ino();
    let links = bpftool("link")?;
    let here = links.iter().filter(|link| link["cgroup_id"] == cgroup);
    let here: Vec<_> = here.map(|link| &link["prog_id"]).collect();
    let programs = bpftool("prog")?;
    let ours = programs
        .iter()
        .filter(|program| here.contains(&&program["id"]));
    let mut names: Vec<_> = ours
        .filter_map(|program| program["name"].as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// All that the kernel has of this kind.
fn bpftool(kind: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let shown = Command::new("bpftool")
        .args(["--json", kind, "show"])
        .output()
        .context("cannot run bpftool: apt-get install bpftool")?;
    let printed = String::from_utf8_lossy(&shown.stdout);
    ensure!(shown.status.success(), "bpftool {kind} show: {printed}");
    match printed.trim() {
        "" => Ok(Vec::new()),
        json => Ok(serde_json::from_str(json)?),
    }
}

async fn nothing_is_attached(cgroup: &Cgroup) -> anyhow::Result<()> {
    testbed::until("the cgroup has no program", SOON, async || {
        Ok(attached(cgroup)?.is_empty().then_some(()))
    })
    .await
}

fn protecting(cgroup: &Cgroup) -> SceneOptions {
    let daemon = DaemonOptions::default();
    SceneOptions {
        daemon: daemon.args(["--protect", &cgroup.target()]),
        ..SceneOptions::default()
    }
}
