//! One request to a peer: admitted, made, and ended when the peer goes down.

use std::error::Error;

use tower::{Service, ServiceExt};

use super::Guard;
use crate::{Peer, PeerDown, Refused};

/// Why a request to a peer, or its body, did not complete.
///
/// ```
/// use std::io;
///
/// use detector_api::{Interrupted, Refused};
///
/// /// Whether another peer is to be asked at once.
/// fn ask_another(error: &Interrupted<io::Error>) -> bool {
///     match error {
///         Interrupted::Failed(error) => error.kind() == io::ErrorKind::TimedOut,
///         // The peer is down, or its trials are taken.
///         _ => true,
///     }
/// }
/// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
/// assert!(ask_another(&Interrupted::Refused(refused)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Interrupted<E: Error + 'static> {
    /// The peer is down: the request was not made, or was ended in flight.
    #[error("ended because the peer is down")]
    Down(#[source] PeerDown),
    /// The peer may be back, but all its trials are leased: call another peer, or this one again
    /// soon.
    #[error("not made: the peer is being tried by other calls")]
    Refused(#[source] Refused),
    /// An error that would have occurred without a detector, too.
    #[error(transparent)]
    Failed(E),
}

/// From which moment on a service's requests are guarded.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Each request from its own beginning.
    Request(Peer),
    /// All requests from the beginning of their connection: it carries none after its peer was
    /// down.
    #[cfg(feature = "connections")]
    Connection(Guard),
}

impl Origin {
    fn guard(&self) -> Guard {
        match self {
            Self::Request(peer) => Guard::new(peer),
            #[cfg(feature = "connections")]
            Self::Connection(guard) => guard.clone(),
        }
    }
}

/// Makes one request. The response is returned with the guard for its body.
///
/// The readiness of `service` is awaited in here: callers of a connection that hangs wait there,
/// and tower would let them wait without a guard.
pub(crate) async fn call<S, R>(
    origin: Origin,
    service: S,
    request: impl FnOnce(&Guard) -> R,
) -> Result<(S::Response, Guard), Interrupted<S::Error>>
where
    S: Service<R>,
    S::Error: Error + 'static,
{
    let guard = origin.guard();
    let down = Interrupted::Down;
    let admitted = guard.run(guard.peer().admit()).await.map_err(down)?;
    let admission = admitted.map_err(Interrupted::from)?;
    let request = request(&guard);
    let outcome = guard.run(service.oneshot(request)).await.map_err(down)?;
    match outcome {
        Ok(response) => {
            admission.succeeded();
            Ok((response, guard))
        }
        Err(error) => {
            admission.failed();
            Err(Interrupted::told_by(&guard, error))
        }
    }
}

impl<E: Error + 'static> Interrupted<E> {
    /// The cause of `error`. When the peer goes down, its connections are destroyed as well, and a
    /// call may notice that first.
    pub(crate) fn told_by(guard: &Guard, error: E) -> Self {
        guard.opened().map_or(Self::Failed(error), Self::Down)
    }
}

impl<E: Error + 'static> From<Refused> for Interrupted<E> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Down(down) => Self::Down(down),
            refused => Self::Refused(refused),
        }
    }
}
