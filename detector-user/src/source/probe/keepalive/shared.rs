//! The raw socket that keepalives share which leave from one local address.
//!
//! The kernel offers every segment that arrives here to such a socket, and copies what the filter
//! lets pass. So while no answer is missing the socket is *parked*: bound to the loopback link, where
//! the segments of other hosts do not arrive. It stays open, because to compile its filter anew for
//! each round takes longer than to send some probes.

use std::{
    collections::BTreeSet,
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

/// The link on which only this host's segments to itself arrive.
const LOOPBACK: &[u8] = b"lo";

/// The remote and the local port of a flow.
pub(super) type Ports = (u16, u16);

/// Which flows' answers a filter lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Passes {
    Only(BTreeSet<Ports>),
    All,
}

impl Passes {
    fn of(wanted: BTreeSet<Ports>) -> Self {
        match wanted.len() <= FILTERED {
            true => Self::Only(wanted),
            false => Self::All,
        }
    }

    /// What the filter should let pass for these flows. If it `keeps` none of those before, it
    /// changes only where it has to: mostly the same flows are probed in each round.
    fn with(&self, wanted: BTreeSet<Ports>, keeps: bool) -> Self {
        match self {
            Self::Only(known) if known.is_superset(&wanted) => self.clone(),
            Self::Only(known) if keeps => Self::of(known.union(&wanted).copied().collect()),
            Self::All if keeps => Self::All,
            _ => Self::of(wanted),
        }
    }
}

#[derive(Debug)]
pub(super) struct SharedSocket {
    socket: Socket,
    local: IpAddr,
    passes: Passes,
    is_parked: bool,
}

impl SharedSocket {
    /// Opens it in the calling thread's network namespace, for flows with these ports.
    pub(super) fn open(local: IpAddr, ports: impl Iterator<Item = Ports>) -> Result<Self, Errno> {
        let open = || -> io::Result<Self> {
            let domain = if local.is_ipv4() {
                Domain::IPV4
            } else {
                Domain::IPV6
            };
            let shared = Self {
                socket: Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::TCP))?,
                local,
                passes: Passes::of(ports.collect()),
                is_parked: false,
            };
            shared.attach()?;
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

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Lets pass what may be answers on flows with these ports, too; on all flows if they are many.
    pub(super) fn listen(&mut self, ports: impl Iterator<Item = Ports>) -> io::Result<()> {
        let passes = self.passes.with(ports.collect(), !self.is_parked);
        if passes != self.passes {
            self.passes = passes;
            self.attach()?;
        }
        if self.is_parked {
            self.socket.bind_device(None)?;
            self.is_parked = false;
        }
        Ok(())
    }

    /// No answer is missing.
    pub(super) fn park(&mut self) -> io::Result<()> {
        if !self.is_parked {
            self.socket.bind_device(Some(LOOPBACK))?;
            self.is_parked = true;
        }
        Ok(())
    }

    fn attach(&self) -> io::Result<()> {
        let ports: Vec<Ports> = match &self.passes {
            Passes::Only(ports) => ports.iter().copied().collect(),
            Passes::All => Vec::new(),
        };
        let filter = answers_only(self.local.is_ipv4(), &ports);
        self.socket.attach_filter(&filter)
    }

    /// Sends up to [`AT_A_TIME`] segments; returns how many were sent. An error means that the
    /// first was not.
    pub(super) fn send(&self, segments: &[(IpAddr, Vec<u8>)]) -> Result<usize, Errno> {
        let some = &segments[..segments.len().min(AT_A_TIME)];
        let slices = some.iter().map(|(_, bytes)| [IoSlice::new(bytes)]);
        let slices: Vec<_> = slices.collect();
        let to = |(host, _): &(IpAddr, _)| Some(SockaddrStorage::from(SocketAddr::new(*host, 0)));
        let to: Vec<_> = some.iter().map(to).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(ports: impl IntoIterator<Item = u16>) -> BTreeSet<Ports> {
        ports.into_iter().map(|port| (9000, port)).collect()
    }

    #[test]
    fn a_filter_knows_the_flows_unless_they_are_many() {
        let few = Passes::of(ports(1..=3));
        assert_eq!(few.with(ports([2]), true), few, "it passes already");
        assert_eq!(few.with(ports([2]), false), few, "it need not change");
        assert_eq!(few.with(ports([4]), true), Passes::Only(ports(1..=4)));
        assert_eq!(few.with(ports([4]), false), Passes::Only(ports([4])));
        let most = FILTERED as u16;
        assert_eq!(few.with(ports(4..=most), true), Passes::of(ports(1..=most)));
        let all = few.with(ports(4..=most + 1), true);
        assert_eq!(all, Passes::All);
        assert_eq!(all.with(ports([2]), true), all, "others are waited for");
        assert_eq!(all.with(ports([2]), false), Passes::Only(ports([2])));
    }
}
