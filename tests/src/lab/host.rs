//! A host of the lab: a network namespace with one interface.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    thread,
};

use anyhow::{Context as _, anyhow};
use nix::{
    sched::{CloneFlags, setns},
    unistd::Pid,
};

use super::command;
use crate::Cgroup;

/// The number of the router, and with it its place in both networks.
pub(super) const ROUTER: u8 = 254;

/// Where a host is in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// On this side of the router: 10.77.0.0/24, fd77::/64
    Near,
    /// Behind the router: 10.78.0.0/24, fd78::/64
    Far,
    /// A pod behind the host of this number: 10.80.NUMBER.0/24, fd80:0:0:NUMBER::/64
    Pod(u8),
}

impl Side {
    pub(super) fn v4(self, number: u8) -> Ipv4Addr {
        match self {
            Self::Near => Ipv4Addr::new(10, 77, 0, number),
            Self::Far => Ipv4Addr::new(10, 78, 0, number),
            Self::Pod(behind) => Ipv4Addr::new(10, 80, behind, number),
        }
    }

    pub(super) fn v6(self, number: u8) -> Ipv6Addr {
        let (net, behind) = match self {
            Self::Near => (0xfd77, 0),
            Self::Far => (0xfd78, 0),
            Self::Pod(behind) => (0xfd80, behind),
        };
        Ipv6Addr::new(net, 0, 0, behind.into(), 0, 0, 0, number.into())
    }
}

/// A host of the lab: a network namespace with one interface, eth0.
#[derive(Clone, Debug)]
pub struct Host {
    number: u8,
    side: Side,
    /// Whether there is a way to the other side of the router.
    routed: bool,
    namespace: String,
    port: String,
    /// The file for the ids of processes that should be in a cgroup.
    procs: Option<PathBuf>,
    /// The process whose children have process ids and mounts of their own, in which programs run.
    machine: Option<Pid>,
}

impl Host {
    pub(super) fn new(prefix: &str, number: u8, side: Side, routed: bool) -> Self {
        Self {
            number,
            side,
            routed,
            namespace: format!("{prefix}-h{number}"),
            port: format!("p{number}"),
            procs: None,
            machine: None,
        }
    }

    /// The network of a pod behind this host, in its machine.
    pub(super) fn pod(&self, number: u8) -> Self {
        Self {
            number,
            side: Side::Pod(self.number),
            routed: true,
            namespace: format!("{}-pod{number}", self.namespace),
            port: format!("pod{number}"),
            procs: None,
            machine: self.machine,
        }
    }

    /// Gives it its addresses. No duplicate address detection: fd77::N is usable at once.
    pub(super) fn configure(&self) -> anyhow::Result<()> {
        let (v4, v6) = (self.v4(), self.v6());
        // Its own link may be cut: IPv4 addresses outlive that, IPv6 ones by this alone.
        self.write("/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down", "1")?;
        // Link-local addresses, which neighbour discovery uses, are usable at once, too.
        self.write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0")?;
        command::ip_batch(
            Some(&self.namespace),
            &format!(
                "link set lo up\n\
                 addr add {v4}/24 dev eth0\n\
                 addr add {v6}/64 dev eth0 nodad\n"
            ),
        )
        .with_context(|| format!("cannot configure {}", self.name()))?;
        self.link_up()
    }

    /// Brings eth0 up, with the routes that are lost when it goes down.
    pub(super) fn link_up(&self) -> anyhow::Result<()> {
        let mut lines = "link set eth0 up\n".to_owned();
        if self.routed {
            let (v4, v6) = (self.side.v4(ROUTER), self.side.v6(ROUTER));
            lines.push_str(&format!(
                "route replace default via {v4}\nroute replace ::/0 via {v6} dev eth0\n"
            ));
        }
        command::ip_batch(Some(&self.namespace), &lines)
            .with_context(|| format!("cannot bring up the link of {}", self.name()))
    }

    pub(super) fn link_down(&self) -> anyhow::Result<()> {
        command::ip_batch(Some(&self.namespace), "link set eth0 down\n")
            .with_context(|| format!("cannot take down the link of {}", self.name()))
    }

    /// Writes a setting of its own network (/proc/sys/net is the reader's namespace's).
    pub(super) fn write(&self, file: &str, value: &str) -> anyhow::Result<()> {
        self.within(|| fs::write(file, value))?
            .with_context(|| format!("cannot write {value} to {file} on {}", self.name()))
    }

    /// Its number, from 1.
    pub fn number(&self) -> usize {
        self.number.into()
    }

    /// h1, h2, …, or pod1, …
    pub fn name(&self) -> String {
        match self.side {
            Side::Pod(_) => format!("pod{}", self.number),
            _ => format!("h{}", self.number),
        }
    }

    pub fn v4(&self) -> Ipv4Addr {
        self.side.v4(self.number)
    }

    pub fn v6(&self) -> Ipv6Addr {
        self.side.v6(self.number)
    }

    /// Its IPv4 service, named as the detector names peers.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.v4(), crate::PEER_PORT)
    }

    /// Its IPv6 service, named as the detector names peers.
    pub fn url_v6(&self) -> String {
        format!("http://[{}]:{}", self.v6(), crate::PEER_PORT)
    }

    /// The hardware address of its eth0, as in 02:00:00:00:00:01.
    pub fn card(&self) -> anyhow::Result<String> {
        let shown = self.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
        let mut words = shown
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        let card = words.nth(1).map(str::to_owned);
        card.with_context(|| format!("eth0 of {} has no hardware address: {shown}", self.name()))
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of its port at the switch.
    pub(super) fn port(&self) -> &str {
        &self.port
    }

    /// Whether it is behind the router.
    pub(super) fn is_far(&self) -> bool {
        self.side == Side::Far
    }

    /// A command that runs on this host, with this machine's own view of the file system.
    pub fn command(&self, program: &str) -> Command {
        let entered = match self.machine {
            Some(machine) => command::in_machine(machine, &self.namespace, program),
            None => command::in_namespace(&self.namespace, program),
        };
        match &self.procs {
            Some(procs) => command::in_cgroup(procs, &entered),
            None => entered,
        }
    }

    /// The same host, whose programs run beside the children of this process, see no others, and
    /// end with them.
    pub fn in_machine(&self, machine: Pid) -> Self {
        Self {
            machine: Some(machine),
            ..self.clone()
        }
    }

    /// The same host, with what runs on it in a cgroup.
    pub fn in_cgroup(&self, cgroup: &Cgroup) -> Self {
        Self {
            procs: Some(cgroup.procs()),
            ..self.clone()
        }
    }

    /// Runs a command on this host to its end.
    pub fn exec(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        command::run(self.command(program).args(args), "")
    }

    /// Calls `work` on a thread that is in this host's network namespace: sockets made
    /// there belong to the host, wherever they are used afterwards.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        within(&self.namespace, work)
    }
}

/// Calls `work` on a thread that is in this network namespace.
pub(super) fn within<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<T> {
    let path = PathBuf::from(command::NETNS).join(namespace);
    let enter = || -> anyhow::Result<T> {
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter {}", path.display()))?;
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(enter).join())
        .map_err(|_| anyhow!("the thread in {namespace} panicked"))?
}
