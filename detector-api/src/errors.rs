//! This crate's errors as those of other libraries, and how to find them there.

use std::{error::Error, io, sync::Arc};

use tonic::Status;

use crate::{PeerDown, Refused};

/// `UNAVAILABLE`, as for a connection that is lost.
///
/// ```
/// use detector_api::{Guard, Peer};
/// use tonic::{Code, Status};
///
/// async fn dialled(peer: &Peer) -> Result<&'static str, Status> {
///     Ok(Guard::new(peer).run(async { "a channel" }).await?)
/// }
/// # use detector_api::{PeerDown, v1::Reason};
/// # let down = PeerDown { peer: "http://node4:9000".into(), reason: Reason::RtoUnanswered, since: None };
/// # assert_eq!(Status::from(down).code(), Code::Unavailable);
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # assert_eq!(dialled(&Peer::unwatched("http://node4:9000")).await.unwrap(), "a channel");
/// # });
/// ```
impl From<PeerDown> for Status {
    fn from(down: PeerDown) -> Self {
        caused(Self::unavailable(down.to_string()), down)
    }
}

/// `UNAVAILABLE` if the peer is down. If only its trials are taken, `RESOURCE_EXHAUSTED`: nothing
/// is known against the peer.
///
/// ```
/// use detector_api::Refused;
/// use tonic::{Code, Status};
///
/// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
/// let status = Status::from(refused);
/// assert_eq!(status.code(), Code::ResourceExhausted);
/// assert!(Refused::find(&status).is_some());
/// ```
impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Down(down) => down.into(),
            taken => caused(Self::resource_exhausted(taken.to_string()), taken),
        }
    }
}

fn caused(mut status: Status, cause: impl Error + Send + Sync + 'static) -> Status {
    status.set_source(Arc::new(cause));
    status
}

/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), as when the daemon destroys a socket.
///
/// ```
/// use std::io;
///
/// use detector_api::{PeerDown, v1::Reason};
///
/// let reason = Reason::RtoUnanswered;
/// let down = PeerDown { peer: "http://node4:9000".into(), reason, since: None };
/// let error = io::Error::from(down.clone());
/// assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
/// assert_eq!(PeerDown::find(&error), Some(&down));
/// ```
impl From<PeerDown> for io::Error {
    fn from(down: PeerDown) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, down)
    }
}

/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the peer is down. If only its trials
/// are taken, [`ResourceBusy`](io::ErrorKind::ResourceBusy): nothing is known against the peer.
///
/// ```
/// use std::io;
///
/// use detector_api::Refused;
///
/// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
/// assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ResourceBusy);
/// ```
impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Down(down) => down.into(),
            taken => Self::new(io::ErrorKind::ResourceBusy, taken),
        }
    }
}

impl PeerDown {
    /// The `PeerDown` that caused an error, at any depth of its chain: in a tonic `Status`, in an
    /// error of hyper's or reqwest's, or in one of this crate's errors.
    ///
    /// ```
    /// use detector_api::{PeerDown, v1::Reason};
    ///
    /// let down = PeerDown {
    ///     peer: "http://node4:9000".to_owned(),
    ///     reason: Reason::ProbeUnanswered,
    ///     since: None,
    /// };
    /// let error = std::io::Error::other(down.clone());
    /// assert_eq!(PeerDown::find(&error), Some(&down));
    /// ```
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        find(error, |error| match error.downcast_ref() {
            Some(Refused::Down(down)) => Some(down),
            _ => error.downcast_ref(),
        })
    }

    /// The `PeerDown` that ended the call, if that is why it ended.
    ///
    /// ```
    /// use detector_api::PeerDown;
    /// use tonic::Status;
    ///
    /// fn explain(status: &Status) -> String {
    ///     match PeerDown::from_status(status) {
    ///         Some(down) => format!("{} is down: do not try again", down.peer),
    ///         None => status.to_string(),
    ///     }
    /// }
    /// assert!(explain(&Status::not_found("no such disk")).contains("no such disk"));
    /// ```
    pub fn from_status(status: &Status) -> Option<&Self> {
        Self::find(status)
    }
}

impl Refused {
    /// The `Refused` that caused an error, at any depth of its chain. A call that got no trial says
    /// nothing about the peer, so a program that counts failures should not count it:
    ///
    /// ```
    /// use detector_api::Refused;
    /// use tonic::{Code, Status};
    ///
    /// fn counts_against_the_peer(status: &Status) -> bool {
    ///     let taken = matches!(Refused::find(status), Some(Refused::TrialsTaken { .. }));
    ///     status.code() == Code::Unavailable && !taken
    /// }
    /// let taken = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
    /// assert!(!counts_against_the_peer(&Status::from(taken)));
    /// assert!(counts_against_the_peer(&Status::unavailable("connection refused")));
    /// ```
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        find(error, |error| error.downcast_ref())
    }
}

/// The first link of the chain in which `look` finds something.
fn find<'a, T>(
    error: &'a (dyn Error + 'static),
    look: fn(&'a (dyn Error + 'static)) -> Option<&'a T>,
) -> Option<&'a T> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        // An io::Error contains another one without naming it as its source.
        let io = error.downcast_ref::<io::Error>();
        match io.and_then(io::Error::get_ref) {
            Some(inner) => find(inner, look),
            None => look(error),
        }
    })
}
