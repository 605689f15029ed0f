//! What other hosts can do to the evidence: on the link, before the daemon's start, and by limiting
//! their answers.

mod forged;
mod isolation;
mod link;
mod refusals;
mod start;

use std::time::Duration;

use anyhow::ensure;
use detector_tests::Lab;

/// The time limit of one test.
const LIMIT: Duration = Duration::from_secs(120);
/// Longer than any detection time, the destroy delay, and the kernel's own first time-outs.
const A_WHILE: Duration = Duration::from_secs(8);
const SOON: Duration = Duration::from_secs(15);

/// The ports of h1's connections with these hosts.
fn ports(lab: &Lab, hosts: &[usize]) -> anyhow::Result<Vec<u16>> {
    let ports = hosts
        .iter()
        .map(|&host| lab.host(1).ports_to(lab.host(host).v4().into()));
    Ok(ports.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Checks that none of h1's connections from these ports was ended: if a socket is destroyed while
/// nothing is in flight, no program notices.
fn still_there(lab: &Lab, ports: &[u16]) -> anyhow::Result<()> {
    let shown = lab.host(1).exec("ss", &["-tnHO", "state", "established"])?;
    let is_there = |port: &u16| shown.contains(&format!(":{port} "));
    let gone: Vec<_> = ports.iter().filter(|port| !is_there(port)).collect();
    ensure!(
        gone.is_empty(),
        "{} of {} connections were ended",
        gone.len(),
        ports.len()
    );
    Ok(())
}
