//! Calls many peers at once and collects the answers that arrive in time, for example for a
//! console.

use futures_util::future::join_all;

use super::{CallError, CallFailure, Caller};
use crate::v1::Operation;

/// The result of calling one peer: see [`Caller::fan_out`].
///
/// ```
/// use detector_api::policy::Answer;
///
/// /// A line of the console.
/// fn line<E>(answer: &Answer<u32, E>) -> String {
///     match &answer.result {
///         Ok(disks) => format!("{}: {disks} disks", answer.peer),
///         Err(_) if answer.is_offline() => format!("{}: offline", answer.peer),
///         Err(_) => format!("{}: no answer", answer.peer),
///     }
/// }
/// let peer = "http://node2:9000".to_owned();
/// let answer = Answer::<_, std::io::Error> { peer, result: Ok(4) };
/// assert_eq!(line(&answer), "http://node2:9000: 4 disks");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T, E> {
    /// The peer, as the caller named it.
    pub peer: String,
    /// The peer's answer, or why there is none.
    pub result: Result<T, CallError<E>>,
}

impl<T, E> Answer<T, E> {
    /// Whether the peer was known to be down, or went down during the call: then it is "offline",
    /// which is no failure of the call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::policy::{Answer, CallError};
    ///
    /// let peer = "http://node4:9000".to_owned();
    /// let result = Err(CallError::TimedOut { limit: Duration::from_secs(2) });
    /// let late = Answer::<(), std::io::Error> { peer, result };
    /// assert!(!late.is_offline());
    /// ```
    pub fn is_offline(&self) -> bool {
        matches!(self.result, Err(CallError::Down(_)))
    }
}

impl Caller {
    /// Calls all peers at once, each with the operation's policy, and returns the answers in the
    /// same order. The slowest peer delays the result by at most the operation's deadline, and
    /// peers that are down are not called.
    ///
    /// ```
    /// use detector_api::{PeerStates, Reporter, policy::{Caller, Policies}, v1::Operation};
    /// use tonic::Status;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let caller = Caller::new(PeerStates::unwatched(), Reporter::disabled(), Policies::default());
    /// let peers = ["http://node2:9000", "http://node3:9000"];
    /// let answers = caller
    ///     .fan_out(peers, Operation::Console, |peer| async move {
    ///         if peer.contains("node3") {
    ///             return Err(Status::internal("disk error"));
    ///         }
    ///         Ok(4)
    ///     })
    ///     .await;
    /// assert_eq!(answers[0].result.as_ref().ok(), Some(&4));
    /// assert!(answers[1].result.is_err() && !answers[1].is_offline());
    /// # });
    /// ```
    pub async fn fan_out<P, T, E, F>(
        &self,
        peers: impl IntoIterator<Item = P>,
        operation: Operation,
        ask: impl Fn(String) -> F,
    ) -> Vec<Answer<T, E>>
    where
        P: Into<String>,
        E: CallFailure,
        F: Future<Output = Result<T, E>>,
    {
        let ask = &ask;
        join_all(peers.into_iter().map(|peer| {
            let peer = peer.into();
            async move {
                // The call is made lazily: a peer that is down is not called.
                let asked = async { ask(peer.clone()).await };
                let result = self.to(&peer, operation).once(asked).await;
                Answer { peer, result }
            }
        }))
        .await
    }
}
