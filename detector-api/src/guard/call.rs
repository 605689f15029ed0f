//! One request to a peer: admitted, made, and ended when the peer goes down.

use std::error::Error;

use tower::{Service, ServiceExt};

use super::Guard;
use crate::{Peer, PeerDown, Refused};

/// Why a request to a peer, or a body of one, did not come to its end.
///
/// ```
/// use std::io;
///
/// use detector_api::{Interrupted, Refused};
///
/// /// Whether another peer is to be asked at once.
/// fn ask_another(error: &Interrupted<io::Error>) -> bool {
///     match error {
///         Interrupted::Down(_) | Interrupted::Refused(_) => true,
///         Interrupted::Failed(error) => error.kind() == io::ErrorKind::TimedOut,
///     }
/// }
/// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
/// assert!(ask_another(&Interrupted::Refused(refused)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted<E: Error + 'static> {
    /// The peer is down: the request was not made, or what was in flight was ended.
    #[error("ended because the peer is down")]
    Down(#[source] PeerDown),
    /// The peer may be back and all its trials are taken: ask another, or this one again soon.
    #[error("not made: the peer is being tried by other calls")]
    Refused(#[source] Refused),
    /// What would have come without a detector, too.
    #[error(transparent)]
    Failed(E),
}

/// Since when a service's requests are watched.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Each from its own beginning.
    Request(Peer),
    /// All from the beginning of their connection: it carries none once its peer was down.
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

/// Makes one request. The response comes with the guard that its body is to have.
///
/// The readiness of `service` is awaited in here, too: a connection that hangs makes its callers
/// wait there, and tower would have them wait unguarded.
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
    /// What `error` comes of: when the peer is down, its connections are destroyed, too, and a call
    /// may hear of that first.
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
