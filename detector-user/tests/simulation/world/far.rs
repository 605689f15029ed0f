//! The peer's end of the flows: its kernel's answers, and what its program sends.

use std::time::Duration;

use detector_user::model::Time;

use super::{Event, World};
use crate::{flow::DELAYED_ACK, script::Kind, tcp::Response, ticks::ms, wire::Way};

/// The peer's own retransmission time-out: 200 ms and what the timer wheel adds.
const PEER_RTO: Duration = ms(208);

impl World {
    pub(super) fn syn_arrives(&mut self, flow: usize, epoch: u32) {
        let host = self.flows[flow].host;
        if !self.current(flow, epoch) || self.hosts[host].off > 0 || !self.passes_syn(host) {
            return;
        }
        if self.hosts[host].down > 0 {
            if !self.hosts[host].spec.firewalled {
                self.reset(flow);
            }
            return;
        }
        if self.takes_connect(host)
            && let Some(at) = self.carry_segment(flow, Way::Back, 0)
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
    pub(super) fn reset(&mut self, flow: usize) -> Option<Time> {
        let epoch = self.flows[flow].epoch;
        let arrives = self.carry_segment(flow, Way::Back, 0)?;
        self.queue
            .push(arrives, Event::ResetArrives { flow, epoch });
        Some(arrives)
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

    /// Says when that arrives, if it does.
    pub(super) fn acknowledge(&mut self, flow: usize) -> Option<Time> {
        let entry = &mut self.flows[flow];
        let (epoch, ack) = (entry.epoch, entry.receiver.ack());
        let arrives = self.carry_segment(flow, Way::Back, 0)?;
        let event = Event::AckArrives {
            flow,
            epoch,
            ack,
            answers: true,
        };
        self.queue.push(arrives, event);
        Some(arrives)
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
        let size = self.flows[flow].reply_size();
        let arrives = self.carry_segment(flow, Way::Back, size);
        let entry = &mut self.flows[flow];
        let is_duplicate = attempt > 0 && entry.reply_arrived;
        entry.reply_arrived = is_duplicate || arrives.is_some();
        if let Some(at) = arrives {
            let event = match is_duplicate {
                true => Event::DuplicateArrives { flow, epoch },
                false => Event::AckArrives {
                    flow,
                    epoch,
                    ack,
                    answers: false,
                },
            };
            self.queue.push(at, event);
        }
        let known = arrives.is_some() && self.carry_segment(flow, Way::Out, 0).is_some();
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
