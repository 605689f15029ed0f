//! The small store as a StatefulSet: its nodes are pods, on the machines of a small Kubernetes.
//!
//! Each host of the lab is a machine with a daemon, and its pods see no other machine's processes.
//! A pod has a cgroup, a network and an address of its own, new ones each time that it starts; its
//! name stays. The nodes know nothing of the detector, as RustFS today.

mod machine;
mod readiness;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::{Breaker, PeerState, Verdict};

use self::machine::Machine;
pub use self::{machine::Pod, readiness::Readiness};
use super::client::Client;
use crate::{Daemon, DaemonOptions, Lab, Names, PEER_PORT, StandIn, testbed};

/// How many pods the store has, and on how many machines.
pub const PODS: usize = 4;
/// How long the daemons may take to follow what has changed, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// The volumes of each pod, as a chart for RustFS names them.
const VOLUMES: &str = "http://rustfs-{0...3}.rustfs:9000/data{1...4}";

/// The machines, the daemons and the pods. Dropping it ends everything.
#[derive(Debug)]
pub struct Kube {
    pods: BTreeMap<usize, Pod>,
    daemons: BTreeMap<usize, Daemon>,
    machines: BTreeMap<usize, Machine>,
    names: Names,
    program: StandIn,
    last_network: u8,
    pub lab: Lab,
}

impl Kube {
    /// Starts pod N on machine N + 1; returns when the store is of full service, and the daemon of
    /// each machine has found the others.
    pub async fn start() -> anyhow::Result<Self> {
        let lab = Lab::new(PODS)?;
        lab.route_pods()?;
        let mut kube = Self {
            pods: BTreeMap::new(),
            daemons: BTreeMap::new(),
            machines: BTreeMap::new(),
            names: Names::none()?,
            program: StandIn::new()?,
            last_network: 0,
            lab,
        };
        for number in 1..=PODS {
            let machine = Machine::start(kube.lab.host(number)).await?;
            let options = DaemonOptions::default().args(["--rustfs"]);
            let daemon = Daemon::start(machine.host(), &options).await?;
            kube.daemons.insert(number, daemon);
            kube.machines.insert(number, machine);
        }
        for pod in 0..PODS {
            kube.start_pod(pod, pod + 1)?;
        }
        kube.settled(&[1, 2, 3, 4]).await?;
        Ok(kube)
    }

    /// Starts the pod of this number on a machine. Where it ran before, it may still run: it has
    /// lost its name.
    pub fn start_pod(&mut self, pod: usize, on: usize) -> anyhow::Result<()> {
        self.last_network += 1;
        let machine = &self.machines[&on];
        let started = machine.start_pod(self.last_network, &self.program, &self.names, &work())?;
        let old = self.pods.insert(pod, started);
        self.tell_names()?;
        // It is away from everybody: nobody tells it to end.
        if let Some(old) = old {
            self.machines.entry(old.on()).and_modify(|m| m.keep(old));
        }
        Ok(())
    }

    /// The pod's process is killed and its network goes; its name does not.
    pub async fn kill(&mut self, pod: usize) -> anyhow::Result<()> {
        let killed = self.pods.remove(&pod);
        killed.context("there is no such pod")?.kill().await
    }

    pub fn pod(&self, pod: usize) -> &Pod {
        &self.pods[&pod]
    }

    pub fn daemon(&self, machine: usize) -> &Daemon {
        &self.daemons[&machine]
    }

    /// What the kubelet of the pod's machine asks from now on.
    pub fn ask(&self, pod: usize) -> Readiness {
        let pod = self.pod(pod);
        let kubelet = self.machines[&pod.on()].host();
        Readiness::ask(Client::of(kubelet, pod.host().v4()))
    }

    /// Waits until every pod on these machines is answered by all, and the daemons there have every
    /// other pod's address of today, alive.
    pub async fn settled(&self, machines: &[usize]) -> anyhow::Result<()> {
        for (number, pod) in self.on(machines) {
            let client = Client::new(pod.host());
            testbed::until("full service", SOON, async || {
                Ok((client.ready().await? as usize == PODS).then_some(()))
            })
            .await
            .with_context(|| format!("rustfs-{number}"))?;
        }
        let is_well = |state: &PeerState, address: Ipv4Addr| {
            state.verdict() == Verdict::Alive
                && state.breaker() == Breaker::Closed
                && state.addresses == [address.to_string()]
        };
        for (daemon, peer, pod) in self.watched(machines) {
            let (peer, address) = (name(peer), pod.host().v4());
            let is_well = |state: &PeerState| is_well(state, address);
            let found = daemon.await_state(&peer, SOON, is_well);
            found.await.with_context(|| format!("at {address}"))?;
        }
        Ok(())
    }

    /// Waits until the daemons of these machines refuse connects to the pod.
    pub async fn refused(
        &self,
        since_ns: u64,
        machines: &[usize],
        pod: usize,
    ) -> anyhow::Result<()> {
        let peer = name(pod);
        for daemon in machines.iter().filter_map(|on| self.daemons.get(on)) {
            let is_open = |state: &PeerState| state.breaker() == Breaker::Open;
            let open = daemon.await_since(since_ns, &peer, SOON, is_open);
            open.await?;
        }
        Ok(())
    }

    /// What a client in the pod reads at the daemon's socket, whose directory is mounted in there
    /// as by `hostPath`, read-only.
    pub fn peers_seen_in(&self, pod: usize) -> anyhow::Result<String> {
        let pod = self.pod(pod);
        let socket = self.daemon(pod.on()).socket();
        let mount = tempfile::tempdir()?;
        let enter = r#"mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && exec "$0" --socket "$2/$3" peers"#;
        let binary = crate::binary()?;
        let (directory, file) = (socket.parent(), socket.file_name());
        let named = directory.zip(file).context("a socket has a name")?;
        let mut command = pod.host().command("unshare");
        command
            .args(["--mount", "--", "sh", "-c", enter])
            .arg(binary);
        let seen = command
            .args([named.0, mount.path()])
            .arg(named.1)
            .output()
            .context("cannot run unshare")?;
        ensure!(seen.status.success(), "{seen:?}");
        Ok(String::from_utf8_lossy(&seen.stdout).into_owned())
    }

    fn on<'a>(&'a self, machines: &'a [usize]) -> impl Iterator<Item = (&'a usize, &'a Pod)> {
        let pods = self.pods.iter();
        pods.filter(move |(_, pod)| machines.contains(&pod.on()))
    }

    /// The daemons of these machines, each with every pod that is a peer of one there.
    fn watched<'a>(
        &'a self,
        machines: &'a [usize],
    ) -> impl Iterator<Item = (&'a Daemon, usize, &'a Pod)> {
        let daemons = machines
            .iter()
            .filter_map(move |on| Some((*on, self.daemons.get(on)?)));
        daemons.flat_map(move |(on, daemon)| {
            let own: Vec<usize> = self.on(&[on]).map(|(pod, _)| *pod).collect();
            let others = self.pods.iter().filter(move |(pod, _)| own != [**pod]);
            others.map(move |(number, pod)| (daemon, *number, pod))
        })
    }

    fn tell_names(&self) -> anyhow::Result<()> {
        let named = self.pods.iter();
        let named = named.map(|(number, pod)| (format!("rustfs-{number}.rustfs"), pod.host().v4()));
        let named: Vec<_> = named.collect();
        let all = named.iter().map(|(name, at)| (name.as_str(), (*at).into()));
        self.names.set_all(all)
    }
}

/// The pod as a peer.
pub fn name(pod: usize) -> String {
    format!("http://rustfs-{pod}.rustfs:{PEER_PORT}")
}

/// A node of the store, as it is started without a detector.
fn work() -> String {
    let nodes = (0..PODS).map(|pod| format!(" --node {}", name(pod)));
    format!("store-node{}", nodes.collect::<String>())
}
