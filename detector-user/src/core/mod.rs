//! The detector itself, pure: it takes [`Signal`]s and the time, and returns [`Effect`]s.
//!
//! No tokio, no aya, no clock, no I/O. The core imports only the [model](crate::model): the words and
//! data that all modules share. The driver calls, in this order, for each turn of its loop:
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
//! vitals      round-trip times and the health score
//! reports     failed calls that the node reports
//! path        one address of a peer: joins the above
//! context     what a path may use of the rest
//! peer        the sum of its paths
//! explain     why a verdict is what it is, for a person
//! detector    all peers: takes signals, returns effects
//! harness     drives the core on a virtual clock, for tests and replays
//! ```

mod context;
mod detector;
mod evidence;
mod explain;
mod harness;
mod isolation;
mod path;
mod peer;
mod reports;
mod rule;
mod schedule;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turns;
mod vitals;

#[cfg(doc)]
use crate::model::{Effect, Signal};

pub use self::{
    detector::Detector,
    harness::{Core, Harness, Surroundings, probed},
};
