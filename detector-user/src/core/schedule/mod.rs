//! When sockets are read, and when peers are probed.
//!
//! ```text
//! snapshots   when a path's sockets are read
//! rhythm      when a path is probed
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
