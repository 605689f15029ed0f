//! The two raw sockets, opened at the first use.
//!
//! One packet socket hears ARP on every link of the namespace: bound to no link, it is not
//! promiscuous and takes ARP frames only, and these say by which link they came. Outgoing
//! frames are not given to a socket of one protocol (`dev_queue_xmit_nit` in net/core/dev.c
//! serves `ETH_P_ALL` alone). Both sockets need CAP_NET_RAW.

use std::{
    io,
    io::IoSliceMut,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    os::fd::AsRawFd as _,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{
        BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, ETH_P_ARP, c_int, in6_pktinfo,
    },
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{
            ControlMessageOwned, LinkAddr, MsgFlags, SockaddrIn6, recvfrom, recvmsg, sendto,
            setsockopt, sockopt,
        },
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tracing::warn;

use super::{Malformed, access, arp, ndp};
use crate::source::probe::{errno_of, worker};

/// Longer than anything that is parsed; the rest of a packet is cut off.
const PACKET: usize = 256;

/// Who lives, and on which link; `None` for a packet that does not say.
type Heard = Result<Option<(IpAddr, u32)>, Malformed>;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    arp: Option<Arp>,
    ndp: Option<Ndp>,
    has_warned: bool,
}

impl Sockets {
    pub(super) fn are_open(&self) -> bool {
        self.arp.is_some() || self.ndp.is_some()
    }

    /// Closes both; the next use opens them again.
    pub(super) fn close(&mut self) {
        (self.arp, self.ndp) = (None, None);
    }

    pub(super) fn arp(&mut self, epoll: &Epoll) -> Result<&Arp, Errno> {
        if self.arp.is_none() {
            let socket = self.register(open_arp(), epoll, worker::ARP)?;
            self.arp = Some(Arp(socket));
        }
        self.arp.as_ref().ok_or(Errno::EBADF)
    }

    pub(super) fn ndp(&mut self, epoll: &Epoll) -> Result<&Ndp, Errno> {
        if self.ndp.is_none() {
            let socket = self.register(open_ndp(), epoll, worker::NDP)?;
            self.ndp = Some(Ndp(socket));
        }
        self.ndp.as_ref().ok_or(Errno::EBADF)
    }

    fn register(
        &mut self,
        opened: Result<Socket, Errno>,
        epoll: &Epoll,
        token: u64,
    ) -> Result<Socket, Errno> {
        let socket = opened.inspect_err(|errno| self.warn_once(*errno))?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(socket)
    }

    fn warn_once(&mut self, errno: Errno) {
        if !self.has_warned {
            warn!(%errno, "{}", access::WITHOUT);
        }
        self.has_warned = true;
    }

    /// The next ARP frame; `None` when there is none.
    pub(super) fn receive_arp(&self) -> Option<Heard> {
        self.arp.as_ref()?.receive()
    }

    /// The next message of neighbour discovery; `None` when there is none.
    pub(super) fn receive_ndp(&self) -> Option<Heard> {
        self.ndp.as_ref()?.receive()
    }
}

#[derive(Debug)]
pub(super) struct Arp(Socket);

impl Arp {
    /// Sends by the link of `address`. Its protocol is not given: the kernel takes it from
    /// the frame (`packet_parse_headers` in net/packet/af_packet.c, since 5.1).
    pub(super) fn send(&self, frame: &[u8], address: &LinkAddr) -> Result<(), Errno> {
        sendto(self.0.as_raw_fd(), frame, address, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    fn receive(&self) -> Option<Heard> {
        let mut frame = [0; PACKET];
        // An error (a link went down, say) is reported once and is no frame.
        let (length, from) = recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut frame).ok()?;
        let link = u32::try_from(from?.ifindex()).ok()?;
        let sender = arp::sender(&frame[..length.min(PACKET)]);
        Some(sender.map(|addr| addr.map(|addr| (addr.into(), link))))
    }
}

#[derive(Debug)]
pub(super) struct Ndp(Socket);

impl Ndp {
    /// Asks the group of `target` on the link; the kernel picks the source address.
    pub(super) fn send(&self, message: &[u8], target: Ipv6Addr, link: u32) -> Result<(), Errno> {
        let to = SockaddrIn6::from(SocketAddrV6::new(ndp::group(target), 0, 0, link));
        sendto(self.0.as_raw_fd(), message, &to, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    fn receive(&self) -> Option<Heard> {
        let mut packet = [0; PACKET];
        let mut parts = [IoSliceMut::new(&mut packet)];
        let mut control = cmsg_space!(in6_pktinfo, c_int);
        let message = recvmsg::<SockaddrIn6>(
            self.0.as_raw_fd(),
            &mut parts,
            Some(control.as_mut_slice()),
            MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        let (mut link, mut hop_limit) = (None, None);
        for part in message.cmsgs().into_iter().flatten() {
            match part {
                ControlMessageOwned::Ipv6PacketInfo(info) => link = Some(info.ipi6_ifindex),
                ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = Some(limit),
                _ => {}
            }
        }
        let source = message.address.map(|from| from.ip());
        let length = message.bytes.min(PACKET);
        let (Some(link), Some(hop_limit), Some(source)) = (link, hop_limit, source) else {
            return Some(Ok(None));
        };
        let sender = ndp::sender(&packet[..length], source, hop_limit);
        Some(sender.map(|addr| addr.map(|addr| (addr.into(), link))))
    }
}

/// A packet socket for ARP alone.
pub(super) fn open_arp() -> Result<Socket, Errno> {
    let protocol = Protocol::from(i32::from((ETH_P_ARP as u16).to_be()));
    Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))
        .map_err(|error| errno_of(&error))
}

/// A raw socket for the two messages of ICMPv6 that count.
pub(super) fn open_ndp() -> Result<Socket, Errno> {
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::IPV6,
            Type::RAW.nonblocking(),
            Some(Protocol::ICMPV6),
        )?;
        socket.attach_filter(&ndp_only())?;
        socket.set_multicast_hops_v6(ndp::HOP_LIMIT.into())?;
        socket.set_recv_hoplimit_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(socket)
    };
    open().map_err(|error| errno_of(&error))
}

/// Keeps pings, router advertisements and errors from waking the thread. A raw socket's
/// filter sees the packet from its ICMPv6 header on, whose first byte is the type
/// (`rawv6_rcv_skb` in net/ipv6/raw.c).
fn ndp_only() -> [SockFilter; 5] {
    let instruction = |code: u32, jt, jf, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let is = BPF_JMP | BPF_JEQ | BPF_K;
    [
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        instruction(is, 1, 0, ndp::ADVERTISEMENT.into()),
        instruction(is, 0, 1, ndp::SOLICITATION.into()),
        instruction(BPF_RET | BPF_K, 0, 0, u32::MAX),
        instruction(BPF_RET | BPF_K, 0, 0, 0),
    ]
}
