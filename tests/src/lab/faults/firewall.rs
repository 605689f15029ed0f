//! Packet filters on a host or a router.

use std::net::Ipv4Addr;

use super::Rules;
use crate::Host;

/// Connects that begin: SYN without ACK.
const SYN: &str = "tcp flags & (syn | ack) == syn";

impl Host {
    /// Its IP neither receives nor sends anything, as with a firewall set to DROP, or a hung kernel
    /// behind a card that answers. ARP and neighbour discovery, which the card answers, continue.
    pub fn deaf(&self) -> anyhow::Result<Rules> {
        let neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        let chain = |hook| {
            format!(
                "chain {hook} {{\n type filter hook {hook} priority 0; policy drop;\n \
                 meta oif lo accept\n meta iif lo accept\n {neighbours}\n}}\n"
            )
        };
        self.filter(&(chain("input") + &chain("output").replace(" meta iif lo accept\n", "")))
    }

    /// It accepts one new connection a second, with a burst of three, from all hosts together: many
    /// guides recommend this against SYN floods.
    pub fn syn_limit(&self) -> anyhow::Result<Rules> {
        self.drops(
            "input",
            &format!("{SYN} limit rate over 1/second burst 3 packets"),
        )
    }

    /// It follows connections, as a stateful firewall does; [`Self::conntrack_full`] and
    /// [`Self::forgets`] need that from before the connections on.
    pub fn follows_connections(&self) -> anyhow::Result<Rules> {
        let chain = |hook| {
            format!(
                "chain {hook} {{\n type filter hook {hook} priority 0; policy accept;\n \
                 ct state established counter accept\n}}\n"
            )
        };
        self.filter(&["input", "forward", "output"].map(chain).concat())
    }

    /// The connection table is full: unknown connections are dropped, and known ones pass. (The
    /// kernel's own limit is the whole machine's, not the namespace's.)
    pub fn conntrack_full(&self) -> anyhow::Result<Rules> {
        let chain = |hook| {
            format!(
                "chain {hook} {{\n type filter hook {hook} priority 1; policy accept;\n \
                 meta l4proto {{ tcp, udp, icmp }} ct state new counter drop\n}}\n"
            )
        };
        self.filter(&["input", "forward", "output"].map(chain).concat())
    }

    /// The router has forgotten the connection from this port, and drops it without a word.
    pub fn forgets(&self, port: u16) -> anyhow::Result<Rules> {
        self.filter(&format!(
            "chain forward {{\n type filter hook forward priority 0;\n \
             tcp sport {port} counter drop\n tcp dport {port} drop\n}}\n"
        ))
    }

    /// Every connect to another port than this is dropped without a word.
    pub fn other_ports_dropped(&self, open: u16) -> anyhow::Result<Rules> {
        self.drops("input", &format!("tcp dport != {open} {SYN}"))
    }

    /// Every connect to another port than this is refused by ICMP, of which Linux sends about
    /// one a second.
    pub fn other_ports_rejected(&self, open: u16) -> anyhow::Result<Rules> {
        self.filter(&format!(
            "chain input {{\n type filter hook input priority 0;\n \
             tcp dport != {open} {SYN} counter reject with icmp type port-unreachable\n}}\n"
        ))
    }

    /// It refuses connects to the address with ICMP, for connects through this host or from it: the
    /// application sees ECONNREFUSED.
    pub fn refuses_for(&self, address: Ipv4Addr) -> anyhow::Result<Rules> {
        let chain = |hook| {
            format!(
                "chain {hook} {{\n type filter hook {hook} priority 0;\n \
                 ip daddr {address} {SYN} counter reject with icmp type port-unreachable\n}}\n"
            )
        };
        self.filter(&["forward", "output"].map(chain).concat())
    }

    /// It sends one RST a second.
    pub fn resets_limited(&self) -> anyhow::Result<Rules> {
        self.drops(
            "output",
            "tcp flags rst limit rate over 1/second burst 1 packets",
        )
    }

    /// Accepts no further connections than those that already wait: for a server that is stopped
    /// and listens after this.
    pub fn short_accept_queue(&self, length: u16) -> anyhow::Result<()> {
        self.write("/proc/sys/net/core/somaxconn", &length.to_string())
    }

    fn drops(&self, hook: &str, matching: &str) -> anyhow::Result<Rules> {
        self.filter(&format!(
            "chain {hook} {{\n type filter hook {hook} priority 0;\n {matching} counter drop\n}}\n"
        ))
    }

    fn filter(&self, content: &str) -> anyhow::Result<Rules> {
        Rules::load(self.namespace(), "inet", content)
    }
}
