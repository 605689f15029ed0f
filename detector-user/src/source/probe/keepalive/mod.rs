//! Keepalive segments on watched flows: the probe that proves the most and disturbs the least.
//!
//! ```text
//!   SequenceReader ── snd_una, rcv_wup, … ──▶ Question ── segment ──▶ raw socket ──▶ peer
//!                                              hear() ◀── its ACK or RST ── filter ◀──┘
//! ```
//!
//! The segment is the one that the kernel's own keepalive sends (RFC 9293, section 3.8.4): it
//! begins one byte before what the peer has acknowledged. A kernel that knows the flow acknowledges
//! it, whatever its programs do and however full their buffers are. A peer that restarted answers
//! with a reset, which our kernel takes as well: calls that wait on the flow end. Firewalls let the
//! segment pass, limits on new connections do not count it, and the peer's program never sees it.
//!
//! # Two kinds
//!
//! A *plain* keepalive carries no data. It lies before the peer's window, so that its kernel
//! discards it unread and only acknowledges. Linux does so once in 500 ms for each socket
//! (`tcp_invalid_ratelimit`; `tcp_oow_rate_limited` in net/ipv4/tcp_input.c), and drops the others
//! silently. So a keepalive within [`PLAIN_SPACING`] of the last one carries *one octet*, which the
//! peer already has and drops again (RFC 1122, section 4.2.3.6): that is acknowledged each time,
//! with a D-SACK (RFC 2883) where the flow has SACK. A D-SACK tells our kernel that something was
//! sent twice for nothing. Our kernel ignores a D-SACK that answers no retransmission, but on a
//! flow with losses it may undo a reduction of the congestion window (of 100 octets a second at 2 %
//! loss, two did). So octets are only for a
//! flow that is already in doubt, and for the one that is probed beside it as a reference.
//!
//! Our kernel's own window probes look like plain keepalives, and use up the peer's limit of
//! answers: so an octet is also sent where the window is closed.
//!
//! Everything else in the segment repeats what our kernel last sent to the peer (acknowledgement,
//! window), so that a peer that reads it learns nothing new.
//!
//! # What counts as an answer
//!
//! A segment of this flow without data, SYN and FIN, that arrives while the probe waits, begins at
//! or after the next byte that we expect, and acknowledges at least what was acknowledged when we
//! sent the probe:
//!
//! - it acknowledges more: data that was in flight has reached the peer; or
//! - it names our octet in a D-SACK; or
//! - its window is the one that we knew: a kernel sends such a segment only in response to one of
//!   ours.
//!
//! What a peer that receives nothing from us sends on its own does not count: data; its keepalives
//! and window probes, which begin *before* the next byte that we expect; its retransmissions. One
//! kind of segment looks like an answer and may be none: an acknowledgement that changes only the
//! window, which a kernel also sends when its program reads. If the first answer is of this kind,
//! the probe is sent once more, with an octet, and that must be answered. One inaccuracy remains:
//! an acknowledgement that left the peer before our probe reached it counts, so an answer may be
//! older than the probe by one way across the network and a delayed ACK (40 to 200 ms). A middlebox
//! that keeps connections for the peer, or resets them for it, answers in its place.
//!
//! A forged answer must match numbers that the forger does not know: `snd_una` exactly or within
//! two windows after it, and the same with `rcv_nxt`. A reset must match exactly.
//!
//! # Flows that cannot be probed
//!
//! Flows that are not established yet, listening sockets, and those whose segments are signed
//! (TCP-MD5, TCP-AO): peers drop unsigned segments. Flows bound to a link by name, or in a VRF, are
//! not found. Where the kernel spreads flows over several routes by their ports
//! (`fib_multipath_hash_policy` 1), a raw segment may leave by another route than its flow's.

mod flows;
mod history;
mod proof;
mod round;
mod segment;
mod shared;
mod socket;

use std::{collections::HashMap, sync::Arc};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollEvent, EpollFlags},
};
use socket2::Socket;
use tracing::debug;

use self::{
    flows::Asking,
    segment::{Heard, Kind, Question},
    socket::RawSocket,
};
pub(super) use self::{flows::Flows, round::Round};
pub use self::{
    history::{LEAST_SPACING, PLAIN_SPACING},
    proof::{KeepaliveProofError, prove},
    segment::any_segment,
};
use super::{Order, report::Report, waiting::Waiting};
use crate::{
    clock, files,
    model::{FlowId, ProbeAnswer, ProbeId, ProbeTarget, Time},
    netns::Namespaces,
};

/// Tokens of raw sockets have this bit, and those of connects do not.
pub(super) const TOKEN: u64 = 1 << 62;
/// The token of all raw sockets that are shared.
pub(super) const TOGETHER: u64 = u64::MAX - 3;

/// From so many on, keepalives share their sockets, whose filter then no longer knows the flows:
/// where so much stalls, it costs less to look at each acknowledgement than to open a socket for each
/// probe.
const MANY: usize = socket::FILTERED;

/// The keepalive probes that wait for an answer, at most one for each flow.
#[derive(Debug)]
pub(super) struct Keepalives {
    flows: Arc<Flows>,
    namespaces: Namespaces,
    waiting: Waiting<Asked>,
    by_flow: HashMap<FlowId, u64>,
    /// Those that were sent together, by sockets that they share.
    together: Round,
    max: usize,
}

#[derive(Debug)]
struct Asked {
    socket: RawSocket,
    question: Question,
    flow: FlowId,
    probe: ProbeId,
    target: ProbeTarget,
    is_repeated: bool,
}

impl Keepalives {
    /// Up to `most` probes wait at a time, and no more than this process may open sockets for.
    pub(super) fn new(flows: Arc<Flows>, namespaces: Namespaces, most: usize) -> Self {
        Self {
            together: Round::new(Arc::clone(&flows), namespaces.own(), most),
            flows,
            namespaces,
            waiting: Waiting::new(),
            by_flow: HashMap::new(),
            max: files::Shares::now().keepalives.min(most),
        }
    }

    /// If these probes are many, sends the keepalives among them that can share sockets, and returns
    /// the others.
    pub(super) fn send_together(
        &mut self,
        epoll: &Epoll,
        orders: Vec<Order>,
        report: &mut Report,
    ) -> Vec<Order> {
        if self.waiting.len() + self.together.len() + orders.len() < MANY {
            return orders;
        }
        let is_alone = |order: &Order| match order.target {
            ProbeTarget::Flow { flow, .. } => self.by_flow.contains_key(&flow),
            _ => true,
        };
        let (mut others, together) = orders.into_iter().partition(is_alone);
        let mut events = Vec::new();
        let listen = |socket: &Socket| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, TOGETHER);
            epoll.add(socket, event)
        };
        let elsewhere = self.together.send(together, &mut events, listen);
        others.extend(elsewhere);
        events.into_iter().for_each(|event| report.event(event));
        others
    }

    /// Segments arrived on sockets that keepalives share.
    pub(super) fn read_together(&mut self, report: &mut Report) {
        let mut events = Vec::new();
        self.together.read(&mut events);
        events.into_iter().for_each(|event| report.event(event));
    }

    /// Sends a keepalive on the flow, from its own network namespace. An error means that nothing
    /// was sent.
    pub(super) fn send(
        &mut self,
        epoll: &Epoll,
        order: &Order,
        flow: FlowId,
        cookie: u64,
        report: &mut Report,
    ) -> Result<(), Errno> {
        if let Some(&token) = self.by_flow.get(&flow) {
            return self.send_again(token, order, flow, report);
        }
        if self.waiting.len() >= self.max {
            return Err(Errno::EAGAIN);
        }
        let sent_at = clock::now();
        let next = self.flows.history().next(flow, sent_at);
        let kind = next.ok_or(Errno::EAGAIN)?;
        let (socket, question) = self.ask(flow, cookie, kind)?;
        self.flows.history().asked(flow, sent_at);
        let token = TOKEN | self.waiting.next_token();
        epoll.add(socket.socket(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        report.sent(sent_at, order);
        let asked = Asked {
            socket,
            question,
            flow,
            probe: order.probe,
            target: order.target,
            is_repeated: false,
        };
        let deadline = sent_at + order.give_up_after;
        self.by_flow
            .insert(flow, self.waiting.insert(deadline, asked));
        Ok(())
    }

    /// Sends a keepalive on a flow where one waits for its answer already: one answer will do for
    /// both.
    fn send_again(
        &mut self,
        token: u64,
        order: &Order,
        flow: FlowId,
        report: &mut Report,
    ) -> Result<(), Errno> {
        let sent_at = clock::now();
        let next = self.flows.history().next(flow, sent_at);
        next.ok_or(Errno::EAGAIN)?;
        let asked = self.waiting.get_mut(token).ok_or(Errno::EAGAIN)?;
        if asked.target != order.target {
            return Err(Errno::ESTALE);
        }
        asked.question = asked.question.with_octet();
        asked.socket.send(&asked.question.segment())?;
        asked.probe = order.probe;
        self.flows.history().asked(flow, sent_at);
        report.sent(sent_at, order);
        Ok(())
    }

    fn ask(&self, flow: FlowId, cookie: u64, kind: Kind) -> Result<(RawSocket, Question), Errno> {
        let ask = || {
            let asking = [Asking { flow, cookie, kind }];
            let question = self.flows.questions(&asking).pop();
            let (question, mark) = question.ok_or(Errno::ENOTCONN)??;
            ask(flow, question, mark)
        };
        if flow.netns == 0 || flow.netns == self.namespaces.own() {
            return ask();
        }
        let others = self.namespaces.others();
        // The namespace has disappeared since the probe was requested.
        let namespace = others.get(&flow.netns).ok_or(Errno::ENETUNREACH)?;
        let asked = namespace.within(ask);
        asked.map_err(|error| super::errno_of(&error))?
    }

    /// Segments arrived on the socket of this token.
    pub(super) fn ready(&mut self, token: u64, at: Time, report: &mut Report) {
        let token = token & !TOKEN;
        let Some(asked) = self.waiting.get_mut(token) else {
            return;
        };
        let Some(answer) = asked.hear() else {
            return;
        };
        let (flow, probe, target) = (asked.flow, asked.probe, asked.target);
        self.by_flow.remove(&flow);
        if self.waiting.answer(token, at).is_some() {
            report.answered(at, probe, target, answer);
        }
    }

    /// Closes the sockets of probes that were not answered in time.
    pub(super) fn give_up(&mut self, now: Time) {
        while let Some((_, asked)) = self.waiting.pop_expired(now) {
            self.by_flow.remove(&asked.flow);
        }
        self.together.give_up(now);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let deadlines = [self.waiting.deadline(), self.together.deadline()];
        deadlines.into_iter().flatten().min()
    }
}

impl Asked {
    /// Whether the segments that arrived answer the probe. If they leave that open, another
    /// keepalive is sent, once.
    fn hear(&mut self) -> Option<ProbeAnswer> {
        let question = self.question;
        for heard in self.socket.receive(|segment| question.hear(segment)) {
            match heard {
                Heard::Nothing => {}
                Heard::Ack => return Some(ProbeAnswer::Ack),
                Heard::Reset => return Some(ProbeAnswer::Reset),
                Heard::PerhapsAck { window } => self.ask_again(window),
            }
        }
        None
    }

    fn ask_again(&mut self, window: u32) {
        if self.is_repeated {
            return;
        }
        self.is_repeated = true;
        self.question = self.question.again(window);
        if let Err(errno) = self.socket.send(&self.question.segment()) {
            debug!(flow = %self.flow, %errno, "cannot ask again what was answered in part");
        }
    }
}

/// Sends the segment; called in the flow's network namespace.
fn ask(flow: FlowId, question: Question, mark: u32) -> Result<(RawSocket, Question), Errno> {
    let socket = RawSocket::open(&flow, mark)?;
    socket.ask(&question.segment())?;
    Ok((socket, question))
}
