//! Where an address is: another host that stands in for it, a second card, a move.

use std::net::Ipv4Addr;

use anyhow::Context as _;

use super::Rules;
use crate::{Host, Lab, lab::command};

/// A bridge without ports: its frames go nowhere, and it resolves no neighbour, because a failed
/// resolution would be reported to the sender by ICMP.
const NOWHERE: &str = "nowhere";

/// A host that answers ARP for another one's address, by the kernel's own proxy ARP.
#[derive(Debug)]
#[must_use = "it stands in until this is dropped"]
pub struct StandsIn {
    host: Host,
    undo: String,
}

impl StandsIn {
    fn new(host: &Host, lines: &str, undo: String) -> anyhow::Result<Self> {
        let stands_in = Self {
            host: host.clone(),
            undo,
        };
        host.write("/proc/sys/net/ipv4/ip_forward", "1")?;
        // Answers at once: by default up to 0.8 s late.
        host.write("/proc/sys/net/ipv4/neigh/eth0/proxy_delay", "0")?;
        command::ip_batch(Some(host.namespace()), lines)
            .with_context(|| format!("{} cannot stand in", host.name()))?;
        Ok(stands_in)
    }
}

impl Drop for StandsIn {
    fn drop(&mut self) {
        let ended = command::ip_batch(Some(self.host.namespace()), &self.undo).and_then(|()| {
            for file in [
                "conf/eth0/proxy_arp",
                "conf/eth0/proxy_arp_pvlan",
                "ip_forward",
            ] {
                self.host
                    .write(&format!("/proc/sys/net/ipv4/{file}"), "0")?;
            }
            Ok(())
        });
        if let Err(error) = ended {
            eprintln!("lab: {} stands in on: {error:#}", self.host.name());
        }
    }
}

impl Host {
    /// Answers ARP for the address, and loses what is sent to it.
    pub fn stands_in_for(&self, address: Ipv4Addr) -> anyhow::Result<StandsIn> {
        // A proxy answers for what it would send on by another device (arp_process of
        // net/ipv4/arp.c).
        let lines = format!(
            "link add {NOWHERE} type bridge\nlink set {NOWHERE} arp off up\n\
             route add {address}/32 dev {NOWHERE}\n\
             neigh add proxy {address} dev eth0\n"
        );
        let undo = format!("neigh del proxy {address} dev eth0\nlink del {NOWHERE}\n");
        StandsIn::new(self, &lines, undo)
    }

    /// Answers ARP for everybody on its link, and hands on what is sent to them: a gateway
    /// with proxy ARP.
    pub fn answers_for_its_link(&self) -> anyhow::Result<StandsIn> {
        self.write("/proc/sys/net/ipv4/conf/eth0/send_redirects", "0")?;
        self.write("/proc/sys/net/ipv4/conf/all/send_redirects", "0")?;
        self.write("/proc/sys/net/ipv4/conf/eth0/proxy_arp", "1")?;
        self.write("/proc/sys/net/ipv4/conf/eth0/proxy_arp_pvlan", "1")?;
        StandsIn::new(self, "", String::new())
    }

    /// Gives the address up.
    pub fn gives_up(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        self.addresses(&format!("addr del {address}/24 dev eth0\n"))
    }

    /// Has the address from now on, and tells everyone.
    pub fn takes_over(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        self.write("/proc/sys/net/ipv4/conf/eth0/arp_notify", "1")?;
        self.addresses(&format!("addr add {address}/24 dev eth0\n"))?;
        // The kernel tells when the card's address is set, be it to what it is
        // (inetdev_event of net/ipv4/devinet.c).
        let hardware = self.hardware_text()?;
        self.addresses(&format!("link set eth0 address {hardware}\n"))
    }

    /// Its card's address.
    pub fn hardware(&self) -> anyhow::Result<[u8; 6]> {
        parse(&self.hardware_text()?)
    }

    fn hardware_text(&self) -> anyhow::Result<String> {
        let shown = self.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
        let after = shown.split("link/ether ").nth(1);
        let hardware = after.and_then(|text| text.split(' ').next());
        Ok(hardware
            .with_context(|| format!("no link/ether in {shown}"))?
            .to_owned())
    }

    fn addresses(&self, lines: &str) -> anyhow::Result<()> {
        command::ip_batch(Some(self.namespace()), lines)
            .with_context(|| format!("cannot change the addresses of {}", self.name()))
    }

    /// Its kernel forgets all its TCP connections without a word, as a restart does. Nothing
    /// of it may reach the network meanwhile: cut it off first.
    pub fn forgets_connections(&self) -> anyhow::Result<()> {
        // -K destroys what is listed; listeners go with their process.
        self.exec("ss", &["-K", "-tnH"]).map(|_| ())
    }
}

/// A host's second card, in the same network; removed on drop.
#[derive(Debug)]
#[must_use = "the card is there until this is dropped"]
pub struct SecondCard {
    namespace: String,
    port: String,
}

impl Lab {
    /// Gives the host a second card, eth1, at the same switch, with this address.
    pub fn second_card(&self, host: usize, address: Ipv4Addr) -> anyhow::Result<SecondCard> {
        let host = self.host(host);
        let switch = self.switch_of(host);
        let card = SecondCard {
            namespace: switch.namespace().to_owned(),
            port: format!("{}b", host.port()),
        };
        let (port, namespace) = (&card.port, host.namespace());
        let lines = format!(
            "link add {port} type veth peer name eth1 netns {namespace}\n\
             link set {port} master br0 up\n"
        );
        command::ip_batch(Some(&card.namespace), &lines)?;
        host.addresses(&format!(
            "addr add {address}/32 dev eth1\nlink set eth1 up\n"
        ))?;
        switch.await_forwarding(port)?;
        Ok(card)
    }

    /// Loses everything to and from the host by IPv6.
    pub fn lose_ipv6(&self, host: usize) -> anyhow::Result<Rules> {
        let ipv6 = || "meta protocol ip6".to_owned();
        self.lose_all(
            host,
            &[(super::Way::From, ipv6()), (super::Way::To, ipv6())],
        )
    }
}

impl Drop for SecondCard {
    fn drop(&mut self) {
        let line = format!("link del {}\n", self.port);
        if let Err(error) = command::ip_batch(Some(&self.namespace), &line) {
            eprintln!("lab: a second card stays: {error:#}");
        }
    }
}

/// `02:00:00:00:00:01`
pub(super) fn parse(hardware: &str) -> anyhow::Result<[u8; 6]> {
    let bytes = hardware.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    let bytes = bytes.as_slice().try_into();
    bytes.with_context(|| format!("{hardware} is no Ethernet address"))
}
