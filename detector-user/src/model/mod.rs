//! The words and plain data that all modules share: what the sources report, what the core
//! publishes and requests, and its settings. No verdict is decided here.
//!
//! ```text
//! in       signal, flow, hardware, report, trial: what was seen, read, reported or asked
//! out      effect, teardown, state, explanation, health, memory: what is requested and published
//! both     vocabulary, time, overrides, settings, bounds
//! nanos    how durations are written
//! ```

mod bounds;
mod effect;
mod explanation;
mod flow;
mod hardware;
mod health;
mod memory;
mod nanos;
mod overrides;
mod report;
mod settings;
mod signal;
mod state;
mod teardown;
mod time;
mod trial;
mod vocabulary;

pub use self::{
    bounds::{Bounds, MAX_ADDRESSES, MAX_NAMESPACES, MAX_PEERS},
    effect::Effect,
    explanation::{
        ClauseLine, EventLine, EventWhat, Explanation, FlowLine, ProbeLine, RouteLine, SilenceLine,
    },
    flow::{FlowId, FlowReading, HEARD_RESOLUTION, TcpState},
    hardware::HardwareAddress,
    health::Health,
    memory::{Memory, Remembered},
    overrides::{Override, OverrideEnd, OverrideKind},
    report::OperationReport,
    settings::Settings,
    signal::{
        Destroyed, Endpoint, FlowEvent, FlowEventKind, NamespaceChange, NeighbourState,
        NetworkEvent, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Route, Signal,
        SourceKind,
    },
    state::{Measured, PathState, PeerName, PeerState},
    teardown::{Spare, Teardown},
    time::Time,
    trial::{Trial, TrialError, TrialOutcome},
    vocabulary::{Breaker, Mode, Operation, Outcome, Reason, Trend, Verdict},
};
pub(crate) use self::{
    bounds::{MAX_GATEWAYS, MAX_LINKS, NAMESPACES_KEPT},
    vocabulary::vocabulary,
};
