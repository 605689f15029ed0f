//! Services are protected through their cgroups: what is refused and tuned, and what is not.

mod refuse;
mod tune;

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
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

/// What is attached to the cgroup, as `bpftool` shows it.
fn attached(cgroup: &Cgroup) -> anyhow::Result<Vec<String>> {
    let shown = Command::new("bpftool")
        .args(["--json", "cgroup", "show"])
        .arg(cgroup.path())
        .output()
        .context("cannot run bpftool: apt-get install bpftool")?;
    let programs: Vec<serde_json::Value> = match shown.stdout.trim_ascii() {
        [] => Vec::new(),
        json => serde_json::from_slice(json)?,
    };
    let mut names: Vec<_> = programs
        .iter()
        .filter_map(|program| program["name"].as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
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
