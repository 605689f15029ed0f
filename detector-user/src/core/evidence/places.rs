//! From which network namespaces a peer is reached.

use std::collections::BTreeSet;

/// The network namespaces in which the peer has, or had, flows. One is kept when the flows in it
/// end: a dead peer's flows are destroyed, and the peer must still be probed from there to notice
/// its return.
#[derive(Debug, Default)]
pub(in crate::core) struct Places {
    others: BTreeSet<u32>,
    /// In the daemon's own namespace something else answers.
    is_other_host_here: bool,
}

impl Places {
    /// Learns that there are flows in these namespaces, none of them the daemon's own; returns
    /// whether one is new.
    pub(super) fn notice(&mut self, others: impl Iterator<Item = u32>) -> bool {
        let before = self.others.len();
        self.others.extend(others);
        self.others.len() > before
    }

    /// Forgets a namespace that is gone; returns whether the peer was reached from there.
    pub(super) fn forget(&mut self, netns: u32) -> bool {
        let was_there = self.others.remove(&netns);
        self.is_other_host_here &= !was_there;
        was_there
    }

    /// Learns that in the daemon's own namespace something else answers than in the others: another
    /// host with the same address, or a proxy in the place of each host.
    pub(super) fn notice_other_host_here(&mut self) {
        self.is_other_host_here = !self.others.is_empty();
    }

    /// Those other than the daemon's own.
    pub(in crate::core) fn others(&self) -> impl Iterator<Item = u32> {
        self.others.iter().copied()
    }

    /// Whether connects from the daemon's own namespace reach the peer, as far as known.
    pub(in crate::core) fn has_own(&self) -> bool {
        !self.is_other_host_here
    }
}
