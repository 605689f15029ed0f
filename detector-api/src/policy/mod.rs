//! The deadline and the retries of each kind of call, and the code that makes calls by these rules.
//!
//! [`Policies`] holds a [`CallPolicy`] for each kind of operation, with RustFS's defaults and the
//! names of its environment variables; [`Caller`] makes calls with them.

mod adaptive;
mod caller;
mod env;
mod failure;
mod fan_out;
mod retry;

pub use self::{
    adaptive::Deadline,
    caller::{Call, CallError, Caller},
    failure::CallFailure,
    fan_out::Answer,
    retry::Retry,
};

use std::time::Duration;

use crate::v1::Operation;

/// How calls of one kind are made.
///
/// ```
/// use std::time::Duration;
/// use detector_api::policy::{CallPolicy, Deadline, Retry};
///
/// let quick = CallPolicy {
///     deadline: Deadline::Fixed(Duration::from_secs(1)),
///     retry: Retry::NEVER,
/// };
/// assert_eq!(quick.deadline.at_most(), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPolicy {
    /// The time limit of one attempt.
    pub deadline: Deadline,
    /// How a call that may be repeated is retried.
    pub retry: Retry,
}

impl CallPolicy {
    /// One attempt with this time limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::policy::{CallPolicy, Retry};
    ///
    /// let quick = CallPolicy::within(Duration::from_secs(1));
    /// assert_eq!(quick.retry, Retry::NEVER);
    /// ```
    pub const fn within(limit: Duration) -> Self {
        Self {
            deadline: Deadline::Fixed(limit),
            retry: Retry::NEVER,
        }
    }
}

/// A policy for each kind of operation.
///
/// | operation | deadline of an attempt | tried again | source |
/// |---|---|---|---|
/// | control | 30 s | no | RustFS's RPC time-out |
/// | bulk, upload | none but the peer's death: 1 h | no | a transfer takes as long as it takes |
/// | disk state | 3 s | no | RustFS power-off work, P1 |
/// | IAM read | 10 s | no | P1 |
/// | console | 2 s a peer | no | P0 |
/// | lock | 3 s | 3 times, after 100, 200 and 400 ms | RustFS's lock RPC time-out; P2 |
///
/// ```
/// use std::time::Duration;
/// use detector_api::{policy::Policies, v1::Operation};
///
/// let mut policies = Policies::default();
/// assert_eq!(
///     policies.of(Operation::DiskState).deadline.at_most(),
///     Duration::from_secs(3)
/// );
/// policies.console.deadline = detector_api::policy::Deadline::Fixed(Duration::from_millis(500));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// Small messages between nodes.
    pub control: CallPolicy,
    /// Object data, including uploads.
    pub bulk: CallPolicy,
    /// Queries of a disk's state.
    pub disk_state: CallPolicy,
    /// Reads of users and their rights.
    pub iam_read: CallPolicy,
    /// What the console shows of each peer.
    pub console: CallPolicy,
    /// Acquiring a lock.
    pub lock: CallPolicy,
}

/// A transfer ends with its peer's death, which its connection notices. This limit only keeps a
/// transfer that nothing ends from running for ever.
const TRANSFER_LIMIT: Duration = Duration::from_secs(3600);

impl Default for Policies {
    fn default() -> Self {
        Self {
            control: CallPolicy::within(Duration::from_secs(30)),
            bulk: CallPolicy::within(TRANSFER_LIMIT),
            disk_state: CallPolicy::within(Duration::from_secs(3)),
            iam_read: CallPolicy::within(Duration::from_secs(10)),
            console: CallPolicy::within(Duration::from_secs(2)),
            lock: CallPolicy {
                deadline: Deadline::Fixed(Duration::from_secs(3)),
                retry: Retry {
                    retries: 3,
                    base_delay: Duration::from_millis(100),
                },
            },
        }
    }
}

impl Policies {
    /// The policy for an operation; `control` if the operation is not specified.
    ///
    /// ```
    /// use detector_api::{policy::Policies, v1::Operation};
    ///
    /// let policies = Policies::default();
    /// assert_eq!(policies.of(Operation::Upload), policies.bulk);
    /// assert_eq!(policies.of(Operation::Lock).retry.retries, 3);
    /// ```
    pub fn of(&self, operation: Operation) -> CallPolicy {
        match operation {
            Operation::Unspecified | Operation::Control => self.control,
            Operation::Bulk | Operation::Upload => self.bulk,
            Operation::DiskState => self.disk_state,
            Operation::IamRead => self.iam_read,
            Operation::Console => self.console,
            Operation::Lock => self.lock,
        }
    }
}

#[cfg(test)]
mod tests;
