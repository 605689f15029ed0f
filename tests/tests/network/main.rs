//! Links, routes and neighbours: the daemon's source of them, in a host's own namespace.

mod links;
mod listener;
mod load;
mod neighbours;
mod routes;

use std::{fs, net::IpAddr, time::Duration};

use anyhow::Context as _;
use detector_tests::{Cut, Host, Lab, clock, testbed};
use detector_user::model::NetworkEvent;

use self::listener::{Eth0, Listener};

const LIMIT: Duration = Duration::from_secs(60);
/// Time enough for what takes milliseconds, on a busy machine, and for the kernel to give up
/// a neighbour (3 s), and to bring a port back (1 s).
const SOON: Duration = Duration::from_secs(15);
/// What net.core.rmem_default gives, or more.
const ROOM: usize = 1 << 20;

/// Runs one `ip` command on the host.
fn ip(host: &Host, line: &str) -> anyhow::Result<()> {
    let args: Vec<&str> = line.split(' ').collect();
    host.exec("ip", &args).map(|_| ())
}

/// Many `ip` commands on the host, with one process.
fn ip_batch(host: &Host, lines: &str) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), lines)?;
    let path = file.path().to_str().context("a path in UTF-8")?;
    host.exec("ip", &["-batch", path]).map(|_| ())
}
