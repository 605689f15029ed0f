//! Locks, cascades and the quorum outlook as text.

use std::fmt::Write as _;

use detector_api::v1::{Cascade, Health, Lock, LockHealth, PeerState, PoolOutlook, Trend};

use super::{Table, duration, given, moment, optional, time};

/// The locks as a table, the least healthy ones first.
pub fn locks(locks: &[Lock], beyond_bound: u64) -> String {
    let mut sorted: Vec<_> = locks.iter().collect();
    let rank = |lock: &Lock| match lock.health() {
        LockHealth::Unhealthy => 0,
        LockHealth::Degraded => 1,
        _ => 2,
    };
    sorted.sort_by_key(|lock| rank(lock));
    let mut table = Table::new([
        "LOCK",
        "HEALTH",
        "ATTEMPTS",
        "TIMEOUTS",
        "IN A ROW",
        "LAST TIMEOUT",
        "LAST SUCCESS",
    ]);
    for lock in sorted {
        let ago = |age| optional(age, |age| format!("{} ago", duration(age)));
        table.row([
            lock.lock.clone(),
            lock.health().to_string(),
            lock.attempts.to_string(),
            lock.timeouts.to_string(),
            lock.consecutive_timeouts.to_string(),
            ago(lock.last_timeout_age),
            ago(lock.last_success_age),
        ]);
    }
    let mut out = table.render();
    if beyond_bound > 0 {
        let _ = writeln!(
            out,
            "and {beyond_bound} reports about locks beyond those that are kept"
        );
    }
    out
}

/// The cascades, each with its meaning.
pub fn cascades(cascades: &[Cascade]) -> String {
    let mut out = String::new();
    for cascade in cascades {
        let recurring = if cascade.recurring { "  RECURRING" } else { "" };
        let _ = writeln!(
            out,
            "{}  {}  {}{recurring}\n  {}",
            optional(moment(cascade.detected_at), time),
            cascade.pattern,
            given(&cascade.component),
            cascade.summary,
        );
    }
    out
}

/// How many losses each erasure set tolerates.
pub fn outlook(pools: &[PoolOutlook]) -> String {
    let mut table = Table::new([
        "POOL",
        "SET",
        "NODES",
        "DISKS",
        "READ",
        "WRITE",
        "LOSSES TO READ",
        "LOSSES TO WRITE",
    ]);
    let quorum =
        |needed: u32, is: bool| format!("{}, needs {needed}", if is { "yes" } else { "NO" });
    for pool in pools {
        for set in &pool.sets {
            table.row([
                pool.pool.clone(),
                set.set.to_string(),
                format!("{}/{}", pool.nodes_available, pool.nodes),
                format!("{}/{}", set.disks_available, set.disks),
                quorum(set.read_quorum, set.readable),
                quorum(set.write_quorum, set.writable),
                set.more_losses_until_unreadable.to_string(),
                set.more_losses_until_unwritable.to_string(),
            ]);
        }
    }
    table.render()
}

/// The health score, with its trend unless that is steady.
pub fn score(health: &Health) -> String {
    match health.trend() {
        Trend::Steady => health.score.to_string(),
        trend => format!("{} {trend}", health.score),
    }
}

/// The parts of the health score, and the round-trip time.
pub fn vitals(peer: &PeerState) -> Vec<(&'static str, String)> {
    let health = peer.health.as_ref().map(|health| {
        let parts = format!(
            "{} of 100 (loss -{}, round-trip time -{}, stalls -{}, time-outs -{}), {}",
            health.score,
            health.loss_penalty,
            health.rtt_penalty,
            health.stall_penalty,
            health.timeout_penalty,
            health.trend(),
        );
        ("health", parts)
    });
    let rtt = peer.srtt.map(|srtt| {
        let variance = optional(peer.rtt_variance, duration);
        (
            "srtt",
            format!("{}, mean deviation {variance}", duration(srtt)),
        )
    });
    health.into_iter().chain(rtt).collect()
}
