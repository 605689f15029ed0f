//! Decodes rtnetlink messages. Pure, so that it can be tested.
//!
//! Only the header and the few attributes that matter are read from each message: an attribute in a
//! new format of a newer kernel must not hide a lost carrier.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use netlink_packet_core::{
    DecodeError, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlaBuffer, NlasIterator,
};
use netlink_packet_route::{
    AddressFamily,
    link::{LinkFlags, LinkHeader},
    neighbour::{NeighbourCacheInfo, NeighbourFlags, NeighbourHeader, NeighbourState},
    route::{RouteHeader, RouteType, RouteVia},
};
use nix::libc::{
    EACCES, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, EOPNOTSUPP,
    IFLA_IFNAME, NDA_CACHEINFO, NDA_DST, NDA_LLADDR, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_VIA,
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_DELRULE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWROUTE, RTM_NEWRULE,
};
use thiserror::Error;

use crate::model::{HardwareAddress, Route};

/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` (5.3+) of include/uapi/linux/rtnetlink.h.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `LinkHeader`, `NeighbourHeader` and `RouteHeader` on the wire.
const LINK_HEADER: usize = 16;
const NEIGHBOUR_HEADER: usize = 12;
const ROUTE_HEADER: usize = 12;
/// The kernel gives a neighbour's ages in `clock_t`: `USER_HZ` is 100 on every architecture
/// that matters (`jiffies_to_clock_t`).
pub(super) const CLOCK_TICK: Duration = Duration::from_millis(10);

/// A message that the kernel is not known to send.
#[derive(Debug, Error)]
#[error("a message of rtnetlink is malformed: {0}")]
pub struct Malformed(String);

impl From<DecodeError> for Malformed {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// The netlink port of the process whose request caused the message; 0 when the kernel acted on
    /// its own.
    pub(super) port: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// The errno of the message that ends a dump or answers a request; `None` for any other,
    /// 0 for success.
    pub(super) fn end(&self) -> Option<i32> {
        let code = || {
            self.body
                .first_chunk()
                .map_or(0, |c| i32::from_ne_bytes(*c))
        };
        // Both carry a negative errno, or 0.
        matches!(self.kind, NLMSG_DONE | NLMSG_ERROR).then(|| code().saturating_abs())
    }
}

/// The messages of one datagram. A wrong length ends the iteration with an error, because the next
/// message cannot be found.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let datagram = std::mem::take(&mut bytes);
        let header = match NetlinkBuffer::new_checked(datagram) {
            Ok(header) => header,
            Err(error) => return Some(Err(error.into())),
        };
        let length = header.length() as usize;
        let Some(body) = datagram.get(HEADER..length) else {
            return Some(Err(Malformed(format!("a message of {length} bytes"))));
        };
        // Netlink messages begin at multiples of 4.
        let next = length.saturating_add(3) & !3;
        bytes = datagram.get(next..).unwrap_or_default();
        Some(Ok(Message {
            kind: header.message_type(),
            flags: header.flags(),
            sequence: header.sequence_number(),
            port: header.port_number(),
            body,
        }))
    })
}

/// A change, or an entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Link(Link),
    LinkGone(u32),
    Neighbour(Neighbour),
    /// Routes to these addresses, the last one included.
    Routes(IpAddr, IpAddr),
    /// Something that any route may depend on.
    AllRoutes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: Option<String>,
    pub(super) up: bool,
}

/// A neighbour entry as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) addr: IpAddr,
    pub(super) link: u32,
    pub(super) state: NeighbourState,
    pub(super) flags: NeighbourFlags,
    /// The hardware address to which the kernel sends. It is not reported for an entry that has
    /// failed (`neigh_fill_info`).
    pub(super) hardware: Option<HardwareAddress>,
    /// Ages of the last confirmation and of the last change; `None` if they are not reported.
    pub(super) ages: Option<Ages>,
    /// A process requested the entry or its change.
    pub(super) by_request: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    pub(super) confirmed: Duration,
    pub(super) updated: Duration,
}

/// The change in a notification, or in a part of a dump; `None` if it does not matter here.
pub(super) fn change(message: &Message<'_>) -> Result<Option<Change>, Malformed> {
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => link(message),
        RTM_NEWNEIGH => neighbour(message),
        RTM_NEWROUTE | RTM_DELROUTE => prefix(message.body),
        RTM_NEWADDR | RTM_DELADDR | RTM_NEWRULE | RTM_DELRULE | RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
            Ok(Some(Change::AllRoutes))
        }
        _ => Ok(None),
    }
}

fn link(message: &Message<'_>) -> Result<Option<Change>, Malformed> {
    let header = LinkHeader::parse(message.body)?;
    // A bridge reports its ports under its own family, in the same group: a port that is removed
    // from a bridge is reported as RTM_DELLINK (`br_ifinfo_notify`, net/bridge/br_netlink.c).
    if header.interface_family != AddressFamily::Unspec {
        return Ok(None);
    }
    if message.kind == RTM_DELLINK {
        return Ok(Some(Change::LinkGone(header.index)));
    }
    let mut name = None;
    for attribute in attributes(message.body, LINK_HEADER) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_IFNAME {
            let bytes = attribute.value().split(|byte| *byte == 0).next();
            name = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        }
    }
    // `dev_get_flags` (net/core/dev.c): LOWER_UP is the carrier, RUNNING an operational state
    // of UP or UNKNOWN (RFC 2863). They are in the header, which every kernel sends.
    let carries = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
    Ok(Some(Change::Link(Link {
        index: header.index,
        name,
        up: header.flags.contains(carries),
    })))
}

fn neighbour(message: &Message<'_>) -> Result<Option<Change>, Malformed> {
    let header = NeighbourHeader::parse(message.body)?;
    // The others are a bridge's forwarding entries.
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let (mut addr, mut ages, mut hardware) = (None, None, None);
    for attribute in attributes(message.body, NEIGHBOUR_HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            NDA_DST => addr = Some(address(attribute.value())?),
            // Tunnels and InfiniBand have addresses of other lengths.
            NDA_LLADDR => hardware = attribute.value().try_into().ok().map(HardwareAddress),
            NDA_CACHEINFO => {
                let info = NeighbourCacheInfo::parse(attribute.value())?;
                ages = Some(Ages {
                    confirmed: CLOCK_TICK.saturating_mul(info.confirmed),
                    updated: CLOCK_TICK.saturating_mul(info.updated),
                });
            }
            _ => {}
        }
    }
    let addr = addr.ok_or_else(|| Malformed("a neighbour without an address".to_owned()))?;
    Ok(Some(Change::Neighbour(Neighbour {
        addr,
        link: header.ifindex,
        state: header.state,
        flags: header.flags,
        hardware,
        ages,
        by_request: message.port != 0,
    })))
}

/// The addresses that a changed route is for.
fn prefix(body: &[u8]) -> Result<Option<Change>, Malformed> {
    let header = RouteHeader::parse(body)?;
    let mut addr = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Ok(None),
    };
    for attribute in attributes(body, ROUTE_HEADER) {
        let attribute = attribute?;
        if attribute.kind() == RTA_DST {
            addr = address(attribute.value())?;
        }
    }
    let (first, last) = range(addr, header.destination_prefix_length);
    Ok(Some(Change::Routes(first, last)))
}

fn range(addr: IpAddr, prefix_length: u8) -> (IpAddr, IpAddr) {
    let length = u32::from(prefix_length);
    match addr {
        IpAddr::V4(addr) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let bits = addr.to_bits();
            let v4 = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
            (v4(bits & !host), v4(bits | host))
        }
        IpAddr::V6(addr) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let bits = addr.to_bits();
            let v6 = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
            (v6(bits & !host), v6(bits | host))
        }
    }
}

/// The kernel's answer to a request for one route: the route, `None` if there is none to another
/// host, or an errno that says nothing about the route.
pub(super) fn route(message: &Message<'_>) -> Result<Result<Option<Route>, i32>, Malformed> {
    match message.end() {
        Some(errno) => Ok(no_route(errno)),
        None if message.kind == RTM_NEWROUTE => Ok(Ok(way(message.body)?)),
        None => Err(Malformed(format!(
            "type {} as the answer for a route",
            message.kind
        ))),
    }
}

/// Whether the kernel answered that the address is local to this namespace.
pub(super) fn is_local(message: &Message<'_>) -> Result<bool, Malformed> {
    if message.kind != RTM_NEWROUTE {
        return Ok(false);
    }
    Ok(RouteHeader::parse(message.body)?.kind == RouteType::Local)
}

/// `fib_props` of net/ipv4/fib_semantics.c and `fib6_prop` of net/ipv6/route.c: no route at
/// all, unreachable, blackhole, prohibit. A kernel without IPv6 does not know the request.
fn no_route(errno: i32) -> Result<Option<Route>, i32> {
    match errno {
        ENETUNREACH | EHOSTUNREACH | EINVAL | EACCES | ENETDOWN | ENODEV | EAFNOSUPPORT
        | EOPNOTSUPP => Ok(None),
        errno => Err(errno),
    }
}

fn way(body: &[u8]) -> Result<Option<Route>, Malformed> {
    let header = RouteHeader::parse(body)?;
    if header.kind != RouteType::Unicast {
        return Ok(None);
    }
    let (mut link, mut gateway) = (None, None);
    for attribute in attributes(body, ROUTE_HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            RTA_OIF => link = Some(word(attribute.value())?),
            RTA_GATEWAY => gateway = Some(address(attribute.value())?),
            // An IPv4 route by an IPv6 router (5.2+).
            RTA_VIA => {
                gateway = match RouteVia::parse(attribute.value())? {
                    RouteVia::Inet(addr) => Some(addr.into()),
                    RouteVia::Inet6(addr) => Some(addr.into()),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    Ok(link.map(|link| Route { link, gateway }))
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_datagram(bytes: &[u8]) {
    let mut read = 0;
    for message in messages(bytes).flatten() {
        read += 1;
        let _ = (message.end(), route(&message), is_local(&message));
        if let Ok(Some(Change::Routes(first, last))) = change(&message) {
            assert!(first <= last && first.is_ipv4() == last.is_ipv4());
        }
    }
    assert!(read * HEADER <= bytes.len(), "{read} messages");
}

fn attributes(
    body: &[u8],
    header: usize,
) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> {
    NlasIterator::new(body.get(header..).unwrap_or_default())
}

fn address(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(bytes.into());
    }
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .map_err(|_| Malformed(format!("an address of {} bytes", bytes.len())))
}

fn word(bytes: &[u8]) -> Result<u32, Malformed> {
    <[u8; 4]>::try_from(bytes)
        .map(u32::from_ne_bytes)
        .map_err(|_| Malformed(format!("a number of {} bytes", bytes.len())))
}

#[cfg(test)]
mod tests;
