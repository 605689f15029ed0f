//! The clauses of the rule: each with what was measured, what is needed, and whether it holds.

use std::{fmt, time::Duration};

use super::{ASKED_FOR, Facts, LastProbe, Link, basis::Basis};
use crate::{core::isolation::Isolated, model::Settings};

/// How many transmissions of one kind must be unanswered: where one round trip in twenty is lost,
/// three in a row are lost by chance once in eight thousand times.
pub(super) const OF_EACH_KIND: u32 = 3;

/// A number of the rule, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Quantity {
    Time(Duration),
    AtLeast(Duration),
    Moments(u32),
    Transmissions(u32),
    Word(&'static str),
}

/// One clause. A peer is Dead where all of them hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Clause {
    pub name: &'static str,
    pub measured: Quantity,
    pub needed: Quantity,
    pub holds: bool,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{} ms", time.as_millis()),
            Self::AtLeast(time) => write!(f, "at least {} ms", time.as_millis()),
            Self::Moments(count) => write!(f, "{count} moments"),
            Self::Transmissions(count) => write!(f, "{count} transmissions"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Every clause, whether it holds or not.
pub(super) fn clauses(facts: &Facts, settings: &Settings) -> Vec<Clause> {
    let basis = Basis::of(facts, settings);
    let throughout = basis.needed_silence.mul_f64(ASKED_FOR);
    let count: fn(u32) -> Quantity = match facts.needs.can_ask {
        true => Quantity::Moments,
        false => Quantity::Transmissions,
    };
    let flows_needed = facts.has_flow.then_some(OF_EACH_KIND);
    let connects_needed = connects_needed(facts);
    let clause = |name, measured, needed, holds| Clause {
        name,
        measured,
        needed,
        holds,
    };
    // No `vec!`: in a macro `cargo xtask mutants` changes nothing.
    Vec::from([
        was_there(facts),
        clause(
            "silent_long_enough",
            Quantity::Time(basis.silent),
            Quantity::AtLeast(basis.needed_silence),
            basis.is_silent && basis.silent >= basis.needed_silence,
        ),
        clause(
            "asked_throughout",
            Quantity::Time(basis.asked_for),
            Quantity::AtLeast(throughout),
            basis.asked_for >= throughout,
        ),
        clause(
            "asked_enough",
            count(basis.unanswered),
            count(facts.needs.transmissions),
            basis.unanswered >= facts.needs.transmissions,
        ),
        clause(
            "asked_on_flows",
            Quantity::Transmissions(basis.on_flows),
            flows_needed.map_or(
                Quantity::Word("not needed: no flow can be probed"),
                Quantity::Transmissions,
            ),
            flows_needed.is_none_or(|needed| basis.on_flows >= needed),
        ),
        clause(
            "asked_by_connect",
            Quantity::Transmissions(basis.connects),
            connects_needed.map_or_else(Quantity::Word, Quantity::Transmissions),
            connects_needed.map_or(true, |needed| basis.connects >= needed),
        ),
        clause(
            "asked_just_now",
            Quantity::Word(last_probe(facts)),
            Quantity::Word("just now"),
            facts.last_probe == LastProbe::Fresh,
        ),
        not_isolated(facts),
    ])
}

const fn was_there(facts: &Facts) -> Clause {
    Clause {
        name: "was_there",
        measured: Quantity::Word(match facts.was_there {
            true => "heard before",
            false => "never heard",
        }),
        needed: Quantity::Word("heard before"),
        holds: facts.was_there,
    }
}

const fn last_probe(facts: &Facts) -> &'static str {
    match facts.last_probe {
        LastProbe::Fresh => "just now",
        LastProbe::Due => "a while ago",
    }
}

fn not_isolated(facts: &Facts) -> Clause {
    Clause {
        name: "not_isolated",
        measured: Quantity::Word(isolation(facts)),
        needed: Quantity::Word("not isolated"),
        holds: facts.isolated == Isolated::No && !facts.was_isolated,
    }
}

const fn isolation(facts: &Facts) -> &'static str {
    match facts.isolated {
        Isolated::No if facts.was_isolated => "isolated until just now",
        Isolated::No => "not isolated",
        Isolated::NoLink => "this node has no link to it",
        Isolated::NobodyHeard => "others are as silent",
    }
}

/// How many SYNs must be unanswered; or why none: no SYN probe is known to be answered, or the
/// link is as silent as the flows.
fn connects_needed(facts: &Facts) -> Result<u32, &'static str> {
    if facts.link == Link::Silent {
        Err("not needed: the link is silent too")
    } else if facts.has_connect {
        Ok(OF_EACH_KIND)
    } else {
        Err("not needed: no SYN probe is known to be answered")
    }
}
