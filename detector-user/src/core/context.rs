//! What a path needs besides its own evidence, and where it puts the effects it requests.

use std::{collections::BTreeMap, collections::VecDeque};

use super::{
    evidence::GIVE_UP_AFTER,
    isolation::Isolation,
    schedule::{Budget, Grid, Urgency},
    turns::Turns,
};
use crate::model::{Effect, MAX_LINKS, ProbeId, ProbeTarget, Settings, Time};

/// The parts of the detector that a path may use while it handles one signal or time-out.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub settings: &'a Settings,
    pub isolation: &'a mut Isolation,
    pub prober: &'a mut ProbeDesk,
    pub grid: Grid,
    pub effects: &'a mut VecDeque<Effect>,
}

/// One in so many probes of a second may be for dead peers: a thousand of them, which stay away for
/// long, must not keep a processor busy.
const DEAD_SHARE: u32 = 8;

/// Gives out probes within their budgets.
#[derive(Debug)]
pub(super) struct ProbeDesk {
    budget: Budget,
    /// The part of it that may be spent on dead peers.
    of_dead: Budget,
    neighbours_per_second: u32,
    neighbours: BTreeMap<u32, Budget>,
    pub turns: Turns,
    next: u64,
}

impl ProbeDesk {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            budget: Budget::new(settings.max_probes_per_second),
            of_dead: Budget::new((settings.max_probes_per_second / DEAD_SHARE).max(1)),
            neighbours_per_second: settings.neighbour_probes_per_second,
            neighbours: BTreeMap::new(),
            turns: Turns::new(settings.max_probes_per_second),
            next: 1,
        }
    }

    /// Other rates apply from now on.
    pub(super) fn set_settings(&mut self, before: &Settings, settings: &Settings) {
        if before.max_probes_per_second != settings.max_probes_per_second {
            self.budget = Budget::new(settings.max_probes_per_second);
            self.of_dead = Budget::new((settings.max_probes_per_second / DEAD_SHARE).max(1));
            self.turns = Turns::new(settings.max_probes_per_second);
        }
        if before.neighbour_probes_per_second != settings.neighbour_probes_per_second {
            self.neighbours_per_second = settings.neighbour_probes_per_second;
            self.neighbours.clear();
        }
    }

    fn take(&mut self, now: Time, urgency: Urgency) -> bool {
        let is_for_dead = urgency == Urgency::Dead;
        if is_for_dead && (self.turns.are_late(now) || !self.of_dead.take(now, Urgency::Witness)) {
            return false;
        }
        self.budget.take(now, urgency)
    }

    /// Applies the limit per link: a switch may shut down a port that sends too much ARP. Its budget
    /// must hold at least so many probes.
    fn take_neighbour(&mut self, now: Time, link: u32, least: f64) -> bool {
        if self.neighbours.len() >= MAX_LINKS && !self.neighbours.contains_key(&link) {
            return false;
        }
        let per_second = self.neighbours_per_second;
        let budget = self
            .neighbours
            .entry(link)
            .or_insert_with(|| Budget::strict(per_second));
        budget.take_of(now, least)
    }
}

/// The read-only part of [`Context`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub settings: &'a Settings,
    pub isolation: &'a Isolation,
    pub grid: Grid,
}

impl Context<'_> {
    pub(super) fn around(&self) -> Around<'_> {
        Around {
            settings: self.settings,
            isolation: self.isolation,
            grid: self.grid,
        }
    }

    /// Sends a probe where the budgets allow it.
    pub(super) fn probe(
        &mut self,
        now: Time,
        target: ProbeTarget,
        urgency: Urgency,
    ) -> Option<ProbeId> {
        if let ProbeTarget::Neighbour { addr, link } = target {
            let least = self.isolation.gateways.needs_of_budget(addr, link, now);
            if !self.prober.take_neighbour(now, link, least) {
                return None;
            }
        }
        if !self.prober.take(now, urgency) {
            return None;
        }
        let probe = ProbeId(self.prober.next);
        self.prober.next += 1;
        if urgency != Urgency::Routine {
            self.prober.turns.asked(now, probe);
        }
        self.effects.push_back(Effect::Probe {
            probe,
            target,
            give_up_after: GIVE_UP_AFTER,
            can_wait: urgency == Urgency::Routine,
        });
        Some(probe)
    }
}
