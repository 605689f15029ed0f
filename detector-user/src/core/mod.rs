//! The detector itself, pure: it takes [`Signal`]s and the time, and returns [`Effect`]s.
//!
//! No tokio, no aya, no clock, no I/O, and nothing else of ours is imported here. The
//! driver calls, in this order, for each turn of its loop:
//!
//! 1. [`Detector::handle_signal`] for each thing a source saw, or
//!    [`Detector::handle_timeout`] when [`Detector::poll_timeout`] has passed;
//! 2. [`Detector::poll_effect`] until it returns `None`, carrying out each effect.
//!
//! The same signals at the same times give the same verdicts.

mod bounds;
mod breaker;
mod budget;
mod detector;
mod evidence;
mod explain;
mod flow;
mod gateways;
mod hardware;
mod look;
mod nanos;
mod network;
mod path;
mod pauses;
mod peer;
mod probes;
mod reports;
mod rhythm;
mod settings;
mod signal;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod time;
mod tracked;
mod vitals;
mod vocabulary;
mod weight;
mod witness;

pub(crate) use self::vocabulary::vocabulary;
pub use self::{
    bounds::{Bounds, MAX_ADDRESSES, MAX_NAMESPACES, MAX_PEERS},
    breaker::{Trial, TrialError, TrialOutcome},
    detector::{Detector, Effect},
    explain::{
        ClauseLine, EventLine, EventWhat, Explanation, FlowLine, ProbeLine, RouteLine, SilenceLine,
    },
    flow::{FlowId, FlowReading, TcpState},
    hardware::HardwareAddress,
    reports::OperationReport,
    settings::Settings,
    signal::{
        Destroyed, Endpoint, FlowEvent, FlowEventKind, NamespaceChange, NeighbourState,
        NetworkEvent, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Route, Signal,
        SourceKind,
    },
    state::{PathState, PeerName, PeerState},
    time::Time,
    tracked::HEARD_RESOLUTION,
    vitals::Health,
    vocabulary::{Breaker, Mode, Operation, Outcome, Reason, Trend, Verdict},
};
