//! Keepalives that can wait: those of all idle peers leave in one turn, and their answers are read
//! in one turn shortly after.
//!
//! The loop's own thread sends and reads them, so that a thousand idle peers wake no other thread,
//! and the loop no more often than one peer. All of a turn share one raw socket for each local
//! address. The kernel copies every segment that arrives here to such a socket, so it is open only
//! until all are answered, and its filter knows the flows, unless they are too many.
//!
//! What is not answered soon is read again after ever longer waits. The owner also reads before it
//! takes an answer for missing.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nix::errno::Errno;
use tracing::debug;

use super::{
    Flows,
    segment::{Heard, Question},
    shared::{AT_A_TIME, Ports, SharedSocket},
};
use crate::{
    clock,
    core::{FlowId, ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Time},
    source::probe::Order,
};

/// How long after the sending the answers are read first: a host on the same network has answered
/// by then.
const FIRST_READ: Duration = Duration::from_millis(1);

/// The most that are received from one socket in one turn.
const MOST_RECEIVED: usize = 64 * AT_A_TIME;

/// A flow by its local and its remote end.
type Ends = (SocketAddr, SocketAddr);

/// The keepalives of idle peers that wait for an answer.
#[derive(Debug)]
pub(in crate::source::probe) struct Round {
    flows: Arc<Flows>,
    /// The network namespace of the thread.
    own: u32,
    /// One for each local address, while answers are missing.
    sockets: BTreeMap<IpAddr, SharedSocket>,
    waiting: HashMap<Ends, Asked>,
    sent_at: Time,
    read_at: Time,
    most: usize,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    order: Order,
    sent_at: Time,
    is_repeated: bool,
}

/// A keepalive that is ready to be sent.
struct Ready {
    order: Order,
    flow: FlowId,
    question: Question,
}

/// Why a keepalive is not sent here.
enum Refused {
    /// Another thread has to send it: it is no keepalive, it leaves from another network namespace,
    /// or by a marked socket.
    Elsewhere,
    Failed(Errno),
}

impl Round {
    /// Up to `most` wait for an answer.
    pub(in crate::source::probe) fn new(flows: Arc<Flows>, own: u32, most: usize) -> Self {
        Self {
            flows,
            own,
            sockets: BTreeMap::new(),
            waiting: HashMap::new(),
            sent_at: Time::default(),
            read_at: Time::default(),
            most,
        }
    }

    /// When [`Self::read`] should be called, if answers are missing.
    pub(in crate::source::probe) fn due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.read_at)
    }

    /// Sends all of these that can be sent here, and returns the others. What became of them is
    /// added to `events`.
    pub(in crate::source::probe) fn send(
        &mut self,
        orders: Vec<Order>,
        events: &mut Vec<ProbeEvent>,
    ) -> Vec<Order> {
        let mut by_local: BTreeMap<IpAddr, Vec<Ready>> = BTreeMap::new();
        let mut elsewhere = Vec::new();
        for order in orders {
            match self.prepare(order) {
                Ok(ready) => by_local
                    .entry(ready.flow.local.ip())
                    .or_default()
                    .push(ready),
                Err(Refused::Elsewhere) => elsewhere.push(order),
                Err(Refused::Failed(errno)) => events.push(failed(&order, errno)),
            }
        }
        if by_local.is_empty() {
            return elsewhere;
        }
        for (local, ready) in by_local {
            match self.open(local, &ready, events) {
                Ok(()) => self.send_from(local, &ready, events),
                Err(errno) => events.extend(ready.iter().map(|one| failed(&one.order, errno))),
            }
        }
        self.sent_at = clock::now();
        // Near hosts have answered the first by the time that the last has left.
        self.read(events);
        elsewhere
    }

    fn prepare(&self, order: Order) -> Result<Ready, Refused> {
        let ProbeTarget::Flow { flow, cookie } = order.target else {
            return Err(Refused::Elsewhere);
        };
        if flow.netns != 0 && flow.netns != self.own {
            return Err(Refused::Elsewhere);
        }
        if self.waiting.len() >= self.most {
            return Err(Refused::Failed(Errno::EAGAIN));
        }
        let next = self.flows.history().next(flow, clock::now());
        let kind = next.ok_or(Refused::Failed(Errno::EAGAIN))?;
        let question = self.flows.question(flow, cookie, kind);
        let (question, mark) = question.map_err(Refused::Failed)?;
        let ready = Ready {
            order,
            flow,
            question,
        };
        (mark == 0).then_some(ready).ok_or(Refused::Elsewhere)
    }

    /// Has the socket of this local address let pass the answers on these flows too, and takes what
    /// came before.
    fn open(
        &mut self,
        local: IpAddr,
        ready: &[Ready],
        events: &mut Vec<ProbeEvent>,
    ) -> Result<(), Errno> {
        let more = ready.iter().map(|ready| ends(&ready.flow));
        let waiting = self.waiting.keys().copied();
        let here = waiting.filter(|(end, _)| end.ip() == local);
        let ports: Vec<Ports> = here.chain(more).map(ports).collect();
        match self.sockets.get(&local) {
            Some(socket) => socket.filter(&ports).map_err(|_| Errno::ENOMEM)?,
            None => {
                let socket = SharedSocket::open(local, &ports)?;
                self.sockets.insert(local, socket);
            }
        }
        self.receive(local, events);
        Ok(())
    }

    fn send_from(&mut self, local: IpAddr, ready: &[Ready], events: &mut Vec<ProbeEvent>) {
        let Some(socket) = self.sockets.get(&local) else {
            return;
        };
        let segment = |one: &Ready| (one.flow.remote.ip(), one.question.segment());
        let segments: Vec<_> = ready.iter().map(segment).collect();
        let mut done = 0;
        while done < ready.len() {
            let sent_at = clock::now();
            let sent = socket.send(&segments[done..]);
            let count = *sent.as_ref().unwrap_or(&1).max(&1);
            for Ready {
                order,
                flow,
                question,
            } in ready.iter().skip(done).take(count)
            {
                // An error is that of the first.
                if let Err(errno) = sent {
                    events.push(failed(order, errno));
                    continue;
                }
                self.flows.history().asked(*flow, sent_at);
                events.push(event(sent_at, order, ProbeOutcome::Sent));
                let asked = Asked {
                    question: *question,
                    order: *order,
                    sent_at,
                    is_repeated: false,
                };
                self.waiting.insert(ends(flow), asked);
            }
            done += count;
        }
    }

    /// Reads the answers that have arrived, and forgets what was not answered in time.
    pub(in crate::source::probe) fn read(&mut self, events: &mut Vec<ProbeEvent>) {
        for local in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.receive(local, events);
        }
        let now = clock::now();
        self.waiting
            .retain(|_, asked| now <= asked.sent_at + asked.order.give_up_after);
        self.read_at = now + now.since(self.sent_at).max(FIRST_READ);
        if self.waiting.is_empty() {
            self.sockets.clear();
        }
    }

    fn receive(&mut self, local: IpAddr, events: &mut Vec<ProbeEvent>) {
        let (waiting, sockets) = (&mut self.waiting, &self.sockets);
        let Some(socket) = sockets.get(&local) else {
            return;
        };
        let mut again = Vec::new();
        let mut received = 0;
        loop {
            let at = clock::now();
            let count = socket.receive(|host, segment| {
                let Some(ends) = ends_of(local, host, segment) else {
                    return;
                };
                let Some(asked) = waiting.get_mut(&ends) else {
                    return;
                };
                match asked.hear(segment) {
                    Some(Answer::Is(answer)) => {
                        let outcome = ProbeOutcome::Answered(answer);
                        events.push(event(at, &asked.order, outcome));
                        waiting.remove(&ends);
                    }
                    Some(Answer::AskAgain) => {
                        again.push((host, asked.question.segment()));
                    }
                    None => {}
                }
            });
            received += count;
            if count < AT_A_TIME || received >= MOST_RECEIVED {
                break;
            }
        }
        for one in again.chunks(1) {
            if let Err(errno) = socket.send(one) {
                debug!(%errno, "cannot ask again what was answered in part");
            }
        }
    }
}

/// What a segment is for the probe that waits.
enum Answer {
    Is(ProbeAnswer),
    /// That is still open: the probe has to be sent again.
    AskAgain,
}

impl Asked {
    fn hear(&mut self, segment: &[u8]) -> Option<Answer> {
        match self.question.hear(segment) {
            Heard::Nothing => None,
            Heard::Ack => Some(Answer::Is(ProbeAnswer::Ack)),
            Heard::Reset => Some(Answer::Is(ProbeAnswer::Reset)),
            Heard::PerhapsAck { window } => {
                let is_first = !std::mem::replace(&mut self.is_repeated, true);
                self.question = self.question.again(window);
                is_first.then_some(Answer::AskAgain)
            }
        }
    }
}

fn ends(flow: &FlowId) -> Ends {
    (flow.local, flow.remote)
}

fn ports((local, remote): Ends) -> Ports {
    (remote.port(), local.port())
}

/// The flow of a segment that came from this host.
fn ends_of(local: IpAddr, host: IpAddr, segment: &[u8]) -> Option<Ends> {
    let (&[a, b, c, d], _) = segment.split_first_chunk()?;
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some((SocketAddr::new(local, to), SocketAddr::new(host, from)))
}

fn failed(order: &Order, errno: Errno) -> ProbeEvent {
    let errno = errno as u32;
    event(clock::now(), order, ProbeOutcome::Failed { errno })
}

fn event(at: Time, order: &Order, outcome: ProbeOutcome) -> ProbeEvent {
    ProbeEvent {
        at,
        probe: order.probe,
        target: order.target,
        outcome,
    }
}
