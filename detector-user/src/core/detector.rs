use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::{
    Endpoint, Explanation, FlowEvent, FlowId, PeerName, PeerState, ProbeId, ProbeTarget, Settings,
    Signal, Time, Trial, TrialError, TrialOutcome, Verdict,
    peer::{Change, Peer},
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
    /// Destroy these sockets, each only if it has heard nothing since `silent_since` when it
    /// is looked at for the last time, and report with [`Signal::SocketsDestroyed`].
    DestroySockets {
        peer: PeerName,
        generation: u64,
        silent_since: Time,
        /// Each flow with the cookie of its socket.
        sockets: Vec<(FlowId, u64)>,
    },
    /// The peer was heard, and nothing else of what is published changed.
    Heard { peer: PeerName, at: Time },
    /// Publish this change.
    Publish(PeerState),
    /// Publish that the peer is no longer watched.
    Retract { peer: PeerName, revision: u64 },
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
    effects: VecDeque<Effect>,
    revision: u64,
}

impl Detector {
    /// A detector that knows no peers.
    pub fn new(settings: Settings) -> Self {
        Self {
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
            } => self.with_peer(now, &peer, |peer, settings| {
                peer.sockets(now, at, source, flows, settings)
            }),
            Signal::SocketsUnreadable { peer } => self.with_peer(now, &peer, |peer, _| {
                peer.sockets_unreadable(now);
                Change::None
            }),
            Signal::Probe(_) | Signal::Network { .. } | Signal::SocketsDestroyed { .. } => {}
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timeouts.first().map(|(at, _)| *at)
    }

    /// To be called when [`Self::poll_timeout`] has passed; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        let due: Vec<_> = self
            .timeouts
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, name)| name.clone())
            .collect();
        for name in due {
            let mut look = None;
            self.with_peer(now, &name, |peer, _| {
                let (due, change) = peer.handle_timeout(now);
                look = due.then(|| peer.addresses());
                change
            });
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
        Some(self.peers.get(peer)?.explain(now, &self.settings))
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
        self.with_peer(now, peer, |peer, settings| {
            finished = peer.finish_trial(now, trial, outcome, settings);
            match finished {
                Ok(()) => Change::State,
                Err(_) => Change::None,
            }
        });
        finished
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
        self.with_peer(now, &name, |peer, _| {
            match peer.configure(now, endpoints, discovered) {
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
        self.forget_addresses(name);
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

    /// Does something to a peer, then what follows from it: publishing and new deadlines.
    fn with_peer(
        &mut self,
        now: Time,
        name: &PeerName,
        act: impl FnOnce(&mut Peer, &Settings) -> Change,
    ) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let timeout_before = peer.timeout();
        let was_dead = peer.verdict() == Verdict::Dead;
        let change = act(peer, &self.settings);
        let is_dead = peer.verdict() == Verdict::Dead;
        if peer.timeout() != timeout_before {
            self.timeouts.remove(&(timeout_before, name.clone()));
            self.timeouts.insert((peer.timeout(), name.clone()));
        }
        match change {
            Change::None => {}
            Change::State => {
                self.revision += 1;
                peer.revision = self.revision;
                self.effects
                    .push_back(Effect::Publish(peer.state(&self.settings)));
            }
        }
        if was_dead != is_dead {
            self.effects.push_back(Effect::ReportEstablished {
                peer: name.clone(),
                on: is_dead,
            });
        }
        debug_assert!(self.timeouts.len() == self.peers.len(), "{now:?}");
    }
}
