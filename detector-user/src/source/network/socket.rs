//! The two netlink sockets: one receives changes, the other sends requests. An overrun of the first
//! must not lose an answer on the second.

use std::{
    io::{self, ErrorKind::WouldBlock},
    net::IpAddr,
};

use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::{
    libc::{
        ENOBUFS, MSG_DONTWAIT, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE,
        RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE, RTNLGRP_LINK, RTNLGRP_NEIGH,
        RTNLGRP_NEXTHOP,
    },
    sys::socket::{setsockopt, sockopt},
};

use super::{
    NetworkError,
    decode::{self, Change, Message},
    request,
};
use crate::{model::Route, netlink::socket::Socket};

/// What the sockets are about, for error messages.
const ABOUT: &str = "links, routes and neighbours (rtnetlink)";

/// The most routes or links that are requested with one system call. All answers wait in the socket
/// together, each below 5 KiB: they must fit in the smallest default receive buffer (208 KiB).
pub(super) const BATCH: usize = 32;

/// How often a dump is tried if the kernel marks it as inconsistent.
const ATTEMPTS: u32 = 3;

/// The multicast groups that the source needs, and their names.
const GROUPS: [(u32, &str); 8] = [
    (RTNLGRP_LINK, "links"),
    (RTNLGRP_NEIGH, "neighbours"),
    (RTNLGRP_IPV4_IFADDR, "IPv4 addresses"),
    (RTNLGRP_IPV4_ROUTE, "IPv4 routes"),
    (RTNLGRP_IPV4_RULE, "IPv4 rules"),
    (RTNLGRP_IPV6_IFADDR, "IPv6 addresses"),
    (RTNLGRP_IPV6_ROUTE, "IPv6 routes"),
    (RTNLGRP_IPV6_RULE, "IPv6 rules"),
];

/// The socket that receives changes.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) socket: Socket,
}

/// The result of one read from the socket.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Datagram(&'a [u8]),
    Nothing,
    /// Changes were lost.
    Overrun,
}

impl Events {
    /// Opens the socket, in the calling thread's network namespace, with room for this many
    /// bytes of changes.
    pub(super) fn open(receive_buffer: usize) -> Result<Self, NetworkError> {
        let socket = Socket::open(NETLINK_ROUTE, ABOUT)?;
        let inner = &socket.inner;
        // The first needs CAP_NET_ADMIN; the second is held to net.core.rmem_max.
        if setsockopt(inner, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(inner, sockopt::RcvBuf, &receive_buffer)
                .map_err(|errno| socket.cannot("make room for changes of", errno.into()))?;
        }
        for (group, what) in GROUPS {
            inner
                .add_membership(group)
                .map_err(|source| NetworkError::Join { what, source })?;
        }
        // 5.3+. Routes that use nexthop objects may change with these objects, without another
        // notification (net.ipv4.nexthop_compat_mode = 0).
        let _before_5_3 = inner.add_membership(RTNLGRP_NEXTHOP);
        Ok(Self { socket })
    }

    /// The next datagram. Never waits.
    pub(super) fn receive(&mut self) -> Result<Heard<'_>, NetworkError> {
        match self.socket.receive(MSG_DONTWAIT) {
            Ok(datagram) => Ok(Heard::Datagram(datagram)),
            Err(error) if error.source.kind() == WouldBlock => Ok(Heard::Nothing),
            Err(error) if error.source.raw_os_error() == Some(ENOBUFS) => Ok(Heard::Overrun),
            Err(error) => Err(error.into()),
        }
    }
}

/// The socket for requests.
#[derive(Debug)]
pub(super) struct Requests {
    socket: Socket,
}

impl Requests {
    /// Opens the socket, in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let socket = Socket::open(NETLINK_ROUTE, ABOUT)?;
        Ok(Self { socket })
    }

    /// All links. After an error of any request, the rest of its answer may still be in the socket:
    /// drop the socket then.
    pub(super) fn links(&mut self, each: impl FnMut(&Message<'_>)) -> Result<(), NetworkError> {
        self.dump("links", request::links, each)
    }

    /// All neighbours.
    pub(super) fn neighbours(
        &mut self,
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetworkError> {
        self.dump("neighbours", request::neighbours, each)
    }

    /// Whether the address is local; see [`decode::is_local`].
    pub(super) fn is_local(&mut self, addr: IpAddr) -> Result<bool, NetworkError> {
        let mut is_local = false;
        self.batch(&[addr], request::route, |_, message| {
            is_local = decode::is_local(message)?;
            Ok(())
        })?;
        Ok(is_local)
    }

    /// The entry of one neighbour; `None` where there is none.
    pub(super) fn neighbour(
        &mut self,
        addr: IpAddr,
        link: u32,
    ) -> Result<Option<Change>, NetworkError> {
        let mut found = None;
        self.batch(&[(addr, link)], request::neighbour, |_, message| {
            found = decode::change(message)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Passes on each part of a dump; if the dump must be repeated, some parts come twice.
    fn dump(
        &mut self,
        what: &'static str,
        request: fn(u32) -> Vec<u8>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetworkError> {
        for _ in 0..ATTEMPTS {
            let sequence = self.socket.next_sequence();
            self.socket.send(&request(sequence))?;
            if self.dumped(what, &mut each)? {
                return Ok(());
            }
        }
        Err(NetworkError::Interrupted { what })
    }

    /// Reads to the end of a dump; returns whether it was consistent.
    fn dumped(
        &mut self,
        what: &'static str,
        each: &mut impl FnMut(&Message<'_>),
    ) -> Result<bool, NetworkError> {
        let (sequence, mut consistent) = (self.socket.sequence, true);
        loop {
            for message in decode::messages(self.socket.receive(0)?) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.end() {
                    Some(0) => return Ok(consistent),
                    Some(errno) => {
                        let source = io::Error::from_raw_os_error(errno);
                        return Err(NetworkError::Refused { what, source });
                    }
                    None => each(&message),
                }
            }
        }
    }

    /// The routes to these addresses, at most [`BATCH`]; see [`decode::route`].
    pub(super) fn routes(
        &mut self,
        addrs: &[IpAddr],
        mut each: impl FnMut(IpAddr, Result<Option<Route>, i32>),
    ) -> Result<(), NetworkError> {
        self.batch(addrs, request::route, |addr, message| {
            each(addr, decode::route(message)?);
            Ok(())
        })
    }

    /// These links, at most [`BATCH`]. For a request of a single link, the kernel reads the carrier
    /// now (`rtnl_getlink` of net/core/rtnetlink.c).
    pub(super) fn these_links(
        &mut self,
        links: &[u32],
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetworkError> {
        self.batch(links, request::link, |_, message| {
            each(message);
            Ok(())
        })
    }

    /// Sends several requests with one system call, and passes on the answer to each.
    fn batch<T: Copy>(
        &mut self,
        questions: &[T],
        request: fn(T, u32) -> Vec<u8>,
        mut each: impl FnMut(T, &Message<'_>) -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        let first = self.socket.sequence.wrapping_add(1);
        let mut batch = Vec::new();
        for &question in questions {
            batch.extend(request(question, self.socket.next_sequence()));
        }
        self.socket.send(&batch)?;
        let mut awaited = questions.len();
        while awaited > 0 {
            for message in decode::messages(self.socket.receive(0)?) {
                let message = message?;
                let number = message.sequence.wrapping_sub(first) as usize;
                if let Some(&question) = questions.get(number) {
                    each(question, &message)?;
                    awaited = awaited.saturating_sub(1);
                }
            }
        }
        Ok(())
    }
}
