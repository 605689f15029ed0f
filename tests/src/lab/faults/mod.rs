//! Faults that are less than a cut: a firewall, a switch or a broken path that affects part of the
//! traffic. Each fault is in force until it is dropped.
//!
//! ```text
//!   host ── eth0 ═══ pN ── br0 ── …      Way::From: what the host sends, at pN's ingress
//!   [Host::…]        [Lab::lose]         Way::To: what is sent to it, at pN's egress
//! ```

mod arp;
mod firewall;
mod forger;
mod home;
mod stranger;
#[cfg(test)]
mod tests;

pub use self::{
    arp::{ArpCount, Inspection},
    forger::{Forged, Forger},
    home::{SecondCard, StandsIn},
    stranger::{Says, Stranger},
};

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;

use super::{Host, Lab, command};

/// Tables with names of their own, so that faults can be laid over each other.
static TABLES: AtomicU32 = AtomicU32::new(1);

/// An nftables table, removed on drop.
#[derive(Debug)]
#[must_use = "the fault ends when this is dropped"]
pub struct Rules {
    namespace: String,
    family: &'static str,
    table: String,
}

impl Rules {
    /// Loads a table of this content.
    fn load(namespace: &str, family: &'static str, content: &str) -> anyhow::Result<Self> {
        let number = TABLES.fetch_add(1, Ordering::Relaxed);
        // Owns the table before it exists, so that a failure half-way removes it.
        let rules = Self {
            namespace: namespace.to_owned(),
            family,
            table: format!("fault{number}"),
        };
        rules.nft(&format!("table {family} {} {{\n{content}}}\n", rules.table))?;
        Ok(rules)
    }

    /// How many packets its rules with counters have counted.
    pub fn counted(&self) -> anyhow::Result<u64> {
        let listed = self.nft(&format!("list table {} {}\n", self.family, self.table))?;
        let counters = listed.split("counter packets ").skip(1);
        let counted = counters.map(|text| {
            let number = text.split(' ').next().unwrap_or_default();
            let number = number.parse::<u64>();
            number.with_context(|| format!("a counter in {listed}"))
        });
        counted.sum()
    }

    /// What a set of the table holds, as nft lists it.
    fn listed(&self, set: &str) -> anyhow::Result<String> {
        self.nft(&format!("list set {} {} {set}\n", self.family, self.table))
    }

    fn nft(&self, commands: &str) -> anyhow::Result<String> {
        let mut nft = command::in_namespace(&self.namespace, "nft");
        command::run(nft.args(["-f", "-"]), commands)
            .with_context(|| format!("nft does not take {commands}"))
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if !Path::new(command::NETNS).join(&self.namespace).exists() {
            // The lab has gone first, and with it the table.
            return;
        }
        if let Err(error) = self.nft(&format!("delete table {} {}\n", self.family, self.table)) {
            eprintln!("lab: a fault stays: {error:#}");
        }
    }
}

/// Which frames at a host's port are meant, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What it sends.
    From,
    /// What is sent to it.
    To,
}

impl Way {
    /// The port's hook, which is the switch's view.
    fn hook(self) -> &'static str {
        match self {
            Self::From => "ingress",
            Self::To => "egress",
        }
    }
}

impl Lab {
    /// Loses at the host's port, this way, what matches (an nftables expression). ARP matches
    /// no expression about IP.
    pub fn lose(&self, host: usize, way: Way, matching: &str) -> anyhow::Result<Rules> {
        self.lose_all(host, &[(way, matching.to_owned())])
    }

    /// Loses everything of IP that `from` sends to `to`, at the port of `from`.
    pub fn lose_sent(&self, from: usize, to: usize) -> anyhow::Result<Rules> {
        let to = self.host(to).v4();
        self.lose(from, Way::From, &format!("ip daddr {to}"))
    }

    /// Loses everything of IP that `host` is sent by `by`, at the port of `host`.
    pub fn lose_answers(&self, host: usize, by: usize) -> anyhow::Result<Rules> {
        let by = self.host(by).v4();
        self.lose(host, Way::To, &format!("ip saddr {by}"))
    }

    /// Loses what the host sends that is longer than this: a path MTU black hole.
    pub fn lose_large(&self, host: usize, bytes: u32) -> anyhow::Result<Rules> {
        self.lose(host, Way::From, &format!("meta length > {bytes}"))
    }

    /// Loses what the host sends from this TCP port, or, `both_ways`, what is sent to it as
    /// well: a middlebox forgot the flow.
    pub fn lose_flow(&self, host: usize, port: u16, both_ways: bool) -> anyhow::Result<Rules> {
        let mut lost = vec![(Way::From, format!("tcp sport {port}"))];
        if both_ways {
            lost.push((Way::To, format!("tcp dport {port}")));
        }
        self.lose_all(host, &lost)
    }

    fn lose_all(&self, host: usize, lost: &[(Way, String)]) -> anyhow::Result<Rules> {
        let host = self.host(host);
        let chains: String = lost
            .iter()
            .map(|(way, matching)| {
                let (hook, port) = (way.hook(), host.port());
                format!(
                    "chain {hook} {{\n type filter hook {hook} device \"{port}\" priority 0;\n \
                     {matching} counter drop\n}}\n"
                )
            })
            .collect();
        Rules::load(self.switch_of(host).namespace(), "netdev", &chains)
    }
}

impl Host {
    /// The local ports of `lab-peer`'s connections with this address, in no order.
    pub fn ports_to(&self, address: std::net::IpAddr) -> anyhow::Result<Vec<u16>> {
        let address = address.to_string();
        let established = ["-tnpHO", "state", "established", "dst", &address];
        let shown = self.exec("ss", &established)?;
        let of_peers = shown.lines().filter(|line| line.contains("lab-peer"));
        let local = of_peers.filter_map(|line| line.split_whitespace().nth(2));
        local
            .map(|local| {
                let port = local.rsplit(':').next().unwrap_or_default();
                port.parse()
                    .with_context(|| format!("ss says {local} of a connection"))
            })
            .collect()
    }
}
