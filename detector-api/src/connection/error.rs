//! Why there is no connection.

use std::{error::Error, io, sync::Arc};

use crate::{PeerDown, Refused};

/// Why [`get_or_connect`](crate::ConnectionCache::get_or_connect) gave no connection. One failed
/// dial is told to all who waited for it, so this clones.
///
/// ```
/// use detector_api::ConnectionError;
///
/// /// Whether trying this peer again soon can help.
/// fn is_worth_a_retry(error: &ConnectionError) -> bool {
///     match error {
///         ConnectionError::Down { .. } => false,
///         ConnectionError::Refused { .. } | ConnectionError::Full { .. } => true,
///         ConnectionError::Dial { .. } => true,
///     }
/// }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The breaker is Open: nothing was dialled, or the dial was ended.
    #[error("not connected to {key}: the peer is down; ask another")]
    Down {
        /// What was asked for.
        key: String,
        /// Why and since when.
        #[source]
        down: PeerDown,
    },
    /// The breaker is HalfOpen and all its trials are taken: others are finding out whether the
    /// peer is back.
    #[error("not connected to {key}: the peer is being tried by other calls; try again soon")]
    Refused {
        /// What was asked for.
        key: String,
        /// Which peer it is.
        #[source]
        refused: Refused,
    },
    /// The dial failed.
    #[error("cannot connect to {key}")]
    Dial {
        /// What was asked for.
        key: String,
        /// What the dial failed with.
        #[source]
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// As many dials as the cache may hold connections are under way.
    #[error("not connected to {key}: {limit} other dials are under way, which is all that may be")]
    Full {
        /// What was asked for.
        key: String,
        /// [`Limits::connections`](crate::Limits::connections).
        limit: usize,
    },
}

impl ConnectionError {
    pub(super) fn abandoned(key: &str) -> Self {
        let cause = "the dial ended without a result: it panicked, or its runtime stopped";
        Self::Dial {
            key: key.to_owned(),
            cause: Arc::new(io::Error::other(cause)),
        }
    }

    /// Why the peer is down, where that is the cause.
    ///
    /// ```
    /// use detector_api::{ConnectionError, PeerDown, v1::Reason};
    ///
    /// let down = PeerDown {
    ///     peer: "http://node4:9000".to_owned(),
    ///     reason: Reason::ProbeUnanswered,
    ///     since: None,
    /// };
    /// let key = "http://node4:9000/data/rustfs1".to_owned();
    /// let error = ConnectionError::Down { key, down: down.clone() };
    /// assert_eq!(error.peer_down(), Some(&down));
    /// ```
    pub fn peer_down(&self) -> Option<&PeerDown> {
        match self {
            Self::Down { down, .. } => Some(down),
            _ => None,
        }
    }

    /// The dial's own error, where it is an `E`.
    ///
    /// ```
    /// use std::{io, sync::Arc};
    ///
    /// use detector_api::ConnectionError;
    ///
    /// let error = ConnectionError::Dial {
    ///     key: "http://node4:9000".to_owned(),
    ///     cause: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
    /// };
    /// let cause: &io::Error = error.dial_error().expect("it was an io::Error");
    /// assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    /// ```
    pub fn dial_error<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Dial { cause, .. } => cause.downcast_ref(),
            _ => None,
        }
    }
}
