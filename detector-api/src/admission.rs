//! Whether one call to a peer may be made: at once, as a trial, or not.
//!
//! A breaker that is HalfOpen admits a bounded number of calls, over all programs of the node:
//! the daemon leases them. Where it cannot be asked, a call is made as if there were no
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

/// How long the daemon may take to lease a trial: a local call takes a fraction of a
/// millisecond.
pub(crate) const ACQUIRE_LIMIT: Duration = Duration::from_millis(50);
/// How long it may take to take one back.
const FINISH_LIMIT: Duration = Duration::from_secs(1);
/// For how long nobody asks again after all trials were found leased.
const TAKEN_FOR: Duration = Duration::from_millis(20);

/// Why a call is not to be made now.
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
    /// The breaker is HalfOpen, and other calls are trying the peer already.
    #[error("{peer} may be back: others are trying it")]
    TrialsTaken {
        /// The peer's name.
        peer: String,
    },
}

impl Refused {
    /// The peer that is not to be called.
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

/// Leave to make one call. What came of it is told with [`succeeded`](Self::succeeded) or
/// [`failed`](Self::failed): of a trial, this decides whether the breaker closes or opens
/// again; of any other call, it changes nothing. One that is dropped has nothing to tell: a
/// trial's lease then ends by itself (after 5 s, as the daemon has it).
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

    /// Whether the call tries a peer whose breaker is HalfOpen.
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

    /// The peer answered. Does not wait for the daemon.
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

    /// The peer did not answer. Does not wait for the daemon.
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
            // Where it fails, the lease ends by itself.
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
    /// Leave to make one call to the peer: at once where its breaker is Closed, never where
    /// it is Open, and as one of a bounded number of trials where it is HalfOpen. Only then is
    /// the daemon asked, for 50 ms at most; where it does not answer, the call may be made.
    ///
    /// A trial of which nothing is told, as when its caller leaves or this is cancelled while the
    /// daemon is asked, counts as one until the daemon ends its lease, after 5 s.
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

    /// What can be said without the daemon.
    fn free(&self) -> Result<Option<Admission>, Refused> {
        let state = self.state();
        match state.breaker {
            Breaker::Open => Err(self.as_down(state).into()),
            Breaker::HalfOpen => Ok(None),
            Breaker::Closed | Breaker::Unspecified => Ok(Some(Admission::FREE)),
        }
    }

    /// One asks at a time: when many calls wait for a peer that comes back, all but the first
    /// few learn from these that the trials are taken.
    async fn try_it(&self, deadline: Instant) -> Result<Admission, Refused> {
        let Ok(mut taken) = timeout_at(deadline, self.slot().trials.lock()).await else {
            // Whoever asks gets no answer either.
            return Ok(Admission::FREE);
        };
        // It may have changed during the wait.
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

    /// The daemon says that the breaker is HalfOpen no more; the news is on its way.
    async fn look_again(&self, deadline: Instant) -> Result<Admission, Refused> {
        let moved_on = self.until(|state| state.breaker != Breaker::HalfOpen);
        // Whether it comes in time or not, what is known then counts.
        let _ = timeout_at(deadline, moved_on).await;
        Ok(self.free()?.unwrap_or(Admission::FREE))
    }

    fn trials_taken(&self) -> Refused {
        Refused::TrialsTaken {
            peer: self.name().to_owned(),
        }
    }
}

/// What the daemon says to one who asks for a trial.
enum Answer {
    Trial(u64),
    Taken,
    NotHalfOpen,
    /// Nothing that counts.
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
