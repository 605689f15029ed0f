//! The observer's end of the flows: what its program and its kernel send and receive.

use std::{net::SocketAddr, time::Duration};

use detector_user::model::{FlowEvent, FlowId, Signal, SourceKind};

use super::{Event, World};
use crate::{
    checks::Layer,
    flow::Flow,
    host::PORT,
    script::{Kind, Work},
    tcp::{Ack, Out, Phase, Receiver, Sender},
    ticks::{ms, us},
    wire::Way,
};

const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;
/// How long the program waits for a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
            reply_arrived: false,
            delayed_ack_queued: false,
            hole: None,
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
    pub(super) fn current(&self, flow: usize, epoch: u32) -> bool {
        self.flows[flow].epoch == epoch
    }

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
        entry.sender.size = entry.work.size;
        entry.epoch += 1;
        entry.hole = None;
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
                // One piece of work comes after another; for calls, as many as fit into the buffer.
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
        // A connection that is closed at once is in no snapshot.
        let lasts = self.flows[flow].work.kind != Kind::Dials;
        self.heard(host, Layer::Host, told || lasts);
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
                self.heard(host, Layer::Host, true);
                self.end(flow, ECONNREFUSED);
            }
            Phase::Open | Phase::Closing => {
                self.heard(host, Layer::Host, seen);
                self.end(flow, ECONNRESET);
                let is_open = |flow: &Flow| flow.host == host && flow.sender.phase == Phase::Open;
                if !seen && !self.flows.iter().any(is_open) {
                    self.checks.forget_since_look(host);
                }
            }
            Phase::Closed => {}
        }
    }

    /// `answers` where it went because something of ours had arrived; else it carries data.
    pub(super) fn ack_arrives(&mut self, flow: usize, epoch: u32, ack: Ack, answers: bool) {
        if !self.current(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        let before = entry.sender.una;
        entry.sender.ack(self.now, ack, &mut self.outs);
        if !answers {
            entry.sender.data_arrived(self.now);
        }
        let (host, open) = (entry.host, entry.sender.phase == Phase::Open);
        let layer = if answers || entry.sender.una > before {
            Layer::Host
        } else {
            Layer::Received
        };
        self.heard(host, layer, open);
        self.carry_out(flow);
    }

    /// What the peer sent again has arrived before: it acknowledges nothing.
    pub(super) fn duplicate_arrives(&mut self, flow: usize, epoch: u32) {
        if !self.current(flow, epoch) {
            return;
        }
        let entry = &mut self.flows[flow];
        entry.sender.duplicate_arrived();
        let (host, open) = (entry.host, entry.sender.phase == Phase::Open);
        self.heard(host, Layer::Received, open);
    }

    /// The socket goes, and the program will dial again.
    pub(super) fn end(&mut self, flow: usize, errno: u32) {
        self.flows[flow].sender.end(self.now, errno, &mut self.outs);
        self.carry_out(flow);
    }

    /// Carries out the sender's output, and arms its timer.
    fn carry_out(&mut self, flow: usize) {
        let mut outs = std::mem::take(&mut self.outs);
        let epoch = self.flows[flow].epoch;
        for out in outs.drain(..) {
            let (event, size) = match out {
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
                Out::Syn => (Event::SynArrives { flow, epoch }, 0),
                Out::WindowProbe => (Event::WindowProbeArrives { flow, epoch }, 0),
                Out::Segment(number) => {
                    let event = Event::SegmentArrives {
                        flow,
                        epoch,
                        number,
                    };
                    (event, self.flows[flow].work.size)
                }
            };
            if let Some(at) = self.carry_segment(flow, Way::Out, size) {
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
}
