//! Keepalives that leave together, many at a time: those of all idle peers in one turn of the loop,
//! whose answers are read in one turn shortly after; and those of many flows in doubt, which the
//! thread sends.
//!
//! The loop's own thread sends and reads what can wait, so that a thousand idle peers wake no other
//! thread, and the loop no more often than one peer. All of a turn share one raw socket for each
//! local address, which is parked until then.
//!
//! What is not answered soon is read again after ever longer waits. The owner also reads before it
//! takes an answer for missing.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nix::errno::Errno;
use socket2::Socket;
use tracing::debug;

use super::{
    Asking, Flows,
    segment::{Heard, Question},
    shared::{AT_A_TIME, Ports, SharedSocket},
};
use crate::{
    clock,
    model::{FlowId, ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Time},
    source::probe::Order,
};

/// How long after the sending the answers are read first: a host on the same network has answered
/// by then.
const FIRST_READ: Duration = Duration::from_millis(1);

/// The most that are received from one socket in one turn.
const MOST_RECEIVED: usize = 64 * AT_A_TIME;

/// A socket that was not used for this long is closed: the address may be gone.
const UNUSED: Duration = Duration::from_secs(10);

/// A flow by its local and its remote end.
type Ends = (SocketAddr, SocketAddr);

/// The keepalives that were sent together with others and wait for an answer.
#[derive(Debug)]
pub(in crate::source::probe) struct Round {
    flows: Arc<Flows>,
    /// The network namespace of the thread.
    own: u32,
    /// One for each local address, and when it was last sent from.
    sockets: BTreeMap<IpAddr, (SharedSocket, Time)>,
    waiting: HashMap<Ends, Asked>,
    /// When each of these is given up, in this order. What was answered since is still here.
    deadlines: VecDeque<(Time, Ends)>,
    sent_at: Time,
    read_at: Time,
    most: usize,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    order: Order,
    deadline: Time,
    is_repeated: bool,
}

/// A keepalive that is ready to be sent.
struct Ready {
    order: Order,
    flow: FlowId,
    question: Question,
}

impl Round {
    /// Up to `most` wait for an answer.
    pub(in crate::source::probe) fn new(flows: Arc<Flows>, own: u32, most: usize) -> Self {
        Self {
            flows,
            own,
            sockets: BTreeMap::new(),
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            sent_at: Time::default(),
            read_at: Time::default(),
            most,
        }
    }

    /// When [`Self::read`] should be called, if answers are missing.
    pub(in crate::source::probe) fn due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.read_at)
    }

    /// How many wait for an answer.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the first of those that wait is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Sends all of these that can be sent here, and returns the others: those that are no
    /// keepalives, leave from another network namespace, or by a marked socket. What became of them
    /// is added to `events`. `opened` is called with each new socket.
    pub(in crate::source::probe) fn send(
        &mut self,
        orders: Vec<Order>,
        events: &mut Vec<ProbeEvent>,
        mut opened: impl FnMut(&Socket) -> Result<(), Errno>,
    ) -> Vec<Order> {
        let mut elsewhere = Vec::new();
        let mut by_local: BTreeMap<IpAddr, Vec<Ready>> = BTreeMap::new();
        for ready in self.prepare(orders, &mut elsewhere, events) {
            let local = ready.flow.local.ip();
            by_local.entry(local).or_default().push(ready);
        }
        if by_local.is_empty() {
            return elsewhere;
        }
        for (local, ready) in by_local {
            match self.listen(local, &ready, &mut opened) {
                Ok(()) => {
                    // What came before is no answer to what is sent now.
                    self.receive(local, events);
                    self.send_from(local, &ready, events);
                }
                Err(errno) => events.extend(ready.iter().map(|one| failed(&one.order, errno))),
            }
        }
        self.sent_at = clock::now();
        // Near hosts have answered the first by the time that the last has left.
        self.read(events);
        elsewhere
    }

    fn prepare(
        &self,
        orders: Vec<Order>,
        elsewhere: &mut Vec<Order>,
        events: &mut Vec<ProbeEvent>,
    ) -> Vec<Ready> {
        let now = clock::now();
        let mut asked = Vec::with_capacity(orders.len());
        let (mut asking, mut flows) = (Vec::with_capacity(orders.len()), HashSet::new());
        let history = self.flows.history();
        for order in orders {
            let ProbeTarget::Flow { flow, cookie } = order.target else {
                elsewhere.push(order);
                continue;
            };
            if flow.netns != 0 && flow.netns != self.own {
                elsewhere.push(order);
                continue;
            }
            let has_room = self.waiting.len() + asked.len() < self.most;
            let kind = history.next(flow, now).filter(|_| has_room);
            match kind {
                Some(kind) if flows.insert(flow) => {
                    asked.push(order);
                    asking.push(Asking { flow, cookie, kind });
                }
                _ => events.push(failed(&order, Errno::EAGAIN)),
            }
        }
        drop(history);
        let questions = self.flows.questions(&asking);
        let mut all = Vec::with_capacity(asked.len());
        for ((order, asking), question) in asked.into_iter().zip(asking).zip(questions) {
            match question {
                Ok((question, 0)) => all.push(Ready {
                    order,
                    flow: asking.flow,
                    question,
                }),
                Ok((_, _mark)) => elsewhere.push(order),
                Err(errno) => events.push(failed(&order, errno)),
            }
        }
        all
    }

    /// Has the socket of this local address let pass the answers on these flows, too.
    fn listen(
        &mut self,
        local: IpAddr,
        ready: &[Ready],
        opened: &mut impl FnMut(&Socket) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let ports = ready.iter().map(|ready| ports(ends(&ready.flow)));
        let now = clock::now();
        if let Some((socket, used)) = self.sockets.get_mut(&local) {
            *used = now;
            return socket.listen(ports).map_err(|_| Errno::ENOMEM);
        }
        let socket = SharedSocket::open(local, ports)?;
        opened(socket.socket())?;
        self.sockets.insert(local, (socket, now));
        Ok(())
    }

    fn send_from(&mut self, local: IpAddr, ready: &[Ready], events: &mut Vec<ProbeEvent>) {
        let Some((socket, _)) = self.sockets.get(&local) else {
            return;
        };
        let segment = |one: &Ready| (one.flow.remote.ip(), one.question.segment());
        let segments: Vec<_> = ready.iter().map(segment).collect();
        let mut done = 0;
        while done < ready.len() {
            let sent_at = clock::now();
            let sent = socket.send(&segments[done..]);
            let count = *sent.as_ref().unwrap_or(&1).max(&1);
            let mut history = self.flows.history();
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
                history.asked(*flow, sent_at);
                events.push(event(sent_at, order, ProbeOutcome::Sent));
                let deadline = sent_at + order.give_up_after;
                let asked = Asked {
                    question: *question,
                    order: *order,
                    deadline,
                    is_repeated: false,
                };
                if self.waiting.insert(ends(flow), asked).is_none() {
                    self.deadlines.push_back((deadline, ends(flow)));
                }
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
        self.read_at = now + now.since(self.sent_at).max(FIRST_READ);
        self.give_up(now);
    }

    /// Forgets what was not answered in time. Where no answer is missing, nothing more is received.
    pub(super) fn give_up(&mut self, now: Time) {
        while let Some(&(deadline, ends)) = self.deadlines.front()
            && deadline < now
        {
            self.deadlines.pop_front();
            match self.waiting.get(&ends) {
                // It was sent once more.
                Some(asked) if asked.deadline >= now => {
                    self.deadlines.push_back((asked.deadline, ends));
                }
                Some(_) => drop(self.waiting.remove(&ends)),
                None => {}
            }
        }
        if self.waiting.is_empty() {
            self.deadlines.clear();
            self.sockets.retain(|_, (socket, used)| {
                let is_used = now.since(*used) < UNUSED;
                is_used && socket.park().is_ok()
            });
        }
    }

    fn receive(&mut self, local: IpAddr, events: &mut Vec<ProbeEvent>) {
        let (waiting, sockets) = (&mut self.waiting, &self.sockets);
        let Some((socket, _)) = sockets.get(&local) else {
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
