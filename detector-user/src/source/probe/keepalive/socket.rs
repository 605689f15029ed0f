//! The raw socket of one probe: it sends the segment, and receives answers on that flow only.
//!
//! The kernel gives a raw socket a copy of each segment from the host that it is connected to. The
//! filter takes only segments of the flow without data, so that a busy flow does not wake the
//! thread. The socket is open while the probe waits.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
};

use nix::{
    errno::Errno,
    libc::{
        BPF_ADD, BPF_ALU, BPF_B, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
        BPF_LDX, BPF_LEN, BPF_LSH, BPF_MISC, BPF_MSH, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X,
    },
    sys::socket::{MsgFlags, recv, send},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::{model::FlowId, source::probe::errno_of};

/// Two headers with all their options: a longer packet carries data.
pub(super) const PACKET: usize = 128;

/// The most flows that a filter tells from others.
pub(super) const FILTERED: usize = 64;

/// The most segments that are taken at a time; if there are more, the thread wakes again.
const AT_A_TIME: usize = 32;

#[derive(Debug)]
pub(super) struct RawSocket {
    socket: Socket,
    is_v4: bool,
}

impl RawSocket {
    /// Opens a socket for this flow in the calling thread's network namespace, routed by `mark` as
    /// the flow itself is. Needs CAP_NET_RAW, and for a mark CAP_NET_ADMIN.
    pub(super) fn open(flow: &FlowId, mark: u32) -> Result<Self, Errno> {
        let open = || -> io::Result<Self> {
            let is_v4 = flow.remote.is_ipv4();
            let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::TCP))?;
            let ports = (flow.remote.port(), flow.local.port());
            socket.attach_filter(&answers_only(is_v4, &[ports]))?;
            if mark != 0 {
                socket.set_mark(mark)?;
            }
            let host = |addr: IpAddr| SocketAddr::new(addr, 0).into();
            socket.bind(&host(flow.local.ip()))?;
            socket.connect(&host(flow.remote.ip()))?;
            Ok(Self { socket, is_v4 })
        };
        open().map_err(|error| errno_of(&error))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Discards what came before the probe, and sends the probe.
    pub(super) fn ask(&self, segment: &[u8]) -> Result<(), Errno> {
        self.receive(|_| ());
        self.send(segment)
    }

    pub(super) fn send(&self, segment: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), segment, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Applies `hear` to each waiting segment, from its TCP header on. Errors come from the network
    /// ("unreachable"), and are no answer.
    pub(super) fn receive<T>(&self, hear: impl Fn(&[u8]) -> T) -> Vec<T> {
        let mut packet = [0; PACKET];
        let mut heard = Vec::new();
        for _ in 0..AT_A_TIME {
            // MSG_TRUNC gives the true length of a longer packet, which the filter does not let
            // pass anyway.
            match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_TRUNC) {
                Ok(length) => heard.extend(packet.get(..length).map(|all| hear(self.tcp(all)))),
                Err(Errno::EAGAIN) => break,
                Err(_) => {}
            }
        }
        heard
    }

    fn tcp<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        tcp(self.is_v4, packet)
    }
}

/// The packet without its IP header, which only IPv4 raw sockets deliver.
pub(super) fn tcp(is_v4: bool, packet: &[u8]) -> &[u8] {
    let length = match (is_v4, packet.first()) {
        (true, Some(first)) => usize::from(first & 15) * 4,
        _ => 0,
    };
    packet.get(length..).unwrap_or_default()
}

/// Lets pass segments without data, SYN and FIN: acknowledgements and resets, on flows with one of
/// these remote and local ports, or on any flow if there are none. At most [`FILTERED`] ports. A raw
/// socket's filter sees an IPv4 packet with its header (`raw_rcv` in net/ipv4/raw.c), an
/// IPv6 packet without (`rawv6_rcv` in net/ipv6/raw.c).
pub(super) fn answers_only(is_v4: bool, ports: &[(u16, u16)]) -> Vec<SockFilter> {
    const SYN_FIN: u32 = 0x03;
    const RST: u32 = 0x04;
    const ACK: u32 = 0x10;
    let instruction = |code: u32, jt, jf, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let load = |size: u32, at: u32| instruction(BPF_LD | size | BPF_IND, 0, 0, at);
    let is = |value: u32, jt, jf| instruction(BPF_JMP | BPF_JEQ | BPF_K, jt, jf, value);
    let has = |bits: u32, jt, jf| instruction(BPF_JMP | BPF_JSET | BPF_K, jt, jf, bits);
    let start = match is_v4 {
        true => instruction(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0),
        false => instruction(BPF_LDX | BPF_IMM, 0, 0, 0),
    };
    // X is where the TCP header starts.
    let mut filter = vec![start];
    if !ports.is_empty() {
        filter.push(load(BPF_W, 0));
        // Past the ports that are left and the return.
        let left = (1..=ports.len()).rev();
        filter.extend(
            ports.iter().zip(left).map(|(&(from, to), left)| {
                is(u32::from(from) << 16 | u32::from(to), left as u8, 0)
            }),
        );
        filter.push(instruction(BPF_RET | BPF_K, 0, 0, 0));
    }
    filter.extend([
        load(BPF_B, 13),
        has(SYN_FIN, 9, 0),
        has(RST, 9, 0),
        has(ACK, 0, 7),
        // A becomes where the data starts, in X, to be compared with the length.
        load(BPF_B, 12),
        instruction(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 4),
        instruction(BPF_ALU | BPF_LSH | BPF_K, 0, 0, 2),
        instruction(BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0),
        instruction(BPF_MISC | BPF_TAX, 0, 0, 0),
        instruction(BPF_LD | BPF_LEN, 0, 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_X, 1, 0, 0),
        instruction(BPF_RET | BPF_K, 0, 0, 0),
        instruction(BPF_RET | BPF_K, 0, 0, u32::MAX),
    ]);
    filter
}
