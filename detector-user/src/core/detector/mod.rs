//! The state of all peers: takes signals in, and says what is to be done.
//!
//! ```text
//! detector   signals and timeouts, each to the peers that it concerns
//! asking     probes within the budget, and witnesses
//! following  what follows from anything that is done to a peer
//! ```

mod asking;
mod following;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use self::asking::gateway_heard;
use super::{
    Cascade, Correlations, Endpoint, Explanation, FlowEvent, NamespaceChange, NeighbourState,
    NetworkEvent, OperationReport, PeerName, PeerState, ProbeEvent, ProbeId, ProbeOutcome,
    ProbeTarget, Settings, Signal, Teardown, Time, Trial, TrialError, TrialOutcome,
    budget::{Budget, Urgency},
    gateways::Gateways,
    network::Network,
    pauses::Pauses,
    peer::{Change, Peer, Surroundings},
    witness::Witnesses,
};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read all sockets with this peer's addresses and hand them back as
    /// [`Signal::SocketsRead`]. At most one is asked for a peer at a time.
    ReadSockets {
        peer: PeerName,
        addresses: Vec<IpAddr>,
    },
    /// Send one probe and report with [`Signal::Probe`] that it was sent, or failed, and
    /// then its answer, should it come within `give_up_after`.
    Probe {
        probe: ProbeId,
        target: ProbeTarget,
        give_up_after: Duration,
    },
    /// Destroy these sockets, after a last look at them, and report with
    /// [`Signal::SocketsDestroyed`].
    DestroySockets(Teardown),
    /// Destroy no more sockets of this peer: what was asked for and is not yet done is called
    /// off, and reported as spared.
    CancelTeardown { peer: PeerName },
    /// The peer was heard, and nothing else of what is published changed.
    Heard { peer: PeerName, at: Time },
    /// Publish this change.
    Publish(PeerState),
    /// Publish that the peer is no longer watched.
    Retract { peer: PeerName, revision: u64 },
    /// Failures were found to have followed from one: to be told to people.
    Cascade(Cascade),
    /// Ask the source to report finished handshakes with the peer, or no longer to.
    ReportEstablished { peer: PeerName, on: bool },
}

/// The state of all peers. See the module's doc for the order of calls.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    peers: BTreeMap<PeerName, Peer>,
    by_address: HashMap<IpAddr, BTreeSet<PeerName>>,
    timeouts: BTreeSet<(Time, PeerName)>,
    network: Network,
    gateways: Gateways,
    witnesses: Witnesses,
    /// When witnesses may be asked again.
    witnesses_due: Time,
    pauses: Pauses,
    budget: Budget,
    correlations: Correlations,
    next_probe: u64,
    effects: VecDeque<Effect>,
    revision: u64,
}

impl Detector {
    /// A detector that knows no peers.
    pub fn new(settings: Settings) -> Self {
        Self {
            network: Network::default(),
            gateways: Gateways::default(),
            witnesses: Witnesses::default(),
            witnesses_due: Time::default(),
            pauses: Pauses::default(),
            budget: Budget::new(settings.max_probes_per_second),
            correlations: Correlations::default(),
            next_probe: 1,
            settings,
            peers: BTreeMap::new(),
            by_address: HashMap::new(),
            timeouts: BTreeSet::new(),
            effects: VecDeque::new(),
            revision: 0,
        }
    }

    /// Takes in one thing that a source saw. What is about no known peer is ignored.
    pub fn handle_signal(&mut self, now: Time, signal: Signal) {
        self.notice_pause(now);
        match signal {
            Signal::PeerConfigured {
                peer,
                endpoints,
                discovered,
            } => self.configure(now, peer, endpoints, discovered),
            Signal::PeerRemoved { peer } => self.remove(&peer),
            Signal::Flow(event) => self.flow_event(now, &event),
            Signal::SocketsRead {
                at,
                source,
                peer,
                flows,
            } => {
                self.network.flows(&flows);
                self.with_peer(now, &peer, |peer, around| {
                    peer.sockets(now, at, source, flows, around)
                });
            }
            Signal::SocketsUnreadable { peer } => self.with_peer(now, &peer, |peer, _| {
                peer.sockets_unreadable(now);
                Change::None
            }),
            Signal::Probe(event) => self.probe(now, &event),
            Signal::Network { at, event } => self.network(now, at, &event),
            Signal::Namespace { netns, change, .. } => self.namespace(now, netns, change),
            Signal::SocketsDestroyed {
                peer,
                generation,
                result,
                ..
            } => self.with_peer(now, &peer, |peer, _| {
                peer.destroyed(generation, result);
                Change::None
            }),
            Signal::Reported { reports } => self.reported(now, &reports),
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let peers = self.timeouts.first().map(|(at, _)| *at);
        [peers, self.gateways.timeout()].into_iter().flatten().min()
    }

    /// To be called when [`Self::poll_timeout`] has passed; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        self.notice_pause(now);
        for target in self.gateways.take_due(now) {
            self.ask(now, None, target, Urgency::Routine);
        }
        let due: Vec<_> = self
            .timeouts
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, name)| name.clone())
            .collect();
        for name in due {
            let mut look = None;
            let mut questions = (Vec::new(), Urgency::Routine);
            self.with_peer(now, &name, |peer, around| {
                // They may have us look.
                questions = peer.take_questions(now, around);
                let (due, change) = peer.handle_timeout(now, around);
                look = due.then(|| peer.addresses());
                change
            });
            for target in questions.0 {
                if !self.ask(now, Some(&name), target, questions.1) {
                    self.with_peer(now, &name, |peer, _| {
                        peer.refused(now);
                        Change::None
                    });
                }
            }
            if let Some(addresses) = look {
                self.effects.push_back(Effect::ReadSockets {
                    peer: name,
                    addresses,
                });
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Why the peer's verdict is what it is; `None` when it is not watched.
    pub fn explain(&self, now: Time, peer: &PeerName) -> Option<Explanation> {
        Some(self.peers.get(peer)?.explain(now, self.surroundings()))
    }

    /// Leases one of a HalfOpen peer's trials.
    pub fn acquire_trial(&mut self, now: Time, peer: &PeerName) -> Result<Trial, TrialError> {
        self.peers
            .get_mut(peer)
            .ok_or(TrialError::UnknownPeer)?
            .acquire_trial(now, &self.settings)
    }

    /// Takes a trial back.
    pub fn finish_trial(
        &mut self,
        now: Time,
        peer: &PeerName,
        trial: u64,
        outcome: TrialOutcome,
    ) -> Result<(), TrialError> {
        let mut finished = Err(TrialError::UnknownPeer);
        self.with_peer(now, peer, |peer, around| {
            finished = peer.finish_trial(now, trial, outcome, around.settings);
            match finished {
                Ok(()) => Change::State,
                Err(_) => Change::None,
            }
        });
        finished
    }

    /// What is known of locks and cascades.
    pub fn correlations(&self) -> &Correlations {
        &self.correlations
    }

    /// What the node's own programs say of their operations.
    fn reported(&mut self, now: Time, reports: &[OperationReport]) {
        for report in reports {
            self.correlations.reported(now, report);
            if let Some(peer) = &report.peer {
                self.with_peer(now, peer, |peer, around| peer.reported(now, report, around));
            }
        }
        self.tell_cascades();
    }

    fn configure(&mut self, now: Time, name: PeerName, endpoints: Vec<Endpoint>, discovered: bool) {
        let known = self.peers.contains_key(&name);
        if !known {
            if self.peers.len() >= self.settings.max_peers {
                return;
            }
            let peer = Peer::new(now, name.clone(), discovered, &self.settings);
            self.timeouts.insert((peer.timeout(), name.clone()));
            self.peers.insert(name.clone(), peer);
        }
        self.forget_addresses(&name);
        for endpoint in &endpoints {
            self.by_address
                .entry(endpoint.addr)
                .or_default()
                .insert(name.clone());
        }
        self.with_peer(now, &name, |peer, around| {
            match peer.configure(now, endpoints, discovered, around) {
                Change::None if !known => Change::State,
                change => change,
            }
        });
    }

    fn remove(&mut self, name: &PeerName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        self.timeouts.remove(&(peer.timeout(), name.clone()));
        self.correlations.peer_up(name);
        self.forget_addresses(name);
        self.recall_witnesses();
        self.revision += 1;
        self.effects.push_back(Effect::Retract {
            peer: name.clone(),
            revision: self.revision,
        });
    }

    fn forget_addresses(&mut self, name: &PeerName) {
        self.by_address.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
    }

    fn flow_event(&mut self, now: Time, event: &FlowEvent) {
        let Some(names) = self.by_address.get(&event.flow.remote.ip()) else {
            return;
        };
        for name in names.clone() {
            self.with_peer(now, &name, |peer, _| {
                if peer.is_watched(event) {
                    peer.event(now, event)
                } else {
                    Change::None
                }
            });
        }
    }

    fn probe(&mut self, now: Time, event: &ProbeEvent) {
        let addr = event.target.addr();
        if let ProbeOutcome::Answered(_) = event.outcome
            && self.gateways.heard(addr, event.at)
        {
            self.witnesses.heard(gateway_heard(addr, event.at));
        }
        for name in self.by_address.get(&addr).cloned().unwrap_or_default() {
            self.with_peer(now, &name, |peer, _| peer.probe(now, event));
        }
    }

    fn network(&mut self, now: Time, at: Time, event: &NetworkEvent) {
        if let NetworkEvent::Neighbour {
            addr,
            state: NeighbourState::Reachable,
            ..
        } = event
            && self.gateways.heard(*addr, at)
        {
            self.witnesses.heard(gateway_heard(*addr, at));
        }
        let is_new = self.network.event(at, event);
        let concerned: Vec<_> = match event {
            NetworkEvent::Link { .. } if !is_new => return,
            NetworkEvent::Link { .. } => self.peers.keys().cloned().collect(),
            NetworkEvent::Route { .. } if !is_new => return,
            NetworkEvent::Route { addr, .. } | NetworkEvent::Neighbour { addr, .. } => {
                let names = self.by_address.get(addr);
                names.into_iter().flatten().cloned().collect()
            }
        };
        if let NetworkEvent::Route { .. } = event {
            self.gateways.set(now, self.network.gateways());
            self.recall_witnesses();
        }
        for name in concerned {
            self.with_peer(now, &name, |peer, around| {
                peer.network(now, at, event, around)
            });
        }
    }

    fn namespace(&mut self, now: Time, netns: u32, change: NamespaceChange) {
        self.network.namespace(netns, change);
        let is_gone = match change {
            NamespaceChange::Watched => return,
            NamespaceChange::Unreadable => false,
            NamespaceChange::Gone => true,
        };
        for name in self.peers.keys().cloned().collect::<Vec<_>>() {
            self.with_peer(now, &name, |peer, around| {
                peer.forget_namespace(now, netns, is_gone, around);
                Change::None
            });
        }
    }

    /// A call that comes later than it was asked for shows that this machine, or the loop,
    /// stood still.
    fn notice_pause(&mut self, now: Time) {
        let due = self.poll_timeout();
        self.pauses.called(due, now, self.settings.detection_time);
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            settings: &self.settings,
            network: &self.network,
            witnesses: &self.witnesses,
            pauses: &self.pauses,
        }
    }
}
