//! Converts locks and cascades to the protocol's types.

use detector_api::v1;

use super::convert::{duration, same_words};
use crate::{
    clock,
    insight::{Cascade, FailureKind, LockHealth, LockLine},
    model::Time,
    serve::Locks,
};

same_words! {
    lock_health: LockHealth { Healthy Degraded Unhealthy }
    failure_kind: FailureKind {
        PeerUnreachable LockTimeout DiskStateTimeout IamTimeout UploadFailed QuorumLost
    }
}

pub(in crate::serve) fn locks(locks: &Locks, now: Time) -> v1::ListLocksResponse {
    v1::ListLocksResponse {
        locks: locks.lines.iter().map(|line| lock(line, now)).collect(),
        beyond_bound: locks.beyond_bound,
    }
}

fn lock(line: &LockLine, now: Time) -> v1::Lock {
    let age = |at: Option<Time>| at.map(|at| duration(now.since(at)));
    v1::Lock {
        lock: line.lock.to_string(),
        health: lock_health(line.health).into(),
        attempts: line.counts.attempts,
        timeouts: line.counts.timeouts,
        consecutive_timeouts: line.counts.consecutive_timeouts,
        last_timeout_age: age(line.counts.last_timeout),
        last_success_age: age(line.counts.last_success),
    }
}

pub(in crate::serve) fn cascade(cascade: &Cascade) -> v1::Cascade {
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
