//! Brings a change of the watched network namespaces to those who have to know.

use std::{collections::BTreeSet, sync::Arc};

use tracing::warn;

use super::Driver;
use crate::{
    clock,
    core::{FlowId, NamespaceChange, Signal},
    netns::{Namespaces, Set},
    source::{ActiveSource, Source as _},
};

/// The namespaces that the source looks at.
pub(super) struct LookedAt {
    namespaces: Namespaces,
    /// Those beside the daemon's own. Held open until the source has let go of them: before
    /// that, their numbers must be no others'.
    others: Arc<Set>,
    /// Whether the source has refused a change.
    refused: bool,
}

impl LookedAt {
    pub(super) fn new(namespaces: Namespaces) -> Self {
        Self {
            namespaces,
            others: Arc::default(),
            refused: false,
        }
    }

    /// Waits until they have changed. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        self.namespaces.changed().await;
    }

    /// Has the source follow a change; what the core has to be told.
    fn follow(&mut self, source: &mut ActiveSource) -> Vec<Signal> {
        let now = self.namespaces.others();
        let ids: BTreeSet<u32> = now.keys().copied().collect();
        if let Err(error) = source.look_at(&ids) {
            // Said once, not with each attempt.
            if !self.refused {
                warn!(
                    error = format!("{error:#}"),
                    "the source keeps to the network namespaces as they were; trying again"
                );
            }
            self.refused = true;
            return Vec::new();
        }
        self.refused = false;
        let before: BTreeSet<u32> = self.others.keys().copied().collect();
        self.others = now;
        let at = clock::now();
        let signal = |change| move |&netns: &u32| Signal::Namespace { at, netns, change };
        let gone = before.difference(&ids).map(signal(NamespaceChange::Gone));
        let new = ids
            .difference(&before)
            .map(signal(NamespaceChange::Watched));
        gone.chain(new).collect()
    }

    fn covers(&self, flow: &FlowId) -> bool {
        let netns = flow.netns;
        netns == 0 || netns == self.namespaces.own() || self.others.contains_key(&netns)
    }
}

impl Driver {
    pub(super) fn follow_namespaces(&mut self) {
        for signal in self.looked_at.follow(&mut self.source) {
            self.signal(signal);
        }
    }

    /// Tries again what the source has refused.
    pub(super) fn retry_namespaces(&mut self) {
        if self.looked_at.refused {
            self.follow_namespaces();
        }
    }

    /// What was under way when a namespace was let go is not to make its flows known again:
    /// none would ever be seen to end. Says whether anything is left to be told.
    pub(super) fn drop_what_is_let_go(&self, signal: &mut Signal) -> bool {
        match signal {
            Signal::Flow(event) => self.looked_at.covers(&event.flow),
            Signal::SocketsRead { flows, .. } => {
                flows.retain(|reading| self.looked_at.covers(&reading.id));
                true
            }
            _ => true,
        }
    }
}
