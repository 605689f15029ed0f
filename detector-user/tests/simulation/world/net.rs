//! Packets of the flows: who sends what when, what arrives, and what that sets off.

use std::{net::SocketAddr, time::Duration};

use detector_user::core::{FlowEvent, FlowId, Signal, SourceKind, Time};

use super::{Event, World};
use crate::{
    flow::{DELAYED_ACK, Flow},
    host::PORT,
    script::{Kind, Work},
    tcp::{Ack, Out, Phase, Receiver, Response, Sender},
    ticks::{ms, us},
    wire::Way,
};

const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;
/// How long the program waits for a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The peer's own retransmission time-out: 200 ms and what the timer wheel adds.
const PEER_RTO: Duration = ms(208);

impl World {
    pub(super) fn add_flow(&mut self, host: usize, work: Work) {
        let (id, cookie) = self.new_socket(host);
        let mut sender = Sender::connect(
            self.now,
            id,
            cookie,
            15,
            self.hosts[host].wire.round_trip(),
            &mut Vec::new(),
        );
        sender.end(self.now, 0, &mut Vec::new());
        self.flows.push(Flow {
            host,
            work,
            sender,
            receiver: Receiver::new(self.hosts[host].spec.window),
            epoch: 0,
            life: self.hosts[host].life,
            next: self.now,
            replied: 0,
            timer_queued: None,
            delayed_ack_queued: false,
        });
        let (flow, epoch) = (self.flows.len() - 1, 0);
        let at = self.now + self.rng.between(ms(1), ms(500));
        self.queue.push(at, Event::Dial { flow, epoch });
    }

    fn new_socket(&mut self, host: usize) -> (FlowId, u64) {
        self.cookies += 1;
        self.next_port = if self.next_port >= 60_999 {
            30_000
        } else {
            self.next_port + 1
        };
        let id = FlowId {
            netns: 4_026_531_840,
            local: SocketAddr::new([10, 0, 0, 200].into(), self.next_port),
            remote: SocketAddr::new(self.hosts[host].addr, PORT),
        };
        (id, self.cookies)
    }

    /// The flow, unless what is known of it is out of date.
    fn current(&self, flow: usize, epoch: u32) -> bool {
        self.flows[flow].epoch == epoch
    }

    /// A packet sets out; `None` when it does not arrive.
    pub(super) fn carry(&mut self, host: usize, way: Way) -> Option<Time> {
        if self.own_link_down > 0 || self.own_switch_down > 0 {
            return None;
        }
        let Self {
            hosts, rng, now, ..
        } = self;
        hosts[host].wire.carry(*now, way, rng)
    }

    // The observer's end.

    pub(super) fn dial(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) || self.flows[flow].sender.phase != Phase::Closed {
            return;
        }
        let host = self.flows[flow].host;
        let (id, cookie) = self.new_socket(host);
        let srtt = self.hosts[host].wire.round_trip();
        let mut outs = std::mem::take(&mut self.outs);
        let retries = if self.script.seed.is_multiple_of(4) {
            5
        } else {
            15
        };
        let sender = Sender::connect(self.now, id, cookie, retries, srtt, &mut outs);
        let entry = &mut self.flows[flow];
        entry.sender = sender;
        entry.epoch += 1;
        entry.receiver = Receiver::new(self.hosts[host].spec.window);
        (entry.replied, entry.timer_queued, entry.delayed_ack_queued) = (0, None, false);
        let epoch = entry.epoch;
        self.queue
            .push(self.now + CONNECT_TIMEOUT, Event::GiveUp { flow, epoch });
        self.outs = outs;
        self.carry_out(flow);
    }

    pub(super) fn give_up(&mut self, flow: usize, epoch: u32) {
        if self.current(flow, epoch) && self.flows[flow].sender.phase == Phase::SynSent {
            self.end(flow, 0);
        }
    }

    /// The program does its work.
    pub(super) fn work(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        let (now, every) = (self.now, entry.work.every);
        match entry.work.kind {
            Kind::Upload { segments } | Kind::Calls { segments, .. } => {
                // One piece goes after another; of calls so many as fit into the buffer.
                let upload = matches!(entry.work.kind, Kind::Upload { .. });
                let most = if upload { 1 } else { 200 };
                if entry.sender.end - entry.sender.una < most {
                    entry.sender.write(now, segments, &mut self.outs);
                }
                entry.next = now + every;
                self.queue.push(now + every, Event::Work { flow, epoch });
            }
            Kind::Dials => entry.sender.close(now, &mut self.outs),
            Kind::Download | Kind::Idle => {}
        }
        self.carry_out(flow);
    }

    pub(super) fn timer(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        entry.timer_queued = None;
        entry.sender.timeout(self.now, &mut self.outs);
        self.carry_out(flow);
    }

    pub(super) fn syn_ack_arrives(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) || self.flows[flow].sender.phase != Phase::SynSent {
            return;
        }
        let host = self.flows[flow].host;
        let told = self.hosts[host].report_established;
        self.heard(host, true);
        let window = self.hosts[host].spec.window;
        let entry = &mut self.flows[flow];
        entry.life = self.hosts[host].life;
        entry
            .sender
            .established(self.now, window, told, &mut self.outs);
        entry.receiver.stopped = self.hosts[host].stopped > 0;
        entry.receiver.prunes = self.hosts[host].prunes;
        self.carry_out(flow);
        self.begin_work(flow);
    }

    /// Queues what is done on an open flow.
    pub(super) fn begin_work(&mut self, flow: usize) {
        let entry = &mut self.flows[flow];
        let (epoch, at) = (entry.epoch, entry.next.max(self.now + us(100)));
        match entry.work.kind {
            Kind::Upload { .. } | Kind::Calls { .. } | Kind::Dials => {
                self.queue.push(at, Event::Work { flow, epoch });
            }
            Kind::Download => {
                let attempt = 0;
                self.queue.push(
                    at,
                    Event::Reply {
                        flow,
                        epoch,
                        attempt,
                    },
                );
            }
            Kind::Idle => {}
        }
    }

    pub(super) fn reset_arrives(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) {
            return;
        }
        let sender = &self.flows[flow].sender;
        let (host, seen) = (self.flows[flow].host, sender.tracked);
        match sender.phase {
            Phase::SynSent => {
                self.heard(host, true);
                self.end(flow, ECONNREFUSED);
            }
            Phase::Open | Phase::Closing => {
                self.heard(host, seen);
                self.end(flow, ECONNRESET);
            }
            Phase::Closed => {}
        }
    }

    pub(super) fn ack_arrives(&mut self, flow: usize, epoch: u32, ack: Ack) {
        if !self.current(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        entry.sender.ack(self.now, ack, &mut self.outs);
        let (host, open) = (entry.host, entry.sender.phase == Phase::Open);
        self.heard(host, open);
        self.carry_out(flow);
    }

    /// The socket goes, and the program will dial again.
    pub(super) fn end(&mut self, flow: usize, errno: u32) {
        self.flows[flow].sender.end(self.now, errno, &mut self.outs);
        self.carry_out(flow);
    }

    /// Carries out what the sender asked for, and sees to its timer.
    fn carry_out(&mut self, flow: usize) {
        let mut outs = std::mem::take(&mut self.outs);
        let (host, epoch) = (self.flows[flow].host, self.flows[flow].epoch);
        for out in outs.drain(..) {
            let event = match out {
                Out::Event(kind, reading) => {
                    self.ring(Signal::Flow(FlowEvent {
                        at: self.now,
                        source: SourceKind::Ebpf,
                        flow: reading.id,
                        kind,
                        reading: Some(*reading),
                    }));
                    continue;
                }
                Out::Syn => Event::SynArrives { flow, epoch },
                Out::WindowProbe => Event::WindowProbeArrives { flow, epoch },
                Out::Segment(number) => Event::SegmentArrives {
                    flow,
                    epoch,
                    number,
                },
            };
            if let Some(at) = self.carry(host, Way::Out) {
                self.queue.push(at, event);
            }
        }
        self.outs = outs;
        self.see_to(flow);
    }

    fn see_to(&mut self, flow: usize) {
        let pause = self.rng.between(ms(200), ms(1000));
        let entry = &mut self.flows[flow];
        if entry.sender.phase == Phase::Closed {
            entry.epoch += 1;
            let epoch = entry.epoch;
            let pause = match entry.work.kind {
                Kind::Dials => entry.work.every,
                _ => pause,
            };
            entry.next = self.now + pause;
            self.queue.push(entry.next, Event::Dial { flow, epoch });
            return;
        }
        let epoch = entry.epoch;
        if let Some(at) = entry.sender.timer()
            && entry.timer_queued.is_none_or(|queued| at < queued)
        {
            entry.timer_queued = Some(at);
            // The interrupt is served a little later.
            let late = self.rng.between(us(5), us(200));
            self.queue.push(at + late, Event::Timer { flow, epoch });
        }
    }

    // The peer's end.

    pub(super) fn syn_arrives(&mut self, flow: usize, epoch: u32) {
        let host = self.flows[flow].host;
        if !self.current(flow, epoch) || self.hosts[host].off > 0 {
            return;
        }
        if self.hosts[host].down > 0 {
            if !self.hosts[host].spec.firewalled {
                self.reset(flow);
            }
            return;
        }
        if self.takes_connect(host)
            && let Some(at) = self.carry(host, Way::Back)
        {
            self.queue.push(at, Event::SynAckArrives { flow, epoch });
        }
    }

    /// Whether its kernel answers a connect: it does for a stopped program until the accept
    /// queue is full (`tcp_conn_request` drops the SYN then).
    pub(super) fn takes_connect(&mut self, host: usize) -> bool {
        let host = &mut self.hosts[host];
        if host.stopped == 0 {
            return true;
        }
        host.queued += 1;
        host.queued <= host.spec.backlog
    }

    /// Its kernel knows nothing of the connection.
    pub(super) fn reset(&mut self, flow: usize) {
        let (host, epoch) = (self.flows[flow].host, self.flows[flow].epoch);
        if let Some(at) = self.carry(host, Way::Back) {
            self.queue.push(at, Event::ResetArrives { flow, epoch });
        }
    }

    /// Whether a segment of the flow finds its socket; it is answered with a reset if not.
    fn finds_socket(&mut self, flow: usize, epoch: u32) -> bool {
        let entry = &self.flows[flow];
        let host = &self.hosts[entry.host];
        if entry.epoch != epoch || host.off > 0 {
            return false;
        }
        if entry.life != host.life {
            self.reset(flow);
            return false;
        }
        true
    }

    pub(super) fn segment_arrives(&mut self, flow: usize, epoch: u32, number: u64) {
        if !self.finds_socket(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        let (response, new) = entry.receiver.segment(number);
        let mut response = response;
        if let Kind::Calls { segments, reply } = entry.work.kind
            && new
        {
            while entry.replied + segments <= entry.receiver.next {
                entry.replied += segments;
                let after = reply + self.hosts[entry.host].slow;
                let attempt = 0;
                let event = Event::Reply {
                    flow,
                    epoch,
                    attempt,
                };
                self.queue.push(self.now + after, event);
            }
        }
        if response == Response::Later && !entry.delayed_ack_queued {
            entry.delayed_ack_queued = true;
            self.queue
                .push(self.now + DELAYED_ACK, Event::DelayedAck { flow, epoch });
        } else if response == Response::Later && !new {
            response = Response::Now;
        }
        if response == Response::Now {
            self.acknowledge(flow);
        }
    }

    pub(super) fn window_probe_arrives(&mut self, flow: usize, epoch: u32) {
        if self.finds_socket(flow, epoch) {
            self.acknowledge(flow);
        }
    }

    pub(super) fn delayed_ack(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) {
            return;
        }
        self.flows[flow].delayed_ack_queued = false;
        if self.flows[flow].receiver.has_pending() && self.finds_socket(flow, epoch) {
            self.acknowledge(flow);
        }
    }

    pub(super) fn acknowledge(&mut self, flow: usize) {
        let entry = &mut self.flows[flow];
        let (host, epoch) = (entry.host, entry.epoch);
        let ack = entry.receiver.ack();
        if let Some(at) = self.carry(host, Way::Back) {
            self.queue.push(at, Event::AckArrives { flow, epoch, ack });
        }
    }

    /// The peer's program sends something; its kernel does so again until it knows that it
    /// has arrived.
    pub(super) fn reply(&mut self, flow: usize, epoch: u32, attempt: u32) {
        let (host, life) = (self.flows[flow].host, self.flows[flow].life);
        let (now, state) = (self.now, &self.hosts[host]);
        if !self.current(flow, epoch) || state.off > 0 || state.life != life {
            return;
        }
        if state.stopped > 0 && attempt == 0 {
            self.queue.push(
                now + ms(200),
                Event::Reply {
                    flow,
                    epoch,
                    attempt,
                },
            );
            return;
        }
        let ack = self.flows[flow].receiver.ack();
        let arrives = self.carry(host, Way::Back);
        if let Some(at) = arrives {
            self.queue.push(at, Event::AckArrives { flow, epoch, ack });
        }
        let known = arrives.is_some() && self.carry(host, Way::Out).is_some();
        if !known && attempt < 15 {
            let after = PEER_RTO * (1 << attempt.min(9));
            let attempt = attempt + 1;
            self.queue.push(
                now + after,
                Event::Reply {
                    flow,
                    epoch,
                    attempt,
                },
            );
        } else if known && self.flows[flow].work.kind == Kind::Download {
            let (after, attempt) = (self.flows[flow].work.every, 0);
            self.flows[flow].next = now + after;
            self.queue.push(
                now + after,
                Event::Reply {
                    flow,
                    epoch,
                    attempt,
                },
            );
        }
    }
}
