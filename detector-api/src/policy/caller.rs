//! Makes calls according to their policies.

use std::{error::Error, fmt, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{CallFailure, Policies};
use crate::{
    Details, Peer, PeerDown, PeerStates, Report, Reporter,
    v1::{Operation, Outcome},
};

/// Makes calls with their deadlines, ends them when their peer dies, retries those that may be
/// repeated, and reports their outcomes to the daemon without ever waiting for it.
///
/// With [`PeerStates::unwatched`] and [`Reporter::disabled`], only the deadlines and the retries
/// remain, so a program that runs without a detector can use the same code.
///
/// A caller does not lease trials: that is up to the connections. If calls do not go through this
/// crate's connections, call [`Peer::admit`] first.
///
/// ```
/// use detector_api::{
///     PeerStates, Reporter,
///     policy::{Caller, Policies},
///     v1::Operation,
/// };
/// use tonic::Status;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let caller = Caller::new(PeerStates::unwatched(), Reporter::disabled(), Policies::default());
/// let id = caller
///     .to("http://node4:9000", Operation::DiskState)
///     .once(async { Ok::<_, Status>("a disk's id") })
///     .await;
/// assert_eq!(id.unwrap(), "a disk's id");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Caller {
    states: PeerStates,
    reporter: Reporter,
    policies: Policies,
}

impl Caller {
    /// A caller that reads peers' states from `states` and reports to `reporter`.
    ///
    /// ```
    /// use detector_api::{PeerWatch, policy::{Caller, Policies}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let socket = "/nowhere";
    /// let watch = PeerWatch::start(socket);
    /// let caller = Caller::new(watch.states(), watch.reporter(), Policies::default());
    /// # drop(caller);
    /// # }
    /// ```
    pub fn new(states: PeerStates, reporter: Reporter, policies: Policies) -> Self {
        Self {
            states,
            reporter,
            policies,
        }
    }

    /// The policies of this caller.
    ///
    /// ```
    /// use detector_api::{PeerStates, Reporter, policy::{Caller, Policies}};
    ///
    /// let (states, reporter) = (PeerStates::unwatched(), Reporter::disabled());
    /// let caller = Caller::new(states, reporter, Policies::default());
    /// assert_eq!(caller.policies(), &Policies::default());
    /// ```
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Starts a call to one peer, in any spelling of its name.
    ///
    /// ```
    /// use std::io;
    /// use detector_api::{PeerStates, Reporter, policy::{CallError, Caller, Policies}};
    /// use detector_api::v1::Operation;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (states, reporter) = (PeerStates::unwatched(), Reporter::disabled());
    /// let caller = Caller::new(states, reporter, Policies::default());
    /// let call = caller.to("http://node4:9000/data/rustfs1", Operation::Control);
    /// let failed = call.once(async { Err::<(), _>(io::Error::other("no such disk")) }).await;
    /// assert!(matches!(failed, Err(CallError::Failed(_))));
    /// # }
    /// ```
    pub fn to(&self, peer: &str, operation: Operation) -> Call<'_> {
        Call {
            caller: self,
            peer: Some(self.states.peer(peer)),
            operation,
            lock: "",
        }
    }

    /// Starts an operation that involves several peers, such as acquiring a lock on a quorum of
    /// them. No single peer's death ends it, and its failure counts against no peer.
    ///
    /// ```
    /// use detector_api::{PeerStates, Reporter, policy::{Caller, Policies}, v1::Operation};
    /// use tonic::Status;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let caller = Caller::new(PeerStates::unwatched(), Reporter::disabled(), Policies::default());
    /// // Up to four attempts, after pauses of 100, 200 and 400 ms.
    /// let lock = caller
    ///     .whole(Operation::Lock)
    ///     .under("config/iam/users.json")
    ///     .repeated(|| async { Ok::<_, Status>("locked") })
    ///     .await;
    /// assert!(lock.is_ok());
    /// # });
    /// ```
    pub fn whole(&self, operation: Operation) -> Call<'_> {
        Call {
            caller: self,
            peer: None,
            operation,
            lock: "",
        }
    }
}

/// A call that can be made: see [`Caller::to`] and [`Caller::whole`].
///
/// ```
/// use detector_api::policy::{Call, CallError};
/// use tonic::Status;
///
/// async fn unlock(call: Call<'_>) -> Result<(), CallError<Status>> {
///     call.under("config/iam/users.json").once(async { Ok(()) }).await
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is called until `once` or `repeated`"]
pub struct Call<'a> {
    caller: &'a Caller,
    peer: Option<Peer>,
    operation: Operation,
    /// Empty if there is none.
    lock: &'a str,
}

impl<'a> Call<'a> {
    /// Names the lock that the call is about, for the daemon's lock health.
    ///
    /// ```
    /// use detector_api::{policy::{Call, Caller}, v1::Operation};
    ///
    /// fn read(caller: &Caller) -> Call<'_> {
    ///     caller.whole(Operation::IamRead).under("config/iam/users.json")
    /// }
    /// ```
    pub fn under(mut self, lock: &'a str) -> Self {
        self.lock = lock;
        self
    }

    /// Makes one attempt. Use this for calls that must not be repeated.
    ///
    /// ```
    /// use detector_api::policy::{Call, CallError};
    /// use tonic::Status;
    ///
    /// async fn append(call: Call<'_>) -> Result<u64, CallError<Status>> {
    ///     call.once(async { Ok(4096) }).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The peer is or went down, the deadline passed, or the attempt failed.
    pub async fn once<T, E: CallFailure>(
        self,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        self.attempt(attempt, 0).await
    }

    /// Makes attempts until one succeeds, the peer answers with an error, or the policy's retries
    /// are used up. Use this only for calls that may be repeated.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use detector_api::{PeerStates, Reporter, policy::{Caller, Policies}, v1::Operation};
    /// use tonic::Status;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (states, reporter) = (PeerStates::unwatched(), Reporter::disabled());
    /// let caller = Caller::new(states, reporter, Policies::default());
    /// let attempts = Cell::new(0);
    /// let attempt = || {
    ///     attempts.set(attempts.get() + 1);
    ///     async { Err::<(), _>(Status::already_exists("held by another")) }
    /// };
    /// let refused = caller.to("http://node4:9000", Operation::Lock).repeated(attempt).await;
    /// // The peer has answered: it is not asked again.
    /// assert!(refused.is_err());
    /// assert_eq!(attempts.get(), 1);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Self::once`], from the last attempt.
    pub async fn repeated<T, E: CallFailure, F: Future<Output = Result<T, E>>>(
        self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, CallError<E>> {
        let retry = self.caller.policies.of(self.operation).retry;
        let mut retries = 0;
        loop {
            let error = match self.attempt(attempt(), retries).await {
                Err(error) if error.may_pass() => error,
                ended => return ended,
            };
            retries += 1;
            let Some(delay) = retry.delay(retries, fastrand::f64().mul_add(2.0, -1.0)) else {
                return Err(error);
            };
            self.until_down(sleep(delay))
                .await
                .map_err(CallError::Down)?;
        }
    }

    async fn attempt<T, E: CallFailure>(
        &self,
        attempt: impl Future<Output = Result<T, E>>,
        retries: u32,
    ) -> Result<T, CallError<E>> {
        if let Some(down) = self.peer.as_ref().and_then(Peer::down) {
            return Err(CallError::Down(down));
        }
        let details = self
            .peer
            .as_ref()
            .map_or_else(Details::default, Peer::details);
        let limit = self
            .caller
            .policies
            .of(self.operation)
            .deadline
            .of(&details);
        let begun = Instant::now();
        let ended = match self.until_down(timeout(limit, attempt)).await {
            // The breaker itself ended the call: that is no news to the daemon.
            Err(down) => return Err(CallError::Down(down)),
            Ok(Err(_)) => Err(CallError::TimedOut { limit }),
            Ok(Ok(Err(error))) if error.is_of_breaker() => return Err(CallError::Failed(error)),
            Ok(Ok(Err(error))) => Err(CallError::Failed(error)),
            Ok(Ok(Ok(answer))) => Ok(answer),
        };
        self.report(outcome(&ended), begun.elapsed(), retries);
        ended
    }

    /// The future's output, unless the peer goes down first.
    async fn until_down<T>(&self, future: impl Future<Output = T>) -> Result<T, PeerDown> {
        let Some(peer) = &self.peer else {
            return Ok(future.await);
        };
        tokio::select! {
            biased;
            output = future => Ok(output),
            down = peer.until_down() => Err(down),
        }
    }

    fn report(&self, outcome: Outcome, duration: Duration, retries: u32) {
        self.caller.reporter.report(Report {
            operation: self.operation,
            outcome,
            peer: self.peer.as_ref().map_or("", Peer::name),
            lock: self.lock,
            duration,
            retries,
        });
    }
}

fn outcome<T, E: CallFailure>(ended: &Result<T, CallError<E>>) -> Outcome {
    match ended {
        Ok(_) => Outcome::Succeeded,
        Err(CallError::Failed(error)) => error.outcome(),
        Err(CallError::TimedOut { .. } | CallError::Down(_)) => Outcome::TimedOut,
    }
}

/// Why a call returned no answer.
///
/// ```
/// use std::{io, time::Duration};
/// use detector_api::policy::CallError;
///
/// /// Whether to ask another peer at once.
/// fn is_gone(error: &CallError<io::Error>) -> bool {
///     matches!(error, CallError::Down(_) | CallError::TimedOut { .. })
/// }
/// let late = CallError::TimedOut { limit: Duration::from_secs(3) };
/// assert!(is_gone(&late));
/// assert_eq!(late.to_string(), "no answer within 3s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The call was not made, or was ended, because the peer is down.
    Down(PeerDown),
    /// The deadline passed.
    TimedOut {
        /// The time limit of the last attempt.
        limit: Duration,
    },
    /// The call failed by itself.
    Failed(E),
}

impl<E: CallFailure> CallError<E> {
    /// Whether another attempt may succeed. A peer that answered would answer the same again, and a
    /// peer that is down is not called.
    fn may_pass(&self) -> bool {
        match self {
            Self::Down(_) => false,
            Self::TimedOut { .. } => true,
            Self::Failed(error) => {
                matches!(error.outcome(), Outcome::TimedOut | Outcome::Unreachable)
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(down) => down.fmt(f),
            Self::TimedOut { limit } => write!(f, "no answer within {limit:?}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Down(down) => down.source(),
            Self::TimedOut { .. } => None,
            Self::Failed(error) => error.source(),
        }
    }
}
