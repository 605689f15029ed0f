//! The links of this namespace: which are up, and our addresses on them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket},
    time::Duration,
};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    ifaddrs::{InterfaceAddress, getifaddrs},
    libc::{ARPHRD_ETHER, MSG_DONTWAIT, RTNLGRP_IPV4_IFADDR, RTNLGRP_LINK},
    net::if_::InterfaceFlags,
    sys::socket::LinkAddr,
};
use tracing::debug;

use super::{super::errno_of, ndp};
use crate::model::Time;

/// The shortest time between two readings of the links.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The port is not used; any would do.
const DISCARD: u16 = 9;

/// The most notifications that are taken before a probe: only their presence matters.
const CHANGES: usize = 64;

/// A link on which neighbours can be probed.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// For sending: it names the link.
    pub address: LinkAddr,
    pub mac: [u8; 6],
    flags: InterfaceFlags,
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Link {
    /// Our address in the target's subnet, or else any on this link: the target answers to either,
    /// and normal traffic would use the one with the longest prefix.
    pub(super) fn source_for(&self, target: Ipv4Addr) -> Option<Ipv4Addr> {
        let is_near = |&&(addr, mask): &&(Ipv4Addr, Ipv4Addr)| addr & mask == target & mask;
        let near = self.v4.iter().filter(is_near).max_by_key(|(_, mask)| *mask);
        near.or(self.v4.first()).map(|&(addr, _)| addr)
    }

    fn check(&self) -> Result<&Self, Errno> {
        let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        let is_ethernet = self.address.hatype() == ARPHRD_ETHER && self.address.halen() == 6;
        if !self.flags.contains(up) {
            Err(Errno::ENETDOWN)
        } else if !is_ethernet || self.flags.contains(InterfaceFlags::IFF_NOARP) {
            Err(Errno::EOPNOTSUPP)
        } else {
            Ok(self)
        }
    }
}

/// The source address that the kernel would use: it knows which are usable (not tentative, not a
/// duplicate). Connecting a UDP socket to the group shows it, and sends nothing.
pub(super) fn source_for_v6(target: Ipv6Addr, link: u32) -> Result<Ipv6Addr, Errno> {
    let choose = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.connect(SocketAddrV6::new(ndp::group(target), DISCARD, 0, link))?;
        socket.local_addr()
    };
    match choose().map_err(|error| errno_of(&error))?.ip() {
        IpAddr::V6(source) => Ok(source),
        IpAddr::V4(_) => Err(Errno::EADDRNOTAVAIL),
    }
}

/// The links as they were read last.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_index: HashMap<u32, Link>,
    read_at: Option<Time>,
    is_stale: bool,
    changes: Option<Changes>,
}

impl Links {
    /// The link, if neighbours can be probed on it now: `ENODEV` when there is none, `ENETDOWN`
    /// when it is down or has no carrier, `EOPNOTSUPP` when it is no Ethernet.
    pub(super) fn usable(&mut self, index: u32, now: Time) -> Result<&Link, Errno> {
        let has_changed = self.changes.as_ref().is_none_or(Changes::any);
        self.is_stale |= has_changed || !self.by_index.contains_key(&index);
        let may_read = self
            .read_at
            .is_none_or(|read_at| now.since(read_at) >= READ_EVERY);
        if self.is_stale && may_read {
            self.read(now)?;
        }
        self.by_index.get(&index).ok_or(Errno::ENODEV)?.check()
    }

    fn read(&mut self, now: Time) -> Result<(), Errno> {
        if self.changes.is_none() {
            // Without it, the links are read once a second while there are probes.
            self.changes = Changes::subscribe()
                .inspect_err(|errno| debug!(%errno, "changes of links are not told"))
                .ok();
        }
        self.by_index = collect(getifaddrs()?);
        self.read_at = Some(now);
        self.is_stale = false;
        Ok(())
    }
}

/// Each link with its IPv4 addresses, which are listed under its name, or under a label that
/// begins with it (`eth0:1`).
fn collect(interfaces: impl Iterator<Item = InterfaceAddress>) -> HashMap<u32, Link> {
    let mut indices = HashMap::new();
    let mut by_index = HashMap::new();
    let mut addresses = Vec::new();
    for interface in interfaces {
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(link) = address.as_link_addr().copied() {
            let (Ok(index), Some(mac)) = (u32::try_from(link.ifindex()), link.addr()) else {
                continue;
            };
            indices.insert(interface.interface_name, index);
            let link = Link {
                address: link,
                mac,
                flags: interface.flags,
                v4: Vec::new(),
            };
            by_index.insert(index, link);
        } else if let Some(v4) = address.as_sockaddr_in() {
            let mask = interface
                .netmask
                .and_then(|mask| mask.as_sockaddr_in().map(|m| m.ip()));
            let mask = mask.unwrap_or(Ipv4Addr::BROADCAST);
            addresses.push((interface.interface_name, (v4.ip(), mask)));
        }
    }
    for (label, address) in addresses {
        let name = label
            .split_once(':')
            .map_or(label.as_str(), |(name, _)| name);
        let index = indices.get(&label).or_else(|| indices.get(name));
        if let Some(link) = index.and_then(|index| by_index.get_mut(index)) {
            link.v4.push(address);
        }
    }
    by_index
}

/// Receives a notification when a link or an IPv4 address changes. (The IPv6 source is looked up in
/// the kernel each time.)
#[derive(Debug)]
struct Changes(Socket);

impl Changes {
    fn subscribe() -> Result<Self, Errno> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_LINK)?;
            socket.add_membership(RTNLGRP_IPV4_IFADDR)?;
            Ok(socket)
        };
        open().map(Self).map_err(|error| errno_of(&error))
    }

    /// Whether anything changed since the last call. Anything received is a change, and so is an
    /// overrun.
    fn any(&self) -> bool {
        let silent = |_: &usize| {
            let mut nothing = [0_u8; 1];
            let received = self.0.recv(&mut &mut nothing[..], MSG_DONTWAIT);
            matches!(received, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        };
        // Some notifications may be left for the next call: the links are stale until then anyway.
        (0..CHANGES).position(|i| silent(&i)) != Some(0)
    }
}
