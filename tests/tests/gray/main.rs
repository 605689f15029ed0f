//! Deaths that are not clean, each made by a real fault between real kernels: the peer's
//! address answers on one layer and not on another, in one way and not in the other, for some
//! segments or flows and not for the rest.

mod alive;
mod paths;
mod restart;
mod silent;
mod stalled;

use std::time::Duration;

/// Of one test.
const LIMIT: Duration = Duration::from_secs(120);
