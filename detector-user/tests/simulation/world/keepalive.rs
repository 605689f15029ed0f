//! The daemon's probes on the program's own connections: segments from below the window, as a
//! keepalive is. A kernel answers those without data at most twice a second; the prober sends
//! one octet with those that are closer together, which is answered each time.

use detector_user::model::{FlowId, ProbeAnswer, ProbeEvent, ProbeOutcome, Time};

use super::{Asked, Event, World};
use crate::{tcp::Phase, wire::Way};

const ENOENT: u32 = 2;

impl World {
    pub(super) fn keepalive_sent(&mut self, asked: Box<Asked>, id: FlowId, cookie: u64) {
        let Some(flow) = self.flow_of(id, cookie) else {
            self.tell(&asked, ProbeOutcome::Failed { errno: ENOENT });
            return;
        };
        self.sync(self.flows[flow].host);
        self.tell(&asked, ProbeOutcome::Sent);
        if let Some(at) = self.carry_segment(flow, Way::Out, 0) {
            self.queue.push(at, Event::ProbeArrives { asked });
        }
    }

    /// A kernel that knows the connection acknowledges what it has; one that does not resets it.
    pub(super) fn keepalive_arrives(&mut self, asked: &Asked, id: FlowId, cookie: u64) {
        let Some(flow) = self.flow_of(id, cookie) else {
            return;
        };
        let entry = &self.flows[flow];
        let host = &self.hosts[entry.host];
        if host.off > 0 {
            return;
        }
        if entry.life != host.life {
            let arrives = self.reset(flow);
            self.answered_at(asked, ProbeAnswer::Reset, arrives);
        } else {
            self.sync(self.flows[flow].host);
            let arrives = self.acknowledge(flow);
            self.answered_at(asked, ProbeAnswer::Ack, arrives);
        }
    }

    fn answered_at(&mut self, asked: &Asked, answer: ProbeAnswer, arrives: Option<Time>) {
        let Some(at) = arrives.filter(|at| *at <= asked.give_up) else {
            return;
        };
        let event = Box::new(ProbeEvent {
            at,
            probe: asked.probe,
            target: asked.target,
            outcome: ProbeOutcome::Answered(answer),
        });
        self.queue.push(at, Event::ProbeAnswered { event });
    }

    /// The connection, if it is still this one.
    fn flow_of(&self, id: FlowId, cookie: u64) -> Option<usize> {
        self.flows.iter().position(|flow| {
            let sender = &flow.sender;
            let open = matches!(sender.phase, Phase::Open | Phase::Closing);
            open && sender.id == id && sender.cookie == cookie
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use detector_user::model::{ProbeId, ProbeTarget, Settings, Signal};

    use super::*;
    use crate::{
        driver::Input,
        script::{Fault, HostSpec, Script, Timed, Ways, Work},
        ticks::ms,
        world::{START, Watch},
    };

    /// One host with a connection on which nothing is sent, run until this time.
    fn world(work: Work, faults: &[Fault], until: Duration) -> World {
        let script = Script {
            seed: 1,
            scenario: "by hand",
            length: Duration::from_secs(60),
            // Nobody but the test asks.
            settings: Settings {
                idle_probe_interval: Duration::ZERO,
                ..Settings::default()
            },
            hosts: vec![HostSpec::near(&[work])],
            gateway: false,
            faults: faults
                .iter()
                .map(|&fault| Timed {
                    at: Duration::from_secs(20),
                    fault,
                    lasts: ms(300),
                })
                .collect(),
        };
        let watch = Watch {
            replay: true,
            trace: false,
        };
        let mut world = World::new(script, watch);
        run_until(&mut world, START + until);
        world
    }

    fn run_until(world: &mut World, until: Time) {
        while let Some((at, event)) = world.queue.pop() {
            if at > until {
                world.queue.push(at, event);
                break;
            }
            world.now = world.now.max(at);
            world.happens(event);
        }
        world.now = until;
    }

    /// What comes of a keepalive on the only flow that is sent now.
    fn asked(world: &mut World) -> Vec<ProbeOutcome> {
        let sender = &world.flows[0].sender;
        let target = ProbeTarget::Flow {
            flow: sender.id,
            cookie: sender.cookie,
        };
        asked_of(world, target)
    }

    fn asked_of(world: &mut World, target: ProbeTarget) -> Vec<ProbeOutcome> {
        let now = world.now;
        let asked = Box::new(Asked {
            probe: ProbeId(now.as_nanos()),
            target,
            sent: now,
            give_up: now + ms(200),
        });
        let probe = asked.probe;
        world.probe_sent(asked);
        run_until(world, now + ms(250));
        outcomes(world, probe)
    }

    fn outcomes(world: &World, probe: ProbeId) -> Vec<ProbeOutcome> {
        let of_it = |input: &Input| match input {
            Input::Signal(_, signal) => match **signal {
                Signal::Probe(event) if event.probe == probe => Some(event.outcome),
                _ => None,
            },
            _ => None,
        };
        world.driver.recorded().iter().filter_map(of_it).collect()
    }

    const SENT: ProbeOutcome = ProbeOutcome::Sent;
    const ACK: ProbeOutcome = ProbeOutcome::Answered(ProbeAnswer::Ack);
    const RESET: ProbeOutcome = ProbeOutcome::Answered(ProbeAnswer::Reset);

    #[test]
    fn a_kernel_that_knows_the_flow_answers() {
        let mut world = world(Work::IDLE, &[], Duration::from_secs(10));
        assert_eq!(asked(&mut world), [SENT, ACK]);
        assert_eq!(asked(&mut world), [SENT, ACK]);
    }

    /// The answer is heard on the flow; it acknowledges nothing that is owed.
    #[test]
    fn an_answer_moves_when_the_flow_was_heard_and_nothing_else() {
        let lost = Fault::LargeLost {
            host: 0,
            over: 1000,
        };
        let mut world = world(Work::UPLOAD, &[lost], ms(20_250));
        let before = world.flows[0].sender.reading(world.now);
        assert_eq!(asked(&mut world), [SENT, ACK]);
        let after = world.flows[0].sender.reading(world.now);
        assert!(after.last_heard > before.last_heard);
        assert_eq!(after.bytes_acked, before.bytes_acked);
        assert!(before.rto_count > 0 && after.rto_count >= before.rto_count);
    }

    #[test]
    fn a_host_that_was_started_anew_resets_the_flow() {
        let start = ms(100);
        let off = Fault::PowerOff { host: 0, start };
        let mut world = world(Work::IDLE, &[off], Duration::from_secs(21));
        let target = {
            let sender = &world.flows[0].sender;
            ProbeTarget::Flow {
                flow: sender.id,
                cookie: sender.cookie,
            }
        };
        assert_eq!(asked(&mut world), [SENT, RESET]);
        assert_eq!(
            asked_of(&mut world, target),
            [ProbeOutcome::Failed { errno: ENOENT }]
        );
    }

    #[test]
    fn nothing_that_is_lost_is_answered() {
        for ways in [Ways::Both, Ways::Out, Ways::Back] {
            let hole = Fault::FlowHole {
                host: 0,
                nth: 0,
                ways,
            };
            for fault in [Fault::Deaf { host: 0, ways }, hole] {
                let mut world = world(Work::IDLE, &[fault], ms(20_010));
                assert_eq!(asked(&mut world), [SENT], "{fault:?}");
            }
        }
    }
}
