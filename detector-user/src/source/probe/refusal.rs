//! Who refused a connect: the peer, or something on the way that answers for it?
//!
//! A RST makes `ECONNREFUSED`, and so does an ICMP "port unreachable", which any router or this
//! host's own packet filter can send for a dead peer (`icmp_err_convert` in net/ipv4/icmp.c). With
//! `IP_RECVERR`, an ICMP error that ends a handshake is queued with the address of its sender
//! (`tcp_v4_err` in net/ipv4/tcp_ipv4.c, since 5.8), so the two can be distinguished. An
//! "unreachable" that the peer itself sent, as its packet filter does, shows that it lives. A RST
//! that a router forges cannot be distinguished from the peer's.

use std::{
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err, sockaddr_in, sockaddr_in6},
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
};
use socket2::Socket;

use crate::model::ProbeAnswer;

/// The most errors that are read from a socket's error queue: one error ends a handshake.
const MAX_ERRORS: usize = 4;

/// Room for the packet that caused an error; its content is not used.
const PACKET: usize = 64;

/// An ICMP error about a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unreachable {
    by: Option<IpAddr>,
    errno: i32,
}

/// Whether a connect that ended with `errno` was answered by the peer. Reading the queue resets the
/// socket's error (`sock_dequeue_err_skb`): that must have been read before.
pub(super) fn answer(socket: &Socket, peer: IpAddr, errno: Option<Errno>) -> Option<ProbeAnswer> {
    judge(&queued(socket), peer, errno)
}

fn judge(queued: &[Unreachable], peer: IpAddr, errno: Option<Errno>) -> Option<ProbeAnswer> {
    if queued.iter().any(|error| error.by == Some(peer)) {
        return Some(ProbeAnswer::Unreachable);
    }
    let errno = errno.filter(|errno| matches!(errno, Errno::ECONNREFUSED | Errno::ECONNRESET))?;
    // No ICMP error explains the refusal: it was a RST.
    let is_explained = queued.iter().any(|error| error.errno == errno as i32);
    (!is_explained).then_some(ProbeAnswer::Reset)
}

fn queued(socket: &Socket) -> Vec<Unreachable> {
    (0..MAX_ERRORS).map_while(|_| next(socket)).collect()
}

fn next(socket: &Socket) -> Option<Unreachable> {
    let mut packet = [0; PACKET];
    let mut parts = [IoSliceMut::new(&mut packet)];
    let mut control = cmsg_space!(sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control.as_mut_slice()),
        flags,
    )
    .ok()?;
    message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, by) => Some(unreachable(&error, by.map(v4))),
        ControlMessageOwned::Ipv6RecvErr(error, by) => Some(unreachable(&error, by.map(v6))),
        _ => None,
    })
}

fn unreachable(error: &sock_extended_err, by: Option<IpAddr>) -> Unreachable {
    let is_icmp = [SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
    Unreachable {
        by: by.filter(|_| is_icmp),
        errno: error.ee_errno as i32,
    }
}

fn v4(addr: sockaddr_in) -> IpAddr {
    Ipv4Addr::from(addr.sin_addr.s_addr.to_ne_bytes()).into()
}

fn v6(addr: sockaddr_in6) -> IpAddr {
    IpAddr::from(Ipv6Addr::from(addr.sin6_addr.s6_addr)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn by(by: IpAddr, errno: Errno) -> [Unreachable; 1] {
        [Unreachable {
            by: Some(by),
            errno: errno as i32,
        }]
    }

    #[test]
    fn a_reset_is_an_answer() {
        let reset = Some(ProbeAnswer::Reset);
        assert_eq!(judge(&[], PEER, Some(Errno::ECONNREFUSED)), reset);
        assert_eq!(judge(&[], PEER, Some(Errno::ECONNRESET)), reset);
    }

    #[test]
    fn what_this_host_or_a_router_says_is_none() {
        for errno in [Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::ETIMEDOUT] {
            assert_eq!(judge(&[], PEER, Some(errno)), None);
            assert_eq!(judge(&by(ROUTER, errno), PEER, Some(errno)), None);
        }
        let refused = Errno::ECONNREFUSED;
        assert_eq!(judge(&by(ROUTER, refused), PEER, Some(refused)), None);
        assert_eq!(judge(&[], PEER, None), None);
    }

    #[test]
    fn an_unreachable_from_the_peer_itself_is_an_answer() {
        for errno in [Errno::ECONNREFUSED, Errno::EHOSTUNREACH] {
            let answer = judge(&by(PEER, errno), PEER, Some(errno));
            assert_eq!(answer, Some(ProbeAnswer::Unreachable));
        }
    }

    #[test]
    fn a_reset_after_a_router_s_hint_is_still_an_answer() {
        let answer = judge(
            &by(ROUTER, Errno::EHOSTUNREACH),
            PEER,
            Some(Errno::ECONNREFUSED),
        );
        assert_eq!(answer, Some(ProbeAnswer::Reset));
    }
}
