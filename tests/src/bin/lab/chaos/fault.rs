//! What is broken, and what must follow from it.

use clap::ValueEnum;

/// A way to break a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    PowerCut,
    SilentDrop,
    OneWay,
    TwoNodes,
    Loss,
    LargeSegments,
    Flaps,
    Stop,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        // First: on a path that is known to be lossy, it takes longer to be told.
        Self::LargeSegments,
        Self::PowerCut,
        Self::SilentDrop,
        Self::OneWay,
        Self::TwoNodes,
        Self::Loss,
        Self::Flaps,
        Self::Stop,
    ];

    /// What happens, in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut of h2",
            Self::SilentDrop => "silent drop at h2's port",
            Self::OneWay => "nothing sent to h2 arrives",
            Self::TwoNodes => "power cut of h2 and h3",
            Self::Loss => "20 % loss at h2",
            Self::LargeSegments => "large segments are lost",
            Self::Flaps => "flaps of 100 ms at h2",
            Self::Stop => "h2's program is stopped",
        }
    }

    /// What the checklist wants of it.
    pub fn expected(self) -> &'static str {
        match self {
            Self::PowerCut | Self::SilentDrop | Self::OneWay => {
                "dead and open within 8 s, uploads to the others go on, back within 30 s"
            }
            Self::TwoNodes => "the same of both",
            Self::Loss | Self::Flaps | Self::Stop => "never dead, its breaker stays closed",
            Self::LargeSegments => "degraded, and never dead",
        }
    }
}
