//! When sockets are read, and when peers are probed.
//!
//! ```text
//! snapshots   when a path's sockets are read
//! rhythm      when a path is probed
//! budget      how many probes may be sent
//! grid        the moments that all paths share for what can wait
//! random      jitter
//! ```

mod budget;
mod grid;
mod random;
mod rhythm;
mod snapshots;

pub(super) use self::{
    budget::{Budget, Urgency},
    grid::Grid,
    rhythm::Rhythm,
    snapshots::Snapshots,
};
