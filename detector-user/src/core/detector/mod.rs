//! The state of all peers: takes signals, returns effects.
//!
//! ```text
//! detector    what goes in and out, and when
//! signals     each signal to the paths that it concerns
//! peers       which peers there are, and the paths to their addresses
//! memories    what outlasts a restart
//! settings    other settings, while it runs
//! overrides   which peers an administrator has overridden
//! witnesses   which hosts are probed as witnesses
//! following   what follows from each change of a path
//! ```

mod following;
mod memories;
mod overrides;
mod peers;
mod settings;
mod signals;
mod witnesses;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
};

use super::{
    context::{Context, ProbeDesk},
    isolation::Isolation,
    path::Path,
    peer::Peer,
    schedule::{Grid, Urgency},
    session::Turn,
};
use crate::model::{Effect, PeerName, Settings, Signal, Time};

/// One address of one peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PathKey {
    peer: PeerName,
    addr: IpAddr,
}

/// The state of all peers. See the module's doc for the order of calls.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    peers: BTreeMap<PeerName, Peer>,
    paths: BTreeMap<PathKey, Path>,
    by_address: HashMap<IpAddr, BTreeSet<PeerName>>,
    timeouts: BTreeSet<(Time, PathKey)>,
    /// When the override of each peer that has one ends.
    override_ends: BTreeSet<(Time, PeerName)>,
    isolation: Isolation,
    /// When it was last called.
    called: Time,
    prober: ProbeDesk,
    grid: Grid,
    /// When witnesses may be probed again.
    witnesses_due: Time,
    next_trial: u64,
    effects: VecDeque<Effect>,
    revision: u64,
}

impl Detector {
    /// A detector that knows no peers.
    pub fn new(settings: Settings) -> Self {
        Self {
            isolation: Isolation::new(settings.bounds()),
            called: Time::default(),
            prober: ProbeDesk::new(&settings),
            grid: Grid::new(&settings),
            witnesses_due: Time::default(),
            settings,
            peers: BTreeMap::new(),
            paths: BTreeMap::new(),
            by_address: HashMap::new(),
            timeouts: BTreeSet::new(),
            override_ends: BTreeSet::new(),
            next_trial: 1,
            effects: VecDeque::new(),
            revision: 0,
        }
    }

    /// Takes in one thing that a source saw. A signal about an unknown peer is ignored.
    pub fn handle_signal(&mut self, now: Time, signal: Signal) {
        self.notice_pause(now);
        match signal {
            Signal::PeerConfigured {
                peer,
                endpoints,
                discovered,
            } => self.configure(now, peer, &endpoints, discovered),
            Signal::PeerRemoved { peer } => self.remove(&peer),
            Signal::Flow(event) => self.flow_event(now, &event),
            Signal::SocketsRead {
                at,
                source,
                peer,
                addr,
                flows,
            } => self.sockets(now, at, source, PathKey { peer, addr }, flows),
            Signal::SocketsUnreadable { peer, addr } => {
                self.with_path(now, &PathKey { peer, addr }, |path, _| {
                    path.sockets_unreadable(now);
                    Turn::None
                });
            }
            Signal::Probe(event) => self.probe(now, &event),
            Signal::Network { at, event } => self.network(now, at, &event),
            Signal::Namespace { netns, change, .. } => self.namespace(now, netns, change),
            Signal::SocketsDestroyed {
                at,
                peer,
                addr,
                generation,
                result,
            } => self.with_path(now, &PathKey { peer, addr }, |path, _| {
                path.destroyed(at, generation, result);
                Turn::None
            }),
            Signal::Reported { reports } => self.reported(now, &reports),
        }
    }

    /// When [`Self::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let paths = self.timeouts.first().map(|(at, _)| *at);
        let overrides = self.override_ends.first().map(|(at, _)| *at);
        [paths, overrides, self.isolation.gateways.timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Call this when [`Self::poll_timeout`] has passed; it is harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        self.notice_pause(now);
        self.end_overrides(now);
        let gateways = self.isolation.gateways.take_due(now, self.grid);
        self.probe_gateways(now, gateways, Urgency::Routine);
        let due: Vec<_> = self
            .timeouts
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, key)| key.clone())
            .collect();
        for key in due {
            self.with_path(now, &key, |path, context| path.handle_timeout(now, context));
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A call that comes later than requested shows that this machine, or the loop, was paused. What
    /// a snapshot makes due may lie before the last call, because a snapshot takes time: that is
    /// requested only since then.
    fn notice_pause(&mut self, now: Time) {
        self.grid.begin(now);
        let due = self.poll_timeout().map(|due| due.max(self.called));
        self.called = self.called.max(now);
        let detection_time = self.settings.detection_time;
        self.isolation.pauses.called(due, now, detection_time);
    }

    fn context<'a>(
        settings: &'a Settings,
        isolation: &'a mut Isolation,
        prober: &'a mut ProbeDesk,
        grid: Grid,
        effects: &'a mut VecDeque<Effect>,
    ) -> Context<'a> {
        Context {
            settings,
            isolation,
            prober,
            grid,
            effects,
        }
    }
}
