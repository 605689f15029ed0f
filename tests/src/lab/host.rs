use std::{
    fs::File,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    thread,
};

use anyhow::{Context as _, anyhow};
use nix::sched::{CloneFlags, setns};

use super::command;
use crate::Cgroup;

/// A host of the lab: a network namespace with one interface, eth0.
#[derive(Clone, Debug)]
pub struct Host {
    number: u8,
    namespace: String,
    port: String,
    /// The file that takes the ids of processes which are to be in a cgroup.
    procs: Option<PathBuf>,
}

impl Host {
    pub(super) fn new(prefix: &str, number: u8) -> Self {
        Self {
            number,
            namespace: format!("{prefix}-h{number}"),
            port: format!("p{number}"),
            procs: None,
        }
    }

    /// Gives it its addresses. No duplicate address detection: fd77::N is usable at once.
    pub(super) fn configure(&self) -> anyhow::Result<()> {
        let (v4, v6) = (self.v4(), self.v6());
        command::ip_batch(
            Some(&self.namespace),
            &format!(
                "link set lo up\n\
                 addr add {v4}/24 dev eth0\n\
                 addr add {v6}/64 dev eth0 nodad\n\
                 link set eth0 up\n"
            ),
        )
        .with_context(|| format!("cannot configure {}", self.name()))
    }

    /// Its number, from 1.
    pub fn number(&self) -> usize {
        self.number.into()
    }

    /// h1, h2, …
    pub fn name(&self) -> String {
        format!("h{}", self.number)
    }

    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.number.into())
    }

    /// Its IPv4 service, named as the detector names peers.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.v4(), crate::PEER_PORT)
    }

    /// Its IPv6 service, named as the detector names peers.
    pub fn url_v6(&self) -> String {
        format!("http://[{}]:{}", self.v6(), crate::PEER_PORT)
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of its port at the switch.
    pub(super) fn port(&self) -> &str {
        &self.port
    }

    /// A command that runs on this host, with this machine's own view of the file system.
    pub fn command(&self, program: &str) -> Command {
        match &self.procs {
            Some(procs) => command::in_cgroup(procs, &self.namespace, program),
            None => command::in_namespace(&self.namespace, program),
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
        let path = PathBuf::from(command::NETNS).join(&self.namespace);
        let enter = || -> anyhow::Result<T> {
            let namespace =
                File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter {}", path.display()))?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .map_err(|_| anyhow!("the thread on {} panicked", self.name()))?
    }
}
