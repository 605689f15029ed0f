//! The status of the connection to the daemon, for people.

use std::{fmt, sync::Arc, time::Instant};

/// The status of the connection to the daemon.
///
/// ```
/// use detector_api::{PROTOCOL, WatchStatus};
///
/// let status = WatchStatus::WrongProtocol { theirs: 2 };
/// assert_eq!(
///     status.to_string(),
///     format!(
///         "the daemon speaks protocol 2, this program {PROTOCOL}: nothing it tells is believed; \
///          install versions that fit"
///     ),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchStatus {
    /// The first attempt is in progress.
    Connecting,
    /// The daemon sends states.
    #[non_exhaustive]
    Live {
        /// Identifies this run of the daemon.
        instance: Arc<str>,
        /// The daemon's own version.
        version: Arc<str>,
    },
    /// It speaks another version of the protocol; its states are ignored.
    WrongProtocol {
        /// The daemon's version; 0 if it sends none.
        theirs: u32,
    },
    /// There is no daemon, or it no longer sends states. The last states stay valid until their
    /// time to live ends ([`PeerStates::is_fresh`](crate::PeerStates::is_fresh)).
    #[non_exhaustive]
    Away {
        /// When the daemon was first missed.
        since: Instant,
        /// The error of the last attempt.
        error: Arc<str>,
    },
}

impl fmt::Display for WatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting to the daemon"),
            Self::Live { instance, version } => {
                write!(f, "watching: daemon {version}, instance {instance}")
            }
            Self::WrongProtocol { theirs } => write!(
                f,
                "the daemon speaks protocol {theirs}, this program {}: nothing it tells is \
                 believed; install versions that fit",
                crate::PROTOCOL
            ),
            Self::Away { error, .. } => write!(f, "the daemon is away: {error}"),
        }
    }
}
