//! How certain a death is: it chooses between the two destroy delays.
//!
//! A flap of the link or a short freeze of the host can pass every clause. Destroying cannot be
//! undone, so it comes soon only where nothing is left that could still answer: each layer is
//! silent, and several connections agree.

use std::fmt;

use super::{Facts, Link, clause::OF_EACH_KIND};

/// How many connections must be unanswered: one or two can share a fate that is not the host's.
pub(in crate::core) const AGREEING_FLOWS: u32 = 3;

/// How much of a dead peer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Certainty {
    /// Every layer is silent, and this many flows agree.
    Certain { flows: u32 },
    /// Too few flows are unanswered.
    FewFlows { flows: u32 },
    /// The card still answers, or segments still arrive.
    LowerLayerAnswers,
    /// Neither the link nor enough connects have shown themselves silent.
    LowerLayerUnknown,
}

impl Certainty {
    pub(in crate::core) fn of(facts: &Facts) -> Self {
        let (flows, connects) = facts
            .silence
            .map_or((0, 0), |silence| (silence.flows, silence.connects));
        if facts.is_receiving || facts.link == Link::Answers {
            Self::LowerLayerAnswers
        } else if flows < AGREEING_FLOWS {
            Self::FewFlows { flows }
        } else if facts.link == Link::Silent || connects >= OF_EACH_KIND {
            Self::Certain { flows }
        } else {
            Self::LowerLayerUnknown
        }
    }

    pub(in crate::core) const fn is_certain(self) -> bool {
        matches!(self, Self::Certain { .. })
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certain { flows } => write!(f, "every layer is silent, and {flows} flows agree"),
            Self::FewFlows { flows } => {
                write!(
                    f,
                    "{flows} unanswered flows, {AGREEING_FLOWS} needed for less"
                )
            }
            Self::LowerLayerAnswers => f.write_str("a lower layer still answers"),
            Self::LowerLayerUnknown => f.write_str("the link and connects were not seen silent"),
        }
    }
}
