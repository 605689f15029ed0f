//! The raw socket that all keepalives of a round share which leave from one local address.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
};

use nix::{
    errno::Errno,
    sys::socket::{
        MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{FILTERED, PACKET, answers_only, tcp};
use crate::source::probe::errno_of;

/// Segments that are sent or received by one system call.
pub(super) const AT_A_TIME: usize = 64;

/// Room for the answers of some thousand peers. It takes no memory while nothing waits in it.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The remote and the local port of a flow.
pub(super) type Ports = (u16, u16);

#[derive(Debug)]
pub(super) struct SharedSocket {
    socket: Socket,
    local: IpAddr,
}

impl SharedSocket {
    /// Opens it in the calling thread's network namespace.
    pub(super) fn open(local: IpAddr, ports: &[Ports]) -> Result<Self, Errno> {
        let open = || -> io::Result<Self> {
            let domain = if local.is_ipv4() {
                Domain::IPV4
            } else {
                Domain::IPV6
            };
            let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::TCP))?;
            let shared = Self { socket, local };
            shared.filter(ports)?;
            let socket = &shared.socket;
            if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                // Without CAP_NET_ADMIN, as much as everybody gets.
                socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            }
            socket.bind(&SocketAddr::new(local, 0).into())?;
            Ok(shared)
        };
        open().map_err(|error| errno_of(&error))
    }

    /// Lets pass what may be answers on flows with these ports; on all flows if they are many.
    pub(super) fn filter(&self, ports: &[Ports]) -> io::Result<()> {
        let some = if ports.len() <= FILTERED { ports } else { &[] };
        let filter = answers_only(self.local.is_ipv4(), some);
        self.socket.attach_filter(&filter)
    }

    /// Sends up to [`AT_A_TIME`] segments; returns how many were sent. An error means that the
    /// first was not.
    pub(super) fn send(&self, segments: &[(IpAddr, Vec<u8>)]) -> Result<usize, Errno> {
        let slices = segments.iter().map(|(_, bytes)| [IoSlice::new(bytes)]);
        let slices: Vec<_> = slices.take(AT_A_TIME).collect();
        let to = |(host, _): &(IpAddr, _)| Some(SockaddrStorage::from(SocketAddr::new(*host, 0)));
        let to: Vec<_> = segments.iter().map(to).collect();
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let sent = sendmmsg(socket, &mut headers, &slices, &to, [], flags)?;
        Ok(sent.count())
    }

    /// Calls `hear` with up to [`AT_A_TIME`] segments that have arrived, each from its TCP header
    /// on, and the host that it came from. Returns how many there were.
    pub(super) fn receive(&self, mut hear: impl FnMut(IpAddr, &[u8])) -> usize {
        let mut packets = vec![[0; PACKET]; AT_A_TIME];
        let mut slices: Vec<_> = packets
            .iter_mut()
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(AT_A_TIME, None);
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        // An error comes from the network ("unreachable") and is no answer, or says that there is
        // nothing.
        let Ok(received) = recvmmsg(socket, &mut headers, &mut slices, flags, None) else {
            return 0;
        };
        let mut count = 0;
        for message in received {
            count += 1;
            if let (Some(host), Some(packet)) = (sender(&message), message.iovs().next()) {
                hear(host, tcp(self.local.is_ipv4(), packet));
            }
        }
        count
    }
}

fn sender(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    let address = message.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| Some(address.as_sockaddr_in6()?.ip().into()))
}
