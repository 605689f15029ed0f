//! What the node itself reports about its own operations.
//!
//! ```text
//! report     one operation, and how it ended
//! failures   of one peer: failures in a row, which make it asked, and may open its breaker
//! ```
//!
//! A report is a demand to check, never evidence of a death: what it may do to a peer's verdict
//! is in `peer/reported`.

mod failures;
mod report;

pub(super) use self::failures::{Failures, Streak};
pub use self::report::OperationReport;
