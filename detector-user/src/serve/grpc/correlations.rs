//! Converts locks, cascades and the quorum outlook to the protocol's types.

use detector_api::v1;

use super::convert::duration;
use crate::{
    clock,
    core::Time,
    insight::{Cascade, FailureKind, LockHealth, LockLine, PoolOutlook, SetOutlook},
    serve::Locks,
};

pub(super) fn locks(locks: &Locks, now: Time) -> v1::ListLocksResponse {
    v1::ListLocksResponse {
        locks: locks.lines.iter().map(|line| lock(line, now)).collect(),
        beyond_bound: locks.beyond_bound,
    }
}

fn lock(line: &LockLine, now: Time) -> v1::Lock {
    let health = match line.health {
        LockHealth::Healthy => v1::LockHealth::Healthy,
        LockHealth::Degraded => v1::LockHealth::Degraded,
        LockHealth::Unhealthy => v1::LockHealth::Unhealthy,
    };
    v1::Lock {
        lock: line.lock.to_string(),
        health: health.into(),
        attempts: line.attempts,
        timeouts: line.timeouts,
        consecutive_timeouts: line.consecutive_timeouts,
        last_timeout_age: line.last_timeout.map(|at| duration(now.since(at))),
        last_success_age: line.last_success.map(|at| duration(now.since(at))),
    }
}

pub(super) fn cascade(cascade: &Cascade) -> v1::Cascade {
    v1::Cascade {
        pattern: cascade.pattern.name.to_owned(),
        initial: failure_kind(cascade.pattern.initial).into(),
        component: cascade.component.to_string(),
        kernel_verdict: cascade.kernel_verdict,
        followed: cascade.followed,
        began_at: Some(clock::wall(cascade.began_at).into()),
        detected_at: Some(clock::wall(cascade.detected_at).into()),
        recurring: cascade.recurring,
        summary: cascade.summary(),
    }
}

fn failure_kind(kind: FailureKind) -> v1::FailureKind {
    match kind {
        FailureKind::PeerUnreachable => v1::FailureKind::PeerUnreachable,
        FailureKind::LockTimeout => v1::FailureKind::LockTimeout,
        FailureKind::DiskStateTimeout => v1::FailureKind::DiskStateTimeout,
        FailureKind::IamTimeout => v1::FailureKind::IamTimeout,
        FailureKind::UploadFailed => v1::FailureKind::UploadFailed,
        FailureKind::QuorumLost => v1::FailureKind::QuorumLost,
    }
}

pub(super) fn outlook(pools: &[PoolOutlook], now: Time) -> v1::GetQuorumOutlookResponse {
    v1::GetQuorumOutlookResponse {
        pools: pools.iter().map(pool).collect(),
        as_of: Some(clock::wall(now).into()),
    }
}

fn pool(pool: &PoolOutlook) -> v1::PoolOutlook {
    v1::PoolOutlook {
        pool: pool.pool.clone(),
        nodes: pool.nodes,
        nodes_available: pool.nodes_available,
        disks: pool.disks,
        disks_available: pool.disks_available,
        sets: pool.sets.iter().map(set).collect(),
    }
}

fn set(set: &SetOutlook) -> v1::SetOutlook {
    v1::SetOutlook {
        set: set.set,
        disks: set.disks,
        disks_available: set.disks_available,
        read_quorum: set.read_quorum,
        write_quorum: set.write_quorum,
        readable: set.is_readable(),
        writable: set.is_writable(),
        more_losses_until_unreadable: set.more_losses_until_unreadable,
        more_losses_until_unwritable: set.more_losses_until_unwritable,
    }
}
