//! Locks, cascades and the quorum outlook as text.

use std::fmt::Write as _;

use detector_api::v1::{Cascade, Health, Lock, LockHealth, PeerState, PoolOutlook, Trend, Verdict};

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
        let (score, trend) = (health.score, health.trend());
        let text = format!("{score} of 100 ({}), {trend}", causes(peer, health));
        ("health", text)
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

/// Why the score is not 100. A dead peer's is 0 whatever its parts are.
fn causes(peer: &PeerState, health: &Health) -> String {
    if peer.verdict() == Verdict::Dead {
        return "dead".to_owned();
    }
    let parts = [
        ("loss", health.loss_penalty),
        ("round-trip time", health.rtt_penalty),
        ("stalls", health.stall_penalty),
        ("time-outs", health.timeout_penalty),
    ];
    let taken = parts.iter().filter(|(_, points)| *points > 0);
    let taken: Vec<_> = taken
        .map(|(part, points)| format!("{part} -{points}"))
        .collect();
    match taken.is_empty() {
        true => "nothing wrong".to_owned(),
        false => taken.join(", "),
    }
}
