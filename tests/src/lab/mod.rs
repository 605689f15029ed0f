//! Hosts as network namespaces behind a bridge namespace, and the ways to cut them off.

mod command;
mod host;
mod sweep;
mod switch;

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, ensure};

use self::switch::Switch;
pub use self::{
    host::Host,
    switch::{Cut, CutMoment},
};

/// Begins the name of every namespace made here; the owner's process id follows.
const PREFIX: &str = "dtl-";
/// What fits beside the switch in 10.77.0.0/24, and more than any test needs.
const MAX_HOSTS: usize = 64;

/// A network of hosts. Dropping it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    switch: Switch,
    // Last: the namespaces go after the switch's own helper has been stopped.
    namespaces: Namespaces,
}

impl Lab {
    /// Makes a network of `hosts` hosts, h1 to hN. Removes what labs of dead owners left.
    ///
    /// Needs root, the `ip` command (package iproute2), `nft` (nftables) and `nsenter`
    /// (util-linux).
    pub fn new(hosts: usize) -> anyhow::Result<Self> {
        ensure!(
            (1..=MAX_HOSTS).contains(&hosts),
            "a lab has 1 to {MAX_HOSTS} hosts, {hosts} were asked for"
        );
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces and must run as root"
        );
        sweep::sweep()?;
        static LABS: AtomicU32 = AtomicU32::new(1);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", process::id());
        let hosts: Vec<Host> = (1..=hosts).map(|n| Host::new(&prefix, n as u8)).collect();
        let switch_namespace = format!("{prefix}-sw");

        // Owns the names before they exist, so that a failure half-way removes them.
        let namespaces = Namespaces(
            hosts
                .iter()
                .map(|host| host.namespace().to_owned())
                .chain([switch_namespace.clone()])
                .collect(),
        );
        namespaces.add()?;
        command::ip_batch(Some(&switch_namespace), &wiring(&hosts))
            .context("cannot wire the lab's hosts to its switch")?;
        for host in &hosts {
            host.configure()?;
        }
        let switch = Switch::new(&switch_namespace)?;
        for host in &hosts {
            switch.await_forwarding(host.port())?;
        }
        Ok(Self {
            hosts,
            switch,
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

    /// Cuts the hosts off, all with one write to a process that stands ready.
    pub fn cut(&self, hosts: &[usize], cut: Cut) -> anyhow::Result<CutMoment> {
        let ports: Vec<&str> = hosts.iter().map(|&n| self.host(n).port()).collect();
        self.switch.cut(&ports, cut)
    }

    /// Undoes any cut of the hosts; returns when the switch forwards for them again.
    pub fn heal(&self, hosts: &[usize]) -> anyhow::Result<CutMoment> {
        let ports: Vec<&str> = hosts.iter().map(|&n| self.host(n).port()).collect();
        self.switch.heal(&ports)
    }

    /// From now on, drops this share of the frames to the host and of those from it,
    /// picked at random. 0 ends it.
    pub fn loss(&self, host: usize, percent: u8) -> anyhow::Result<()> {
        self.switch.loss(self.host(host).port(), percent)
    }

    /// The namespaces, hosts first; they exist until the lab is dropped.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces.0
    }
}

/// The lines for `ip -batch` that make the bridge and a veth pair for each host.
fn wiring(hosts: &[Host]) -> String {
    let mut lines = String::new();
    let mut line = |text: String| {
        lines.push_str(&text);
        lines.push('\n');
    };
    // No forward delay: a port forwards as soon as it is up. No snooping: neighbour
    // discovery must reach everyone.
    line("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".to_owned());
    line("link set br0 up".to_owned());
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
