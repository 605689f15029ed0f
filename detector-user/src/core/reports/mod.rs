//! What the node itself reports about its own operations.
//!
//! ```text
//! report     one operation, and how it ended
//! failures   failed calls to one peer in a row: they make it probed, and may open its breaker
//! ```
//!
//! A report is a reason to check a peer, never evidence of its death. What it may do to a verdict
//! is in `path/reported`.

mod failures;
mod report;

pub(super) use self::failures::{Failures, Streak};
pub use self::report::OperationReport;
