//! The two netlink sockets: one receives changes, the other sends requests. An overrun of the first
//! must not lose an answer on the second.

use std::{io, net::IpAddr};

use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    libc::{
        MSG_DONTWAIT, MSG_TRUNC, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE,
        RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE, RTNLGRP_LINK, RTNLGRP_NEIGH,
        RTNLGRP_NEXTHOP,
    },
    sys::{
        socket::{setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

use super::{
    NetworkError,
    decode::{self, Change, Message},
    request,
};
use crate::core::Route;

/// The kernel fills at most 32 KiB at a time (`netlink_dump` of net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;

/// The kernel answers from within the system call; this only keeps a broken one from stopping
/// the thread.
const RECEIVE_TIMEOUT_SECONDS: i64 = 1;

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
    buffer: Box<[u8]>,
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
        let socket = open()?;
        // The first needs CAP_NET_ADMIN; the second is held to net.core.rmem_max.
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)
                .map_err(|errno| NetworkError::Open(errno.into()))?;
        }
        for (group, what) in GROUPS {
            socket
                .add_membership(group)
                .map_err(|source| NetworkError::Join { what, source })?;
        }
        // 5.3+. Routes that use nexthop objects may change with these objects, without another
        // notification (net.ipv4.nexthop_compat_mode = 0).
        let _before_5_3 = socket.add_membership(RTNLGRP_NEXTHOP);
        Ok(Self {
            socket: connected(socket)?,
            buffer: vec![0; BUFFER].into(),
        })
    }

    /// The next datagram. Never waits.
    pub(super) fn receive(&mut self) -> Result<Heard<'_>, NetworkError> {
        match receive(&self.socket, &mut self.buffer, MSG_DONTWAIT) {
            Ok(length) => Ok(Heard::Datagram(&self.buffer[..length])),
            Err(NetworkError::Receive(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Heard::Nothing)
            }
            Err(NetworkError::Receive(error)) if is_overrun(&error) => Ok(Heard::Overrun),
            Err(error) => Err(error),
        }
    }
}

/// The socket for requests.
#[derive(Debug)]
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Requests {
    /// Opens the socket, in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let socket = connected(open()?)?;
        let timeout = TimeVal::seconds(RECEIVE_TIMEOUT_SECONDS);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)
            .map_err(|errno| NetworkError::Open(errno.into()))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER].into(),
        })
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
            self.sequence = self.sequence.wrapping_add(1);
            self.send(&request(self.sequence))?;
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
        let mut consistent = true;
        loop {
            let length = receive(&self.socket, &mut self.buffer, 0)?;
            for message in decode::messages(&self.buffer[..length]) {
                let message = message?;
                if message.sequence != self.sequence {
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
        let first = self.sequence.wrapping_add(1);
        let mut batch = Vec::new();
        for &question in questions {
            self.sequence = self.sequence.wrapping_add(1);
            batch.extend(request(question, self.sequence));
        }
        self.send(&batch)?;
        let mut awaited = questions.len();
        while awaited > 0 {
            let length = receive(&self.socket, &mut self.buffer, 0)?;
            for message in decode::messages(&self.buffer[..length]) {
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

    fn send(&self, bytes: &[u8]) -> Result<(), NetworkError> {
        self.socket
            .send(bytes, 0)
            .map(|_| ())
            .map_err(NetworkError::Send)
    }
}

fn open() -> Result<Socket, NetworkError> {
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetworkError::Open)?;
    socket.bind_auto().map_err(NetworkError::Open)?;
    Ok(socket)
}

/// Connects the socket to the kernel (port 0), so that it takes messages from no other sender.
fn connected(socket: Socket) -> Result<Socket, NetworkError> {
    socket
        .connect(&SocketAddr::new(0, 0))
        .map_err(NetworkError::Open)?;
    Ok(socket)
}

fn receive(socket: &Socket, buffer: &mut [u8], flags: i32) -> Result<usize, NetworkError> {
    let capacity = buffer.len();
    let length = loop {
        match socket.recv(&mut &mut buffer[..], MSG_TRUNC | flags) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.map_err(NetworkError::Receive)?,
        }
    };
    if length > capacity {
        return Err(NetworkError::Truncated { length, capacity });
    }
    Ok(length)
}

fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOBUFS)
}
