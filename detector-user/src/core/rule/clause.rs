//! The clauses of the rule: each with what was measured, what is needed, and whether it holds.

use std::{fmt, time::Duration};

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
