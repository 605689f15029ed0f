//! Why there is no connection.

use std::{error::Error, io, sync::Arc};

use crate::{PeerDown, Refused};

/// Why [`get_or_connect`](crate::ConnectionCache::get_or_connect) returned no connection. All
/// callers that waited for one failed dial get its error, so errors can be cloned.
///
/// ```
/// use detector_api::ConnectionError;
///
/// /// Whether trying this peer again soon can help.
/// fn is_worth_a_retry(error: &ConnectionError) -> bool {
///     match error {
///         ConnectionError::Down { .. } => false,
///         // The trials are taken, other dials are under way, or the dial failed.
///         _ => true,
///     }
/// }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The breaker is Open: nothing was dialled, or the dial was ended.
    #[error("not connected to {key}: the peer is down; ask another")]
    Down {
        /// The requested key.
        key: String,
        /// Why and since when the peer is down.
        #[source]
        down: PeerDown,
    },
    /// The breaker is HalfOpen and all its trials are leased: other calls are trying the peer.
    #[error("not connected to {key}: the peer is being tried by other calls; try again soon")]
    Refused {
        /// The requested key.
        key: String,
        /// The peer.
        #[source]
        refused: Refused,
    },
    /// The dial failed.
    #[error("cannot connect to {key}")]
    Dial {
        /// The requested key.
        key: String,
        /// The dial's error.
        #[source]
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// The number of running dials has reached the limit of the cache.
    #[error("not connected to {key}: {limit} other dials are under way, which is all that may be")]
    Full {
        /// The requested key.
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

    /// Why the peer is down, if that is the cause.
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

    /// The dial's own error, if it is of the type `E`.
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
