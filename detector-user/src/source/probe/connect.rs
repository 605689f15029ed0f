//! TCP connects that are taken back as soon as they are answered.
//!
//! The handshake is never finished: with `TCP_QUICKACK` off, the kernel delays the ACK of the
//! SYN-ACK (`tcp_rcv_synsent_state_process` in net/ipv4/tcp_input.c, up to 200 ms), and closing
//! with a linger time of zero sends a RST in its place. The peer's program never sees the
//! connection, and neither side keeps anything in `TIME_WAIT`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{setsockopt, sockopt},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use super::{Order, errno_of, refusal, report::Report, waiting::Waiting};
use crate::{
    clock, files,
    model::{Endpoint, ProbeAnswer, ProbeId, ProbeTarget, Time},
    netns::Namespaces,
};

/// The kernel sends a SYN again after one second (`TCP_TIMEOUT_INIT` in include/net/tcp.h), which
/// the sources would take for evidence about the peer. So each connect is closed before that.
const CLOSED_AFTER: Duration = Duration::from_millis(900);

/// The connects that wait for an answer.
#[derive(Debug)]
pub(super) struct Connects {
    waiting: Waiting<Connecting>,
    max: usize,
    namespaces: Namespaces,
}

#[derive(Debug)]
struct Connecting {
    socket: Socket,
    probe: ProbeId,
    target: ProbeTarget,
}

impl Connects {
    /// Allows up to `most` connects at a time, and no more than the process may open.
    pub(super) fn new(namespaces: Namespaces, most: usize) -> Self {
        Self {
            namespaces,
            waiting: Waiting::new(),
            max: files::Shares::now().connects.min(most),
        }
    }

    /// Sends the SYN, from another network namespace than the thread's where one is named. An error
    /// means that it was not sent.
    pub(super) fn send(
        &mut self,
        epoll: &Epoll,
        order: &Order,
        from: Option<u32>,
        endpoint: Endpoint,
        report: &mut Report,
    ) -> Result<(), Errno> {
        if self.waiting.len() >= self.max {
            return Err(Errno::EAGAIN);
        }
        let addr = endpoint.addr.to_canonical();
        let socket = match from {
            None => open(addr),
            Some(netns) => self.open_in(netns, addr),
        };
        let socket = socket.map_err(|error| errno_of(&error))?;
        let sent_at = clock::now();
        let connected = socket.connect(&SocketAddr::new(addr, endpoint.port).into());
        match connected.as_ref().map_err(errno_of) {
            Err(Errno::EINPROGRESS) => {
                // Added after the connect: a socket that does nothing yet is "hung up".
                let event = EpollEvent::new(EpollFlags::EPOLLOUT, self.waiting.next_token());
                epoll.add(&socket, event)?;
                report.sent(sent_at, order);
                let deadline = sent_at + order.give_up_after.min(CLOSED_AFTER);
                self.waiting.insert(
                    deadline,
                    Connecting {
                        socket,
                        probe: order.probe,
                        target: order.target,
                    },
                );
            }
            // Answered before connect() returned: only this host itself can do that.
            Ok(()) => {
                report.sent(sent_at, order);
                let answer = ProbeAnswer::SynAck;
                report.answered(clock::now(), order.probe, order.target, answer);
            }
            Err(errno @ (Errno::ECONNREFUSED | Errno::ECONNRESET)) => {
                report.sent(sent_at, order);
                if let Some(answer) = refusal::answer(&socket, addr, Some(errno)) {
                    report.answered(clock::now(), order.probe, order.target, answer);
                }
            }
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn open_in(&self, netns: u32, addr: IpAddr) -> io::Result<Socket> {
        let others = self.namespaces.others();
        // The namespace has disappeared since the probe was requested.
        let gone = || io::Error::from(Errno::ENETUNREACH);
        others.get(&netns).ok_or_else(gone)?.within(|| open(addr))?
    }

    /// The connect with this token has ended.
    pub(super) fn ready(&mut self, token: u64, flags: EpollFlags, at: Time, report: &mut Report) {
        let Some(connecting) = self.waiting.answer(token, at) else {
            return;
        };
        let Connecting {
            socket,
            probe,
            target,
        } = connecting;
        let is_error = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let answer = if is_error {
            let error = socket.take_error().ok().flatten();
            let errno = error.as_ref().map(errno_of);
            let answer = refusal::answer(&socket, target.addr().to_canonical(), errno);
            if answer.is_none() {
                debug!(%target, ?error, "a probe came to nothing; the peer did not say so itself");
            }
            answer
        } else {
            Some(ProbeAnswer::SynAck)
        };
        if let Some(answer) = answer {
            report.answered(at, probe, target, answer);
        }
    }

    /// Closes the connects that were not answered in time.
    pub(super) fn give_up(&mut self, now: Time) {
        while self.waiting.pop_expired(now).is_some() {}
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.deadline()
    }
}

/// A socket that leaves nothing behind when it is closed.
fn open(addr: IpAddr) -> io::Result<Socket> {
    let domain = match addr {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_quickack(false)?;
    // Makes the kernel report who sent an ICMP error: see `refusal`.
    match addr {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(socket)
}
