//! The network in which the cost is measured, and the sockets in it.
//!
//! All hosts are on one machine, and the system call that sends a frame would also deliver and
//! answer it. So that this is not counted as the daemon's, the kernel is told to hand each frame
//! to another processor (receive packet steering): the daemon has the first, the switch and the
//! peers have the second, and what the daemon's own card receives comes back to the first as it
//! would from a network card.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Host, Lab, PEER_PORT, Process};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use tokio::{io::AsyncWriteExt as _, process::ChildStdin};

use super::helper;

/// All peers are in this network, behind the other host as a gateway.
const ASKER: &str = "10.80.0.1/16";
pub const US: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
const PEERS: &str = "10.80.128.0/17";
pub const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(10, 80, 128, 1);
/// The connections that are none of the daemon's business.
const FIRST_OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const OTHER_PORT: u16 = 7_000;
/// To one address and port; the kernel has 28,000 ports of its own.
const TO_ONE: u32 = 4_000;
/// A process may have 20,000 descriptors without privilege.
const IN_ONE_PROCESS: u32 = 16_000;
/// One listener keeps 65,535 connections at most.
const LISTENERS: usize = 4;
const SOON: Duration = Duration::from_secs(120);

/// The addresses of the third host.
const MORE_PEERS: &str = "10.81.128.0/17";
pub const FIRST_OF_MORE: Ipv4Addr = Ipv4Addr::new(10, 81, 128, 1);

/// h1 has the daemon and its connections, h2 all the peers; h3, where there is one, has more peers.
#[derive(Debug)]
pub struct Stand {
    lab: Lab,
    _listeners: Vec<TcpListener>,
}

impl Stand {
    pub fn new() -> anyhow::Result<Self> {
        Self::with(Lab::new(2)?)
    }

    /// With peers on a third host.
    pub fn with_more() -> anyhow::Result<Self> {
        Self::with(Lab::new(3)?)
    }

    /// With peers on a third host, and with more namespaces in which nothing runs.
    pub fn with_namespaces(more: usize) -> anyhow::Result<Self> {
        Self::with(Lab::new(3 + more)?)
    }

    /// The namespaces of the hosts that have no part in it.
    pub fn more_namespaces(&self) -> impl Iterator<Item = &str> {
        self.lab.hosts()[3..].iter().map(Host::namespace)
    }

    fn with(lab: Lab) -> anyhow::Result<Self> {
        let us = lab.host(1);
        us.exec("ip", &["addr", "add", ASKER, "dev", "eth0"])?;
        us.within(many_sockets)??;
        let mut listeners = Vec::new();
        for (host, peers) in lab.hosts()[1..].iter().zip([PEERS, MORE_PEERS]) {
            let gateway = host.v4().to_string();
            us.exec("ip", &["route", "add", peers, "via", &gateway])?;
            host.exec("ip", &["route", "add", "local", peers, "dev", "lo"])?;
            host.exec("ip", &["route", "add", "10.80.0.1/32", "dev", "eth0"])?;
            host.within(many_sockets)??;
            for _ in 0..LISTENERS {
                listeners.push(host.within(|| helper::listener(PEER_PORT))??);
            }
        }
        steer(&lab)?;
        Ok(Self {
            lab,
            _listeners: listeners,
        })
    }

    pub fn us(&self) -> &Host {
        self.lab.host(1)
    }

    pub fn peers(&self) -> &Host {
        self.lab.host(2)
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn urls(peers: u32) -> Vec<String> {
        Self::urls_from(FIRST_PEER, peers)
    }

    pub fn urls_from(first: Ipv4Addr, peers: u32) -> Vec<String> {
        let all = helper::many(first, peers, PEER_PORT);
        all.map(|addr| format!("http://{addr}")).collect()
    }

    /// Connections from h1 to each peer, in as many processes as they need.
    pub async fn connect(&self, peers: u32, each: u32) -> anyhow::Result<Vec<Holder>> {
        self.connect_from(FIRST_PEER, peers, each).await
    }

    pub async fn connect_from(
        &self,
        first_peer: Ipv4Addr,
        peers: u32,
        each: u32,
    ) -> anyhow::Result<Vec<Holder>> {
        let in_one = IN_ONE_PROCESS / each;
        let mut holders = Vec::new();
        for first in (0..peers).step_by(in_one as usize) {
            let here = in_one.min(peers - first);
            let first = Ipv4Addr::from(u32::from(first_peer) + first);
            let flags = ["--bytes", "64"];
            let hold = Hold {
                first,
                addresses: here,
                connections: each,
                port: PEER_PORT,
            };
            holders.push(Holder::start(self.us(), &hold, &flags).await?);
        }
        Ok(holders)
    }

    /// This many sockets on h1 that have nothing to do with the peers: both ends of connections.
    pub async fn others(&self, sockets: u32) -> anyhow::Result<Vec<Holder>> {
        let (mut left, mut holders) = (sockets / 2, Vec::new());
        while left > 0 {
            let here = left.min(IN_ONE_PROCESS);
            let connections = here.min(TO_ONE);
            let number = holders.len() as u8;
            let [a, b, _, d] = FIRST_OTHER.octets();
            let hold = Hold {
                first: [a, b, number + 1, d].into(),
                addresses: here / connections,
                connections,
                port: OTHER_PORT + u16::from(number),
            };
            holders.push(Holder::start(self.us(), &hold, &["--listen"]).await?);
            left -= hold.addresses * connections;
        }
        Ok(holders)
    }
}

/// Room for as many connections as a listener is asked to keep.
fn many_sockets() -> std::io::Result<()> {
    fs::write("/proc/sys/net/core/somaxconn", "65535")?;
    fs::write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "65535")
}

/// Hands what arrives at h1 to the first processor, and at all others to the second.
fn steer(lab: &Lab) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        println!("one processor only: the answering side is counted as the daemon's");
        return Ok(());
    }
    for namespace in lab.namespaces() {
        let mask = if namespace == lab.host(1).namespace() {
            "1"
        } else {
            "2"
        };
        let script = format!(
            "for queue in /sys/class/net/*/queues/rx-*/rps_cpus; do echo {mask} > $queue; done"
        );
        let done = std::process::Command::new("ip")
            .args(["netns", "exec", namespace, "sh", "-c", &script])
            .status()
            .context("cannot run ip netns exec")?;
        ensure!(
            done.success(),
            "cannot steer the frames of {namespace}: {done}"
        );
    }
    Ok(())
}

/// Lets all threads of a process run on one processor only.
pub fn pin(process: Pid, cpu: usize) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(cpu)?;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let tid: i32 = task?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(tid), &set)?;
    }
    Ok(())
}

/// What one process should hold.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub first: Ipv4Addr,
    pub addresses: u32,
    pub connections: u32,
    pub port: u16,
}

/// A process that holds connections. They end with it.
#[derive(Debug)]
pub struct Holder {
    process: Process,
    stdin: ChildStdin,
}

impl Holder {
    pub async fn start(host: &Host, hold: &Hold, flags: &[&str]) -> anyhow::Result<Self> {
        let me = std::env::current_exe()?;
        let mut command = host.command(&me.to_string_lossy());
        command.args(["helper", "hold", "--first", &hold.first.to_string()]);
        command.args(["--addresses", &hold.addresses.to_string()]);
        command.args(["--connections", &hold.connections.to_string()]);
        command.args(["--port", &hold.port.to_string()]).args(flags);
        let (process, stdin) = Process::start_piped("sockets", command)?;
        let holder = Self { process, stdin };
        holder.says("holding").await?;
        Ok(holder)
    }

    async fn says(&self, word: &str) -> anyhow::Result<()> {
        let said = |line: &String| line.starts_with(word).then_some(());
        let found = self.process.stdout().find(SOON, said).await;
        found.with_context(|| format!("no {word:?}\n{}", self.process.stderr_tail(5)))
    }

    /// Waits until it has sent on each connection.
    pub async fn has_sent(&self) -> anyhow::Result<()> {
        self.says("sent").await
    }

    /// Sends 64 bytes on each connection.
    pub async fn send(&mut self) -> anyhow::Result<()> {
        Ok(self.stdin.write_all(b"\n").await?)
    }
}
