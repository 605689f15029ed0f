//! The two packet sockets for ARP and NDP, opened at the first use.
//!
//! One receives ARP and one receives neighbour discovery on every link of the namespace: they are
//! not bound to a link, are not promiscuous, take only frames of their protocol, and report the
//! link of each frame. Outgoing frames are not given to a socket of one protocol
//! (`dev_queue_xmit_nit` in net/core/dev.c serves `ETH_P_ALL` alone). For IPv6 a filter in the
//! kernel takes only the two message types that count, before anything is copied. Both sockets need
//! CAP_NET_RAW.

use std::{io, net::IpAddr, os::fd::AsRawFd as _};

use nix::{
    errno::Errno,
    libc::{
        BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, ETH_P_ARP, ETH_P_IPV6, c_int,
    },
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{LinkAddr, MsgFlags, recvfrom, sendto},
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tracing::warn;

use super::{access, arp, malformed::Malformed, ndp};
use crate::{
    model::HardwareAddress,
    source::probe::{errno_of, worker},
};

/// Room for a frame of most links; the rest of a longer one is cut off.
const FRAME: usize = 2048;

/// A neighbour that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) addr: IpAddr,
    /// The link it was heard on.
    pub(super) link: u32,
    pub(super) hardware: HardwareAddress,
}

/// `None` for a frame that shows no neighbour.
type Received = Result<Option<Heard>, Malformed>;

/// Reads the sender from a frame of one protocol.
type Read = fn(&[u8]) -> Result<Option<(IpAddr, HardwareAddress)>, Malformed>;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    arp: Option<Frames>,
    ndp: Option<Frames>,
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

    pub(super) fn arp(&mut self, epoll: &Epoll) -> Result<&Frames, Errno> {
        if self.arp.is_none() {
            let socket = self.register(open_arp(), epoll, worker::ARP)?;
            let read =
                |frame: &[u8]| Ok(arp::sender(frame)?.map(|(addr, card)| (addr.into(), card)));
            self.arp = Some(Frames { socket, read });
        }
        self.arp.as_ref().ok_or(Errno::EBADF)
    }

    pub(super) fn ndp(&mut self, epoll: &Epoll) -> Result<&Frames, Errno> {
        if self.ndp.is_none() {
            let socket = self.register(open_ndp(), epoll, worker::NDP)?;
            let read =
                |frame: &[u8]| Ok(ndp::sender(frame)?.map(|(addr, card)| (addr.into(), card)));
            self.ndp = Some(Frames { socket, read });
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
    pub(super) fn receive_arp(&self) -> Option<Received> {
        self.arp.as_ref()?.receive()
    }

    /// The next message of neighbour discovery; `None` when there is none.
    pub(super) fn receive_ndp(&self) -> Option<Received> {
        self.ndp.as_ref()?.receive()
    }
}

/// A packet socket for the frames of one protocol.
#[derive(Debug)]
pub(super) struct Frames {
    socket: Socket,
    read: Read,
}

impl Frames {
    /// Sends through the link of `address`. The protocol is not given: the kernel takes it from the
    /// frame (`packet_parse_headers` in net/packet/af_packet.c, since 5.1).
    pub(super) fn send(&self, frame: &[u8], address: &LinkAddr) -> Result<(), Errno> {
        let socket = self.socket.as_raw_fd();
        sendto(socket, frame, address, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    fn receive(&self) -> Option<Received> {
        let mut frame = [0; FRAME];
        // An error (a link went down, say) is reported once and is no frame.
        let (length, from) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame).ok()?;
        let link = u32::try_from(from?.ifindex()).ok()?;
        let heard = |(addr, hardware)| Heard {
            addr,
            link,
            hardware,
        };
        let sender = (self.read)(&frame[..length.min(FRAME)]);
        Some(sender.map(|sender| sender.map(heard)))
    }
}

/// A packet socket for ARP alone.
pub(super) fn open_arp() -> Result<Socket, Errno> {
    open(ETH_P_ARP).map_err(|error| errno_of(&error))
}

/// A packet socket for the two messages of neighbour discovery. Frames that arrive before the
/// filter is attached are read like the rest, and ignored.
pub(super) fn open_ndp() -> Result<Socket, Errno> {
    let socket = open(ETH_P_IPV6).and_then(|socket| {
        socket.attach_filter(&ndp_only())?;
        Ok(socket)
    });
    socket.map_err(|error| errno_of(&error))
}

fn open(protocol: c_int) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from((protocol as u16).to_be()));
    Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))
}

/// Keeps all other IPv6 from waking the thread, and from being copied. The filter of a packet
/// socket sees the frame from its Ethernet header on (`packet_rcv` in net/packet/af_packet.c).
fn ndp_only() -> [SockFilter; 7] {
    let instruction = |code: u32, jt, jf, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let byte = |place: usize| instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, place as u32);
    let is = BPF_JMP | BPF_JEQ | BPF_K;
    [
        byte(ndp::NEXT_HEADER),
        instruction(is, 0, 4, ndp::ICMPV6.into()),
        byte(ndp::MESSAGE),
        instruction(is, 1, 0, ndp::ADVERTISEMENT.into()),
        instruction(is, 0, 1, ndp::SOLICITATION.into()),
        instruction(BPF_RET | BPF_K, 0, 0, u32::MAX),
        instruction(BPF_RET | BPF_K, 0, 0, 0),
    ]
}
