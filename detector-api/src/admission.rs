//! Decides whether one call to a peer may be made: at once, as a trial, or not at all.
//!
//! A HalfOpen breaker admits a bounded number of calls over all programs of the node, so the daemon
//! leases them as trials. If the daemon does not answer, the call is made as if there were no
//! detector.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Request, transport::Channel};

use crate::{
    Peer, PeerDown,
    v1::{
        AcquireTrialRequest, Breaker, FinishTrialRequest, TrialOutcome,
        detector_client::DetectorClient,
    },
};

/// How long the daemon may take to lease a trial; a local call takes a fraction of a millisecond.
pub(crate) const ACQUIRE_LIMIT: Duration = Duration::from_millis(50);
/// How long the daemon may take to accept a trial's outcome.
const FINISH_LIMIT: Duration = Duration::from_secs(1);
/// For how long the daemon is not asked again after it said that all trials are leased.
const TAKEN_FOR: Duration = Duration::from_millis(20);

/// Why a call must not be made now.
///
/// ```
/// use detector_api::Refused;
///
/// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
/// assert_eq!(refused.peer(), "http://node4:9000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The breaker is Open.
    #[error(transparent)]
    Down(#[from] PeerDown),
    /// The breaker is HalfOpen, and other calls hold all trials.
    #[error("{peer} may be back: others are trying it")]
    TrialsTaken {
        /// The peer's name.
        peer: String,
    },
}

impl Refused {
    /// The peer that must not be called.
    ///
    /// ```
    /// # use detector_api::Refused;
    /// let refused = Refused::TrialsTaken { peer: "http://node4:9000".to_owned() };
    /// assert_eq!(refused.peer(), "http://node4:9000");
    /// ```
    pub fn peer(&self) -> &str {
        match self {
            Self::Down(down) => &down.peer,
            Self::TrialsTaken { peer } => peer,
        }
    }
}

/// Permission to make one call. Report the call's outcome with [`succeeded`](Self::succeeded) or
/// [`failed`](Self::failed). The outcome of a trial decides whether the breaker closes or opens
/// again; the outcome of any other call changes nothing. If an admission is dropped, no outcome is
/// reported, and the lease of a trial expires (after 5 s with the daemon's defaults).
///
/// ```
/// use detector_api::{Peer, Refused};
///
/// # async fn call(_peer: &str) -> Result<(), &'static str> { Ok(()) }
/// async fn careful(peer: &Peer) -> Result<(), Box<dyn std::error::Error>> {
///     let admission = peer.admit().await?;
///     match call(peer.name()).await {
///         Ok(()) => {
///             admission.succeeded();
///             Ok(())
///         }
///         Err(error) => {
///             admission.failed();
///             Err(error.into())
///         }
///     }
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # careful(&Peer::unwatched("http://node4:9000")).await.unwrap();
/// # });
/// ```
#[must_use = "tell what came of the call"]
pub struct Admission {
    trial: Option<Trial>,
}

struct Trial {
    peer: Peer,
    client: DetectorClient<Channel>,
    watched_as: Arc<str>,
    id: u64,
}

impl Admission {
    const FREE: Self = Self { trial: None };

    /// Whether the call is a trial of a peer whose breaker is HalfOpen.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use detector_api::Peer;
    /// let admission = Peer::unwatched("http://node4:9000").admit().await?;
    /// assert!(!admission.is_trial());
    /// # Ok::<(), detector_api::Refused>(())
    /// # }).unwrap();
    /// ```
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Reports that the peer answered. Does not wait for the daemon.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use detector_api::Peer;
    /// Peer::unwatched("http://node4:9000").admit().await?.succeeded();
    /// # Ok::<(), detector_api::Refused>(())
    /// # }).unwrap();
    /// ```
    pub fn succeeded(self) {
        self.finish(TrialOutcome::Succeeded);
    }

    /// Reports that the peer did not answer. Does not wait for the daemon.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use detector_api::Peer;
    /// Peer::unwatched("http://node4:9000").admit().await?.failed();
    /// # Ok::<(), detector_api::Refused>(())
    /// # }).unwrap();
    /// ```
    pub fn failed(self) {
        self.finish(TrialOutcome::Failed);
    }

    fn finish(self, outcome: TrialOutcome) {
        let Some(trial) = self.trial else {
            return;
        };
        let request = FinishTrialRequest {
            peer: trial.watched_as.to_string(),
            trial: trial.id,
            outcome: outcome.into(),
        };
        let mut client = trial.client;
        trial.peer.slot().source().spawn(async move {
            // If this fails, the lease expires by itself.
            let _ = timeout(FINISH_LIMIT, client.finish_trial(request)).await;
        });
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("trial", &self.trial.as_ref().map(|trial| trial.id))
            .finish()
    }
}

impl Peer {
    /// Asks for permission to make one call to the peer. It is granted at once if the breaker is
    /// Closed, and refused if it is Open. If the breaker is HalfOpen, the call requests one
    /// of a bounded number of trials, for at most 50 ms; if the daemon does not answer, the call
    /// may be made.
    ///
    /// A trial without a reported outcome, for example because its caller went away or because this
    /// future was dropped while the daemon was asked, stays leased until the lease expires after 5
    /// s.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use detector_api::{Refused, v1::Breaker};
    ///
    /// # use std::time::Duration;
    /// # use detector_api::{testing::FakeDaemon, v1::Verdict};
    /// # let daemon = FakeDaemon::start().await;
    /// # daemon.publish(FakeDaemon::state("http://node4:9000", Verdict::Unknown, Breaker::HalfOpen));
    /// # daemon.allow_trials(1);
    /// # let watch = daemon.watch();
    /// # assert!(watch.ready(Duration::from_secs(5)).await);
    /// let peer = watch.states().peer("http://node4:9000");
    /// assert_eq!(peer.state().breaker, Breaker::HalfOpen);
    /// let trial = peer.admit().await.unwrap();
    /// assert!(trial.is_trial());
    /// // One is enough, the daemon says.
    /// assert!(matches!(peer.admit().await, Err(Refused::TrialsTaken { .. })));
    /// trial.succeeded();
    /// # });
    /// ```
    pub async fn admit(&self) -> Result<Admission, Refused> {
        match self.free()? {
            Some(admission) => Ok(admission),
            None => {
                let limit = self.slot().source().acquire_limit();
                self.try_it(Instant::now() + limit).await
            }
        }
    }

    /// The decision, if it does not need the daemon.
    fn free(&self) -> Result<Option<Admission>, Refused> {
        let state = self.state();
        match state.breaker {
            Breaker::Open => Err(self.as_down(state).into()),
            Breaker::HalfOpen => Ok(None),
            Breaker::Closed | Breaker::Unspecified => Ok(Some(Admission::FREE)),
        }
    }

    /// Only one caller asks at a time. If many calls wait for a peer that comes back, all but the
    /// first few learn from these that the trials are taken.
    async fn try_it(&self, deadline: Instant) -> Result<Admission, Refused> {
        let Ok(mut taken) = timeout_at(deadline, self.slot().trials.lock()).await else {
            // Another caller's request is still waiting, so this one would get no answer either.
            return Ok(Admission::FREE);
        };
        // The state may have changed during the wait.
        if let Some(admission) = self.free()? {
            return Ok(admission);
        }
        if taken.is_some_and(|since| since.elapsed() < TAKEN_FOR) {
            return Err(self.trials_taken());
        }
        let told = self.slot().told();
        let (Some(client), Some(watched_as)) = (self.slot().source().client(), told.watched_as)
        else {
            return Ok(Admission::FREE);
        };
        match acquire(client.clone(), &watched_as, deadline).await {
            Answer::Trial(id) => Ok(Admission {
                trial: Some(Trial {
                    peer: self.clone(),
                    client,
                    watched_as,
                    id,
                }),
            }),
            Answer::Taken => {
                *taken = Some(Instant::now());
                Err(self.trials_taken())
            }
            Answer::NotHalfOpen => self.look_again(deadline).await,
            Answer::None => Ok(Admission::FREE),
        }
    }

    /// The daemon says that the breaker is no longer HalfOpen, so a new state is on its way.
    async fn look_again(&self, deadline: Instant) -> Result<Admission, Refused> {
        let moved_on = self.until(|state| state.breaker != Breaker::HalfOpen);
        // Whether or not the state arrives in time, the latest one decides.
        let _ = timeout_at(deadline, moved_on).await;
        Ok(self.free()?.unwrap_or(Admission::FREE))
    }

    fn trials_taken(&self) -> Refused {
        Refused::TrialsTaken {
            peer: self.name().to_owned(),
        }
    }
}

/// The daemon's answer to a request for a trial.
enum Answer {
    Trial(u64),
    Taken,
    NotHalfOpen,
    /// No usable answer.
    None,
}

async fn acquire(
    mut client: DetectorClient<Channel>,
    peer: &Arc<str>,
    deadline: Instant,
) -> Answer {
    let request = Request::new(AcquireTrialRequest {
        peer: peer.to_string(),
    });
    match timeout_at(deadline, client.acquire_trial(request)).await {
        Ok(Ok(trial)) => Answer::Trial(trial.into_inner().trial),
        Ok(Err(status)) => match status.code() {
            Code::ResourceExhausted => Answer::Taken,
            Code::FailedPrecondition => Answer::NotHalfOpen,
            _ => Answer::None,
        },
        Err(_) => Answer::None,
    }
}

#[cfg(test)]
mod tests;
