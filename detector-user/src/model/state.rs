//! A peer's name, and what is published about a peer.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Breaker, Health, Mode, Override, Reason, Time, Verdict};

/// A peer's name: scheme, host and port, as in `http://node4:9000`. Lower case, no path, no
/// trailing slash, IPv6 in brackets. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// A name that is already in its canonical form (the parser in `config` makes it so).
    pub fn from_canonical(name: &str) -> Self {
        Self(Arc::from(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is published about a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerState {
    pub peer: PeerName,
    pub verdict: Verdict,
    /// What clients act on: always Closed in observe mode.
    pub breaker: Breaker,
    /// What the breaker would be in enforce mode.
    pub would_be_breaker: Breaker,
    pub reason: Reason,
    /// This node itself may be cut off: until that is over the peer does not become Dead and its
    /// breaker does not open.
    pub isolated: bool,
    /// Rises by one with each change of the verdict.
    pub generation: u64,
    /// Rises with each published change of any peer.
    pub revision: u64,
    pub mode: Mode,
    pub addresses: Vec<IpAddr>,
    pub changed_at: Time,
    /// When anything was last heard from the peer, on any flow.
    pub last_heard: Option<Time>,
    /// For Dead: the time from the first unanswered demand to the verdict.
    pub detection_latency: Option<Duration>,
    /// The breaker is open, or half open, because of the node's own reports alone, or because the
    /// peer was dead before the daemon started: a hint for clients. The kernel has no evidence, so
    /// nothing is destroyed or refused.
    pub presumed_down: bool,
    /// Since when a path to the peer has been silent, if the path is Dead, or else since when the
    /// node's own calls to it have failed; the earliest of all paths. While another path lives, it
    /// may be set although the peer is not Dead. `None` when neither is the case.
    pub down_since: Option<Time>,
    /// The kernel's smoothed round-trip time and its mean deviation, of the flow that was heard
    /// last; `None` when no flow has measured them.
    pub srtt: Option<Duration>,
    pub rtt_variance: Option<Duration>,
    /// `None` while nothing is known of the peer.
    pub health: Option<Health>,
    /// Why the breaker is what it is; `reason` is the verdict's.
    pub breaker_reason: Reason,
    /// How many flows are stalled (their own retransmissions go unanswered while the peer lives),
    /// and how long the oldest of them has been.
    pub stalled_flows: u32,
    pub oldest_stall: Option<Duration>,
    /// Another host answers for one of the peer's addresses on the link.
    pub contested: bool,
    /// An administrator's override of the breaker.
    pub overridden: Option<Override>,
    /// The state of each address; `verdict` sums them up.
    pub paths: Vec<PathState>,
}

/// What is published about the way to one address of a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathState {
    pub address: IpAddr,
    pub verdict: Verdict,
    pub reason: Reason,
    /// What the breaker would be if this were the only path, in enforce mode.
    pub breaker: Breaker,
    pub last_heard: Option<Time>,
    pub measured: Measured,
}

/// What the last socket snapshots show of one address. Clients that ask get its present values; a
/// change of these alone is not published.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// How many connections there are with the peer's endpoints.
    pub flows: u32,
    /// The kernel's smoothed round-trip time of the flow that was heard last.
    pub srtt: Option<Duration>,
    /// The share of sent segments that was lost lately (0 to 1), to a thousandth.
    pub loss: f64,
}

impl PeerState {
    /// The same state with another breaker.
    pub(crate) fn with_breaker(self, breaker: Breaker) -> Self {
        Self {
            breaker: match self.mode {
                Mode::Enforce => breaker,
                Mode::Observe => Breaker::Closed,
            },
            would_be_breaker: breaker,
            ..self
        }
    }
}
