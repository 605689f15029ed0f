//! What follows from reports: locks, cascades, the quorum outlook, and health.

use std::time::Duration;

use detector_api::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    convert::{duration, timestamp, word},
    rfc3339, seconds,
};
use crate::core;

/// `detector.v1.Health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub score: u32,
    pub trend: String,
    pub loss_penalty: u32,
    pub rtt_penalty: u32,
    pub stall_penalty: u32,
    pub timeout_penalty: u32,
}

/// `detector.v1.Lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    pub lock: String,
    pub health: String,
    pub attempts: u64,
    pub timeouts: u64,
    pub consecutive_timeouts: u32,
    #[serde(serialize_with = "seconds")]
    pub last_timeout_age: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub last_success_age: Option<Duration>,
}

/// `detector.v1.Cascade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cascade {
    pub pattern: String,
    pub initial: String,
    pub component: String,
    pub kernel_verdict: bool,
    pub followed: u32,
    #[serde(serialize_with = "rfc3339")]
    pub began_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339")]
    pub detected_at: Option<Timestamp>,
    pub recurring: bool,
    pub summary: String,
}

/// `detector.v1.PoolOutlook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolOutlook {
    pub pool: String,
    pub nodes: u32,
    pub nodes_available: u32,
    pub disks: u32,
    pub disks_available: u32,
    pub sets: Vec<SetOutlook>,
}

/// `detector.v1.SetOutlook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetOutlook {
    pub set: u32,
    pub disks: u32,
    pub disks_available: u32,
    pub read_quorum: u32,
    pub write_quorum: u32,
    pub readable: bool,
    pub writable: bool,
    pub more_losses_until_unreadable: u32,
    pub more_losses_until_unwritable: u32,
}

impl From<&core::Health> for Health {
    fn from(health: &core::Health) -> Self {
        Self {
            score: health.score,
            trend: health.trend.to_string(),
            loss_penalty: health.loss_penalty,
            rtt_penalty: health.rtt_penalty,
            stall_penalty: health.stall_penalty,
            timeout_penalty: health.timeout_penalty,
        }
    }
}

impl From<v1::Health> for Health {
    fn from(health: v1::Health) -> Self {
        Self {
            trend: word(health.trend().as_str_name(), "TREND_"),
            score: health.score,
            loss_penalty: health.loss_penalty,
            rtt_penalty: health.rtt_penalty,
            stall_penalty: health.stall_penalty,
            timeout_penalty: health.timeout_penalty,
        }
    }
}

impl From<v1::Lock> for Lock {
    fn from(lock: v1::Lock) -> Self {
        Self {
            health: word(lock.health().as_str_name(), "LOCK_HEALTH_"),
            lock: lock.lock,
            attempts: lock.attempts,
            timeouts: lock.timeouts,
            consecutive_timeouts: lock.consecutive_timeouts,
            last_timeout_age: duration(lock.last_timeout_age),
            last_success_age: duration(lock.last_success_age),
        }
    }
}

impl From<v1::Cascade> for Cascade {
    fn from(cascade: v1::Cascade) -> Self {
        Self {
            initial: word(cascade.initial().as_str_name(), "FAILURE_KIND_"),
            pattern: cascade.pattern,
            component: cascade.component,
            kernel_verdict: cascade.kernel_verdict,
            followed: cascade.followed,
            began_at: timestamp(cascade.began_at),
            detected_at: timestamp(cascade.detected_at),
            recurring: cascade.recurring,
            summary: cascade.summary,
        }
    }
}

impl From<v1::PoolOutlook> for PoolOutlook {
    fn from(pool: v1::PoolOutlook) -> Self {
        Self {
            pool: pool.pool,
            nodes: pool.nodes,
            nodes_available: pool.nodes_available,
            disks: pool.disks,
            disks_available: pool.disks_available,
            sets: pool.sets.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::SetOutlook> for SetOutlook {
    fn from(set: v1::SetOutlook) -> Self {
        Self {
            set: set.set,
            disks: set.disks,
            disks_available: set.disks_available,
            read_quorum: set.read_quorum,
            write_quorum: set.write_quorum,
            readable: set.readable,
            writable: set.writable,
            more_losses_until_unreadable: set.more_losses_until_unreadable,
            more_losses_until_unwritable: set.more_losses_until_unwritable,
        }
    }
}
