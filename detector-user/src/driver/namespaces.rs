//! Passes a change of the watched network namespaces on to the source and the core.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use nix::libc::EADDRNOTAVAIL;
use tracing::warn;

use super::Driver;
use crate::{
    clock,
    model::{
        FlowEventKind, FlowId, FlowReading, NamespaceChange, ProbeEvent, ProbeOutcome, ProbeTarget,
        Signal, Time,
    },
    netns::{Namespaces, Set},
    source::{Source, network::LocalAddresses},
};

/// The network namespaces that the source watches.
pub(super) struct LookedAt {
    namespaces: Namespaces,
    /// The namespaces other than the daemon's own. They are held open while their flows may be
    /// evidence: until then their inode numbers must not be reused.
    others: Arc<Set>,
    /// Which addresses are local in each of them, as far as this was looked up.
    local: BTreeMap<u32, LocalAddresses>,
    /// Whether the source has refused a change.
    refused: bool,
}

impl LookedAt {
    pub(super) fn new(namespaces: Namespaces) -> Self {
        Self {
            namespaces,
            others: Arc::default(),
            local: BTreeMap::new(),
            refused: false,
        }
    }

    /// Makes the source follow a change; returns the signals for the core.
    fn follow(&mut self, source: &mut dyn Source) -> Vec<Signal> {
        let now = self.namespaces.others();
        if let Err(error) = source.look_at(&now) {
            // Logged once, not at each attempt.
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
        let ids: BTreeSet<u32> = now.keys().copied().collect();
        let before: BTreeSet<u32> = self.others.keys().copied().collect();
        self.others = now;
        self.local.retain(|netns, _| ids.contains(netns));
        let at = clock::now();
        let signal = |change| move |&netns: &u32| Signal::Namespace { at, netns, change };
        let gone = before.difference(&ids).map(signal(NamespaceChange::Gone));
        let new = ids
            .difference(&before)
            .map(signal(NamespaceChange::Watched));
        gone.chain(new).collect()
    }

    /// Whether what was heard on the flow at `heard` may be evidence: its namespace is watched, and
    /// it comes from another host.
    fn may_tell(&mut self, flow: &FlowId, heard: Time) -> bool {
        let netns = flow.netns;
        let is_own = netns == 0 || netns == self.namespaces.own();
        is_own
            || (self.others.contains_key(&netns) && !self.is_local(netns, flow.remote.ip(), heard))
    }

    /// Whether the address is one of this other namespace's own.
    fn is_local(&mut self, netns: u32, addr: IpAddr, heard: Time) -> bool {
        let Some(namespace) = self.others.get(&netns) else {
            return false;
        };
        let local = self.local.entry(netns);
        local
            .or_insert_with(|| LocalAddresses::of(Arc::clone(namespace)))
            .has(addr, heard)
    }

    /// Removes what is no evidence from a probe's event: a probe to an address of the namespace
    /// from which it was sent says nothing about the peer. Returns whether anything is left to
    /// report.
    fn probe_may_tell(&mut self, event: &mut ProbeEvent) -> bool {
        let netns = match event.target {
            ProbeTarget::ConnectFrom { netns, .. } => netns,
            ProbeTarget::Flow { flow, .. } => flow.netns,
            ProbeTarget::Connect(_) | ProbeTarget::Neighbour { .. } => return true,
        };
        if !self.is_local(netns, event.target.addr(), event.at) {
            return true;
        }
        let is_answer = matches!(event.outcome, ProbeOutcome::Answered(_));
        let errno = EADDRNOTAVAIL as u32;
        event.outcome = ProbeOutcome::Failed { errno };
        !is_answer
    }
}

/// When the flow was last heard, if its socket could be read. A timeout is no newer evidence.
fn last_heard(reading: &Option<FlowReading>) -> Option<Time> {
    reading.as_ref().and_then(|reading| reading.last_heard)
}

impl Driver {
    pub(super) fn follow_namespaces(&mut self) {
        for signal in self.looked_at.follow(&mut *self.source) {
            self.signal(signal);
        }
    }

    /// Retries a change that the source has refused.
    pub(super) fn retry_namespaces(&mut self) {
        if self.looked_at.refused {
            self.follow_namespaces();
        }
    }

    /// Removes what is no evidence from a signal. A signal that was under way when a namespace was
    /// dropped must not make its flows known again: their end would never be seen. And what another
    /// namespace hears from itself does not come from the peer, even if the peer has the same
    /// address. Returns whether anything is left to report.
    pub(super) fn drop_what_is_no_evidence(&mut self, signal: &mut Signal) -> bool {
        let looked_at = &mut self.looked_at;
        match signal {
            Signal::Flow(event) => {
                let heard = match event.kind {
                    FlowEventKind::Tlp | FlowEventKind::Rto { .. } => last_heard(&event.reading),
                    _ => None,
                };
                looked_at.may_tell(&event.flow, heard.unwrap_or(event.at))
            }
            Signal::SocketsRead { at, flows, .. } => {
                flows.retain(|reading| {
                    looked_at.may_tell(&reading.id, reading.last_heard.unwrap_or(*at))
                });
                true
            }
            Signal::Probe(event) => looked_at.probe_may_tell(event),
            _ => true,
        }
    }
}
