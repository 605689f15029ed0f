//! When to look, and when to probe.
//!
//! ```text
//! snapshots   when a path's sockets are read
//! rhythm      when it is probed
//! budget      how many probes may be sent
//! ```

mod budget;
mod rhythm;
mod snapshots;

pub(super) use self::{
    budget::{Budget, Urgency},
    rhythm::Rhythm,
    snapshots::Snapshots,
};
