//! The settings that influence verdicts and their effects, with their defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Bounds, Mode, nanos};

/// What an operator may change about the verdict. The defaults live here and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether verdicts have effects (enforce) or are only published (observe).
    pub mode: Mode,
    /// The shortest silence, with demands unanswered, that makes a peer Dead.
    #[serde(with = "nanos")]
    pub detection_time: Duration,
    /// How long the silence must be before a dead peer's sockets are destroyed.
    #[serde(with = "nanos")]
    pub destroy_delay: Duration,
    /// The same where every layer of the peer is silent and several flows agree. The shorter of the
    /// two applies, and never before the peer is Dead.
    #[serde(default = "fast_destroy_delay_before", with = "nanos")]
    pub fast_destroy_delay: Duration,
    /// Whether a dead peer's sockets and stalled flows are destroyed at all.
    pub destroy_sockets: bool,
    /// How often a peer that has connections and was not heard lately is probed. Zero: peers are
    /// probed only while something stands unanswered.
    #[serde(with = "nanos")]
    pub idle_probe_interval: Duration,
    /// By how many percent that interval varies at random, up or down.
    pub idle_probe_jitter_percent: u32,
    /// The most probes per second, to all peers together.
    pub max_probes_per_second: u32,
    /// How long a breaker stays Open with no evidence either way before it is HalfOpen.
    #[serde(with = "nanos")]
    pub recovery_timeout: Duration,
    /// How many trials a HalfOpen breaker admits at the same time.
    pub half_open_trials: u32,
    /// How long a trial is leased for; an unreturned lease counts as no evidence.
    #[serde(with = "nanos")]
    pub trial_lease: Duration,
    /// How many reported failures in a row, with no answered call between them, make a peer
    /// Degraded or, where the kernel has no evidence, open its breaker. Zero disables both.
    #[serde(default = "failure_threshold")]
    pub failure_threshold: u32,
    /// The time within which these failures must lie. A peer that is Degraded because of them stops
    /// being so after this time without a failure.
    #[serde(default = "failure_window", with = "nanos")]
    pub failure_window: Duration,
    /// The most peers that are watched.
    pub max_peers: usize,
    /// The most flows that are kept for one peer.
    pub max_flows_per_peer: usize,
    /// Whether neighbours are probed by ARP and neighbour discovery.
    #[serde(default = "yes")]
    pub neighbour_probes: bool,
    /// The most neighbour probes per second on one link.
    #[serde(default = "neighbour_probes_per_second")]
    pub neighbour_probes_per_second: u32,
    /// Whether connect probes also go to a port of the peer that is normally closed (discard, 9).
    #[serde(default = "yes")]
    pub probe_closed_port: bool,
    /// How long a flow must be stalled before it is destroyed; zero destroys none.
    #[serde(default = "destroy_stalled_after", with = "nanos")]
    pub destroy_stalled_after: Duration,
    /// The shortest silence that makes a peer Dead while its card answers, or
    /// its segments still arrive.
    #[serde(default = "host_detection_time", with = "nanos")]
    pub host_detection_time: Duration,
}

impl Settings {
    /// The bounds that follow from `max_peers`.
    pub const fn bounds(&self) -> Bounds {
        Bounds::new(self.max_peers)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            detection_time: Duration::from_millis(250),
            destroy_delay: Duration::from_secs(1),
            fast_destroy_delay: Duration::from_millis(300),
            destroy_sockets: true,
            idle_probe_interval: Duration::from_millis(350),
            idle_probe_jitter_percent: 10,
            max_probes_per_second: 40_000,
            recovery_timeout: Duration::from_secs(30),
            half_open_trials: 3,
            trial_lease: Duration::from_secs(5),
            failure_threshold: failure_threshold(),
            failure_window: failure_window(),
            max_peers: 1024,
            max_flows_per_peer: 4096,
            neighbour_probes: yes(),
            neighbour_probes_per_second: neighbour_probes_per_second(),
            probe_closed_port: yes(),
            destroy_stalled_after: destroy_stalled_after(),
            host_detection_time: host_detection_time(),
        }
    }
}

// Older recordings lack these settings: the defaults below are used for them.

// Daemons without this setting had one destroy delay.
fn fast_destroy_delay_before() -> Duration {
    Duration::from_secs(600)
}

fn failure_threshold() -> u32 {
    3
}

fn failure_window() -> Duration {
    Duration::from_secs(60)
}

const fn yes() -> bool {
    true
}

const fn neighbour_probes_per_second() -> u32 {
    5
}

const fn destroy_stalled_after() -> Duration {
    Duration::from_secs(5)
}

const fn host_detection_time() -> Duration {
    Duration::from_secs(1)
}
