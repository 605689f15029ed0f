//! Gray failures, each made by a real fault between real kernels: the peer's address answers on one
//! layer but not on another, in one direction only, or only for some segments or flows.

mod alive;
mod paths;
mod restart;
mod silent;
mod stalled;
mod waiting;

use std::time::Duration;

/// Of one test.
const LIMIT: Duration = Duration::from_secs(120);
