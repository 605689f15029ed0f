//! The core with many peers at once, on a virtual clock: a tenth of five thousand is cut, a hundred
//! thousand connections stall within a second, and the cost grows no faster than the number of peers.
//!
//! What the core asks for goes through the daemon's real queues, and is answered as a kernel and
//! living hosts would answer. How long the machine takes does not matter: the tests count verdicts,
//! bytes and allocations.

mod growth;
mod heap;
mod plan;
mod storm;
mod tenth;
mod world;

use std::collections::BTreeSet;

use detector_user::model::PeerName;

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime can be made").block_on(test);
}

/// Names a few of the differences: five hundred names are nothing to read.
#[track_caller]
fn same(are: &str, found: &BTreeSet<PeerName>, expected: &BTreeSet<PeerName>) {
    let some = |set: BTreeSet<PeerName>| set.into_iter().take(3).collect::<Vec<_>>();
    let (extra, missing) = (some(found - expected), some(expected - found));
    assert!(
        extra.is_empty() && missing.is_empty(),
        "{} are {are}, of {}; {extra:?} should not be, {missing:?} are not",
        found.len(),
        expected.len()
    );
}
