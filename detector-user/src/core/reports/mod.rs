//! What the node itself reports about its own operations.
//!
//! A report is a reason to check a peer, never evidence of its death. What it may do to a verdict
//! is in `path/reported`.

mod failures;

pub(super) use self::failures::{Failures, Streak};
