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
mod teardown;
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

pub use self::{
    breaker::{Trial, TrialError, TrialOutcome},
    detector::{Detector, Effect},
    explain::{
        ClauseLine, EventLine, EventWhat, Explanation, FlowLine, ProbeLine, RouteLine, SilenceLine,
    },
    flow::{FlowId, FlowReading, TcpState},
    hardware::HardwareAddress,
    reports::{
        Cascade, Correlations, EventTotal, LockLine, OperationReport, PATTERNS, Pattern, Pool,
        PoolOutlook, SetOutlook, outlook,
    },
    settings::Settings,
    signal::{
        Destroyed, Endpoint, FlowEvent, FlowEventKind, NamespaceChange, NeighbourState,
        NetworkEvent, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Route, Signal,
        SourceKind,
    },
    state::{PathState, PeerName, PeerState},
    teardown::{Spare, Teardown},
    time::Time,
    tracked::HEARD_RESOLUTION,
    vitals::Health,
    vocabulary::{
        Breaker, FailureKind, LockHealth, Mode, Operation, Outcome, Reason, Trend, Verdict,
    },
};
