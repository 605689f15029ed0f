//! Hosts as network namespaces behind a bridge namespace, and the ways to cut them off.

mod command;
mod faults;
mod host;
mod pods;
mod relay;
mod sweep;
mod switch;

use std::{
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};

pub use self::{
    faults::{
        ArpCount, Forged, Forger, Inspection, Rules, Says, SecondCard, StandsIn, Stranger, Way,
    },
    host::Host,
    pods::PodNetwork,
    switch::{Cut, CutMoment, Loss},
};
use self::{
    host::{ROUTER, Side},
    relay::Lateness,
    switch::Switch,
};
use crate::clock;

/// Begins the name of every namespace made here; the owner's process id follows.
const PREFIX: &str = "dtl-";
/// The number of hosts that fit next to the router in 10.77.0.0/24, which is more than any test
/// needs.
const MAX_HOSTS: usize = 64;

/// A network of hosts. Dropping it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    switch: Switch,
    far: Option<Far>,
    // Last: the namespaces go after the switches' own helpers have been stopped.
    namespaces: Namespaces,
}

/// A router, and the switch behind it.
#[derive(Debug)]
struct Far {
    router: Host,
    switch: Switch,
}

impl Lab {
    /// Makes a network of `hosts` hosts, h1 to hN. Removes what labs of dead owners left.
    ///
    /// Needs root, the `ip` command (package iproute2), `nft` (nftables) and `nsenter`
    /// (util-linux).
    pub fn new(hosts: usize) -> anyhow::Result<Self> {
        Self::make(hosts, 0)
    }

    /// Removes what labs of this process have left, for one that was killed.
    pub fn remove_all_of(process: u32) -> anyhow::Result<()> {
        sweep::sweep_of(process)
    }

    /// As [`Self::new`], with `far` more hosts, in 10.78.0.0/24 and fd78::/64, behind a router
    /// that is everyone's gateway. They are numbered on from the near ones.
    pub fn routed(near: usize, far: usize) -> anyhow::Result<Self> {
        ensure!(far > 0, "a lab with a router has hosts behind it");
        Self::make(near, far)
    }

    fn make(near: usize, far: usize) -> anyhow::Result<Self> {
        let count = near + far;
        ensure!(
            near > 0 && count <= MAX_HOSTS,
            "a lab has 1 to {MAX_HOSTS} hosts, {count} were asked for, {near} of them near"
        );
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces and must run as root"
        );
        static LABS: AtomicU32 = AtomicU32::new(1);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", process::id());
        let host = |n: usize, side| Host::new(&prefix, n as u8, side, far > 0);
        let hosts: Vec<Host> = (1..=count)
            .map(|n| host(n, if n <= near { Side::Near } else { Side::Far }))
            .collect();
        let router = (far > 0).then(|| Host::new(&prefix, ROUTER, Side::Near, false));
        let switch_namespace = format!("{prefix}-sw");

        // Owns the names before they exist, so that a failure half-way removes them.
        let namespaces = Namespaces(
            hosts
                .iter()
                .chain(&router)
                .map(|host| host.namespace().to_owned())
                .chain([switch_namespace.clone()])
                .collect(),
        );
        {
            // Two that sweep at once would be in each other's way, and two that are the first to
            // add a namespace to this machine as well.
            static ONE: Mutex<()> = Mutex::new(());
            let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            sweep::sweep()?;
            namespaces.add()?;
        }
        let (near, far) = hosts.split_at(near);
        let near: Vec<&Host> = near.iter().chain(&router).collect();
        let switch = wired(&switch_namespace, &near)?;
        let far = router
            .map(|router| Far::new(router, &far.iter().collect::<Vec<_>>()))
            .transpose()?;
        Ok(Self {
            hosts,
            switch,
            far,
            namespaces,
        })
    }

    /// Host `number`, counted from 1.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// All hosts, h1 first.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The router, which is 10.77.0.254 and 10.78.0.254, where there is one.
    pub fn router(&self) -> Option<&Host> {
        self.far.as_ref().map(|far| &far.router)
    }

    /// Cuts the hosts off, all with one write to a process that stands ready (one for each
    /// side of a router). A host behind the router is cut off there: the router stays.
    pub fn cut(&self, hosts: &[usize], cut: Cut) -> anyhow::Result<CutMoment> {
        self.at_switches(hosts, |switch, ports| switch.cut(ports, cut))
    }

    /// Undoes any cut of the hosts; returns when the switch forwards for them again.
    pub fn heal(&self, hosts: &[usize]) -> anyhow::Result<CutMoment> {
        self.at_switches(hosts, Switch::heal)
    }

    /// Cuts the router off from the near hosts, or brings it back.
    pub fn cut_router(&self, cut: Option<Cut>) -> anyhow::Result<CutMoment> {
        let router = self.router().context("this lab has no router")?;
        match cut {
            Some(cut) => self.switch.cut(&[router.port()], cut),
            None => self.switch.heal(&[router.port()]),
        }
    }

    /// The whole switch of the near hosts fails: every port keeps its carrier and nothing
    /// passes, or `PortDown`, the carrier goes as well.
    pub fn cut_switch(&self, cut: Cut) -> anyhow::Result<CutMoment> {
        self.switch.cut(&self.near_ports(), cut)
    }

    /// Undoes [`Self::cut_switch`].
    pub fn heal_switch(&self) -> anyhow::Result<CutMoment> {
        self.switch.heal(&self.near_ports())
    }

    /// Takes the host's own eth0 down in its namespace, or brings it up again with its routes.
    pub fn own_link(&self, host: usize, up: bool) -> anyhow::Result<CutMoment> {
        let host = self.host(host);
        let at_ns = clock::now_ns();
        if up {
            host.link_up()?;
            self.switch_of(host).await_forwarding(host.port())?;
        } else {
            host.link_down()?;
        }
        Ok(CutMoment {
            at_ns,
            took: clock::between(at_ns, clock::now_ns()),
        })
    }

    /// From now on, drops this share of the frames to the host and of those from it,
    /// picked at random. 0 ends it.
    pub fn loss(&self, host: usize, percent: u8) -> anyhow::Result<()> {
        self.drops(host, (percent > 0).then_some(Loss::Random(percent)))
    }

    /// From now on, drops these of the frames to the host and of those from it; `None` ends it.
    pub fn drops(&self, host: usize, what: Option<Loss>) -> anyhow::Result<()> {
        let host = self.host(host);
        self.switch_of(host).loss(host.port(), what)
    }

    /// From now on, each frame to the host and from it is late by up to this, at random, so that
    /// frames overtake each other. Zero ends it. A hand over from or to that loses what is under
    /// way.
    pub fn jitter(&self, host: usize, jitter: Duration) -> anyhow::Result<()> {
        let host = self.host(host);
        let late = Lateness {
            jitter,
            ..Lateness::default()
        };
        let late = (jitter > Duration::ZERO).then_some(late);
        self.switch_of(host).late(host.port(), late)
    }

    /// From now on, each frame to the host and from it is late by this, in order: the host is
    /// far away.
    pub fn delay(&self, host: usize, delay: Duration) -> anyhow::Result<()> {
        let host = self.host(host);
        let late = Lateness {
            delay,
            ..Lateness::default()
        };
        self.switch_of(host).late(host.port(), Some(late))
    }

    fn switch_of(&self, host: &Host) -> &Switch {
        match &self.far {
            Some(far) if host.is_far() => &far.switch,
            _ => &self.switch,
        }
    }

    fn near_ports(&self) -> Vec<&str> {
        let near = self.hosts.iter().filter(|host| !host.is_far());
        near.chain(self.router()).map(Host::port).collect()
    }

    fn at_switches(
        &self,
        hosts: &[usize],
        change: impl Fn(&Switch, &[&str]) -> anyhow::Result<CutMoment>,
    ) -> anyhow::Result<CutMoment> {
        let at_ns = clock::now_ns();
        let (far, near): (Vec<&Host>, Vec<&Host>) = hosts
            .iter()
            .map(|&n| self.host(n))
            .partition(|host| host.is_far());
        for side in [near, far] {
            if let Some(first) = side.first() {
                let ports: Vec<&str> = side.iter().map(|host| host.port()).collect();
                change(self.switch_of(first), &ports)?;
            }
        }
        Ok(CutMoment {
            at_ns,
            took: clock::between(at_ns, clock::now_ns()),
        })
    }

    /// The namespaces, hosts first; they exist until the lab is dropped.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces.0
    }
}

impl Far {
    /// The router forwards; its far side is a switch of its own, in the same namespace.
    fn new(router: Host, hosts: &[&Host]) -> anyhow::Result<Self> {
        router.write("/proc/sys/net/ipv4/ip_forward", "1")?;
        router.write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
        // For the far switch, which is an interface of the router's.
        router.write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")?;
        let switch = wired(router.namespace(), hosts)?;
        let (v4, v6) = (Side::Far.v4(ROUTER), Side::Far.v6(ROUTER));
        command::ip_batch(
            Some(router.namespace()),
            &format!("addr add {v4}/24 dev br0\naddr add {v6}/64 dev br0 nodad\n"),
        )
        .context("cannot give the router its far address")?;
        Ok(Self { router, switch })
    }
}

/// A switch in this namespace, with these hosts behind it.
fn wired(namespace: &str, hosts: &[&Host]) -> anyhow::Result<Switch> {
    command::ip_batch(Some(namespace), &wiring(hosts))
        .context("cannot wire the lab's hosts to their switch")?;
    for host in hosts {
        host.configure()?;
    }
    let switch = Switch::new(namespace)?;
    for host in hosts {
        switch.await_forwarding(host.port())?;
    }
    Ok(switch)
}

/// The lines for `ip -batch` that make the bridge and a veth pair for each host.
fn wiring(hosts: &[&Host]) -> String {
    let mut lines = String::new();
    let mut line = |text: String| {
        lines.push_str(&text);
        lines.push('\n');
    };
    // No forward delay: a port forwards as soon as it is up. No snooping: neighbour
    // discovery must reach everyone.
    line("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".to_owned());
    line("link set br0 up".to_owned());
    // Where ports go whose frames are dropped: it stays down.
    line("link add dead0 type bridge".to_owned());
    for host in hosts {
        let (port, namespace) = (host.port(), host.namespace());
        line(format!(
            "link add {port} type veth peer name eth0 netns {namespace}"
        ));
        line(format!("link set {port} master br0 up"));
    }
    lines
}

/// Namespaces by name, removed on drop with everything that runs in them.
#[derive(Debug)]
struct Namespaces(Vec<String>);

impl Namespaces {
    fn add(&self) -> anyhow::Result<()> {
        let lines: String = self.0.iter().map(|n| format!("netns add {n}\n")).collect();
        command::ip_batch(None, &lines).context("cannot add the lab's network namespaces")
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in &self.0 {
            if let Err(error) = sweep::remove(namespace) {
                eprintln!("lab: {error:#}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
