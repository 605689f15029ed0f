//! A machine of the small Kubernetes, and the pods on it, in cgroups as the kubelet names them.

use std::time::Duration;

use anyhow::Context as _;

use super::VOLUMES;
use crate::{Cgroup, Host, Names, PodNetwork, Process, StandIn, Traffic};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Process ids, mounts and cgroups of its own, on a host of the lab.
#[derive(Debug)]
pub struct Machine {
    number: usize,
    host: Host,
    /// Pods that run on where nobody reaches them.
    cut_off: Vec<Pod>,
    // The kubelet's, the innermost first.
    burstable: Cgroup,
    _pods: Cgroup,
    _top: Cgroup,
    _init: Process,
}

impl Machine {
    pub async fn start(host: &Host) -> anyhow::Result<Self> {
        let mut command = host.command("unshare");
        command.args(["--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]);
        command.args(["sh", "-c", "echo up && exec sleep infinity"]);
        let init = Process::start(&format!("the machine {}", host.name()), command)?;
        let is_up = init.stdout().find(READY_WITHIN, |_| Some(())).await;
        is_up.with_context(|| init.stderr_tail(10))?;
        let top = Cgroup::new()?;
        let pods = top.below("kubepods.slice")?;
        Ok(Self {
            number: host.number(),
            host: host.in_machine(init.pid()),
            cut_off: Vec::new(),
            burstable: pods.below("kubepods-burstable.slice")?,
            _pods: pods,
            _top: top,
            _init: init,
        })
    }

    /// The host, with what runs on it in this machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts a pod with a network of this number.
    pub fn start_pod(
        &self,
        network: u8,
        program: &StandIn,
        names: &Names,
        work: &str,
    ) -> anyhow::Result<Pod> {
        let network = PodNetwork::new(&self.host, network)?;
        let hex = |digits: usize| -> String {
            std::iter::repeat_with(|| fastrand::digit(16))
                .take(digits)
                .collect()
        };
        let uid = [8, 4, 4, 4, 12].map(hex).join("_");
        let slice = format!("kubepods-burstable-pod{uid}.slice");
        let slice = self.burstable.below(&slice)?;
        let scope = slice.below(&format!("cri-containerd-{}.scope", hex(64)))?;
        let host = network.host().in_cgroup(&scope);
        let node = program.start(&host, VOLUMES, Some(names.directory()), work)?;
        Ok(Pod {
            on: self.number,
            host,
            node,
            _scope: scope,
            _slice: slice,
            _network: network,
        })
    }

    /// The pod stays until the machine goes.
    pub fn keep(&mut self, pod: Pod) {
        self.cut_off.push(pod);
    }
}

/// A node of the store in a pod. Dropping it kills it.
#[derive(Debug)]
pub struct Pod {
    on: usize,
    host: Host,
    node: Traffic,
    _scope: Cgroup,
    _slice: Cgroup,
    _network: PodNetwork,
}

impl Pod {
    /// The number of its machine.
    pub fn on(&self) -> usize {
        self.on
    }

    /// The pod as a host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its process first; its cgroup and its network follow.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.node.process.kill().await
    }
}
