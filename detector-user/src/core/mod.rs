//! The detector itself, pure: it takes [`Signal`]s and the time, and returns [`Effect`]s.
//!
//! No tokio, no aya, no clock, no I/O; the core imports no other module of this project. The driver
//! calls, in this order, for each turn of its loop:
//!
//! 1. [`Detector::handle_signal`] for each thing a source saw, or
//!    [`Detector::handle_timeout`] when [`Detector::poll_timeout`] has passed;
//! 2. [`Detector::poll_effect`] until it returns `None`, carrying out each effect.
//!
//! The same signals at the same times give the same verdicts.
//!
//! ```text
//! rule        decide(&Facts, &Settings) -> Decision: the verdict, without memory
//! session     the state of a path: verdict, breaker, and the reason of each
//! evidence    what is known of a path, by layer and flow
//! isolation   whether this node itself is cut off
//! schedule    when to look, and when to probe
//! turns       who is probed first when many are in doubt
//! path        one address of a peer: joins the above
//! peer        the sum of its paths
//! memory      what outlasts a restart of what is known of a dead path
//! overrides   what an administrator wants of a breaker
//! detector    all peers: takes signals, returns effects
//! ```

mod bounds;
mod context;
mod detector;
mod evidence;
mod explain;
mod flow;
mod hardware;
mod harness;
mod isolation;
mod memory;
mod nanos;
mod overrides;
mod path;
mod peer;
mod reports;
mod rule;
mod schedule;
mod session;
mod settings;
mod signal;
mod state;
mod teardown;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod time;
mod turns;
mod vitals;
mod vocabulary;

pub(crate) use self::vocabulary::vocabulary;
pub use self::{
    bounds::{Bounds, MAX_ADDRESSES, MAX_NAMESPACES, MAX_PEERS},
    detector::{Detector, Effect},
    evidence::HEARD_RESOLUTION,
    explain::{
        ClauseLine, EventLine, EventWhat, Explanation, FlowLine, ProbeLine, RouteLine, SilenceLine,
    },
    flow::{FlowId, FlowReading, TcpState},
    hardware::HardwareAddress,
    harness::{Core, Harness, Surroundings, probed},
    memory::{Memory, Remembered},
    overrides::{Override, OverrideEnd, OverrideKind},
    reports::OperationReport,
    session::{Trial, TrialError, TrialOutcome},
    settings::Settings,
    signal::{
        Destroyed, Endpoint, FlowEvent, FlowEventKind, NamespaceChange, NeighbourState,
        NetworkEvent, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Route, Signal,
        SourceKind,
    },
    state::{Measured, PathState, PeerName, PeerState},
    teardown::{Spare, Teardown},
    time::Time,
    vitals::Health,
    vocabulary::{Breaker, Mode, Operation, Outcome, Reason, Trend, Verdict},
};
