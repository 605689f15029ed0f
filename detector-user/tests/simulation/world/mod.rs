//! The cluster: one observer with the detector, its peers, and the time between them.

mod carry;
mod daemon;
mod event;
mod far;
mod faults;
mod gray;
mod judge;
mod keepalive;
mod neighbours;
mod net;
mod probes;
mod sleep;
mod stalls;
mod teardown;
mod waiting;

use std::time::Duration;

use detector_user::model::{PeerState, ProbeId, ProbeTarget, Time};

use self::event::Event;
use crate::{
    checks::{Checks, Violation},
    driver::{Driver, Input},
    flow::Flow,
    host::Host,
    queue::Queue,
    rng::Rng,
    script::Script,
    tcp::Out,
    ticks::ms,
};

/// The observer has been up for a while when a run begins.
pub const START: Time = Time::from_nanos(5_000_000_000_000);

/// A probe on its way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    probe: ProbeId,
    target: ProbeTarget,
    sent: Time,
    give_up: Time,
}

#[derive(Debug)]
pub struct World {
    pub script: Script,
    pub now: Time,
    queue: Queue<Event>,
    rng: Rng,
    pub hosts: Vec<Host>,
    pub flows: Vec<Flow>,
    pub driver: Driver,
    pub checks: Checks,
    /// What was published last of each host.
    pub states: Vec<Option<PeerState>>,
    /// Faults that are on, and flaps that are down.
    active: Vec<bool>,
    flapped: Vec<bool>,
    own_link_down: u32,
    own_switch_down: u32,
    gateway_down: u32,
    gateway_usurped: u32,
    /// Faults that keep new connections from leaving this node.
    own_syns_dropped: u32,
    /// Since when this node's switch has been dead, or was the last time, and until when.
    own_switch: (Time, Time),
    /// When this node's link last came back.
    paused_until: Time,
    starved_until: Time,
    /// The hooks' ring keeps its order.
    ring_until: Time,
    outs: Vec<Out>,
    cookies: u64,
    next_port: u16,
    trace: Option<Vec<String>>,
    pub events: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub digest: u64,
    pub events: u64,
    pub stats: crate::checks::Stats,
}

/// How closely to look at a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Keep what went into the core and put it into a fresh one in the end.
    pub replay: bool,
    /// Keep a line for all that happened.
    pub trace: bool,
}

/// Runs a script to its end, or to the first rule that is broken.
pub fn run(script: &Script, watch: Watch) -> Result<Outcome, Violation> {
    let mut world = World::new(script.clone(), watch);
    let end = START + script.length;
    while let Some((at, event)) = world.queue.pop() {
        if at > end {
            break;
        }
        world.now = world.now.max(at);
        world.events += 1;
        world.happens(event);
        if let Some(mut violation) = world.checks.take_violation() {
            violation.after = world.now.since(START);
            violation.trace = world.trace.take().unwrap_or_default();
            return Err(violation);
        }
    }
    if watch.replay
        && let Err(difference) = world.driver.replay()
    {
        return Err(Violation::new(
            "the same signals gave other verdicts",
            difference,
        ));
    }
    Ok(Outcome {
        digest: world.driver.digest(),
        events: world.events,
        stats: world.checks.stats.clone(),
    })
}

/// What went into the core over a run, whatever rule it broke.
pub fn recorded(script: &Script) -> Vec<Input> {
    let watch = Watch {
        replay: true,
        trace: false,
    };
    let mut world = World::new(script.clone(), watch);
    while let Some((at, event)) = world.queue.pop() {
        if at > START + script.length {
            break;
        }
        world.now = world.now.max(at);
        world.happens(event);
    }
    world.driver.recorded().to_vec()
}

/// What was published of a host, and when, whatever rule was broken.
pub fn states(script: &Script, host: usize) -> Vec<(Duration, PeerState)> {
    let mut world = World::new(script.clone(), Watch::default());
    let mut states: Vec<(Duration, PeerState)> = Vec::new();
    while let Some((at, event)) = world.queue.pop() {
        if at > START + script.length {
            break;
        }
        world.now = world.now.max(at);
        world.happens(event);
        let last = states.last().map(|(_, state)| state.revision);
        if let Some(state) = &world.states[host]
            && last != Some(state.revision)
        {
            states.push((world.now.since(START), state.clone()));
        }
    }
    states
}

impl World {
    pub fn new(mut script: Script, watch: Watch) -> Self {
        // It is known by the routes that lead through it.
        script.gateway &= script.hosts.iter().any(|host| host.routed);
        let hosts: Vec<_> = script
            .hosts
            .iter()
            .cloned()
            .enumerate()
            .map(|(number, spec)| Host::new(number, spec))
            .collect();
        let mut world = Self {
            now: START,
            queue: Queue::new(),
            rng: Rng::new(script.seed ^ 0xdead),
            driver: Driver::new(script.settings.clone(), watch.replay),
            checks: Checks::new(hosts.len(), &script),
            states: vec![None; hosts.len()],
            active: vec![false; script.faults.len()],
            flapped: vec![false; script.faults.len()],
            own_link_down: 0,
            own_switch_down: 0,
            gateway_down: 0,
            gateway_usurped: 0,
            own_syns_dropped: 0,
            own_switch: (START, START),
            paused_until: START,
            starved_until: START,
            ring_until: START,
            outs: Vec::new(),
            cookies: 0,
            next_port: 30_000,
            trace: watch.trace.then(Vec::new),
            events: 0,
            flows: Vec::new(),
            hosts,
            script,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (index, timed) in self.script.faults.iter().enumerate() {
            let (at, begins) = (START + timed.at, true);
            self.queue.push(at, Event::Fault { index, begins });
            let (at, begins) = (at + timed.lasts, false);
            self.queue.push(at, Event::Fault { index, begins });
        }
        self.start_daemon();
        for host in 0..self.hosts.len() {
            for work in self.hosts[host].spec.work.clone() {
                self.add_flow(host, work);
            }
            self.queue.push(self.now + ms(1000), Event::Settle { host });
        }
    }

    fn happens(&mut self, event: Event) {
        if self.now < self.paused_until
            && let Some(after) = event.waits_while_paused()
        {
            self.queue.push(self.paused_until + after, event);
            return;
        }
        match event {
            Event::Fault { index, begins } => self.fault(index, begins),
            Event::Flap { index, down } => self.flap(index, down),
            Event::Start { host } => self.program_starts(host),
            Event::Settle { host } => self.settle(host),
            Event::CheckDead { host, cut, clean } => self.check_dead(host, cut, clean),
            Event::CheckClosed { host, cut } => self.check_closed(host, cut),
            Event::NeighbourGone { host, cut } => self.neighbour_gone(host, cut),
            Event::SynArrives { flow, epoch } => self.syn_arrives(flow, epoch),
            Event::SegmentArrives {
                flow,
                epoch,
                number,
            } => self.segment_arrives(flow, epoch, number),
            Event::WindowProbeArrives { flow, epoch } => self.window_probe_arrives(flow, epoch),
            Event::DelayedAck { flow, epoch } => self.delayed_ack(flow, epoch),
            Event::Reply {
                flow,
                epoch,
                attempt,
            } => self.reply(flow, epoch, attempt),
            Event::Report { index } => self.report(index),
            Event::Work { flow, epoch } => self.work(flow, epoch),
            Event::Dial { flow, epoch } => self.dial(flow, epoch),
            Event::GiveUp { flow, epoch } => self.give_up(flow, epoch),
            Event::Timer { flow, epoch } => self.timer(flow, epoch),
            Event::SynAckArrives { flow, epoch } => self.syn_ack_arrives(flow, epoch),
            Event::ResetArrives { flow, epoch } => self.reset_arrives(flow, epoch),
            Event::AckArrives {
                flow,
                epoch,
                ack,
                answers,
            } => self.ack_arrives(flow, epoch, ack, answers),
            Event::DuplicateArrives { flow, epoch } => self.duplicate_arrives(flow, epoch),
            Event::CheckWaiting {
                fault,
                flow,
                cookie,
            } => self.check_waiting(fault, flow, cookie),
            Event::CheckStall { stall } => self.check_stall(stall),
            Event::CheckEnded { fault, host, life } => self.check_ended(fault, host, life),
            Event::ProbeSent { asked } => self.probe_sent(asked),
            Event::ProbeArrives { asked } => self.probe_arrives(&asked),
            Event::ProbeAnswered { event } => self.probe_answered(*event),
            Event::Look { host } => self.look(host),
            Event::Destroy { host, teardown } => self.destroy(host, *teardown),
            Event::Deliver(signal) => self.delivered(*signal),
            Event::Wake { at } => self.wake_driver(at),
            Event::CatchUp => self.catch_up(),
        }
    }

    /// Notes a line where a trace is kept.
    fn trace(&mut self, line: impl FnOnce() -> String) {
        let at = self.now.since(START);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>14.6} {}", at.as_secs_f64(), line()));
        }
    }
}
