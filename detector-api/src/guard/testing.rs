//! Helpers for tests of this crate: changes to a peer without a daemon.

use std::time::Duration;

use tokio::{runtime::Handle, time::timeout};

use crate::{
    PeerStates,
    v1::{Breaker, PeerState, Reason, Verdict},
};

/// The reason with which peers are down in tests.
pub(crate) const REASON: Reason = Reason::ProbeUnanswered;

const TTL: Duration = Duration::from_secs(3600);

/// Longer than any expected event takes, and shorter than TCP's time-outs.
const LIMIT: Duration = Duration::from_secs(10);

/// Awaits `what`, and fails instead of hanging.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it never happened")
}

/// States that a test can change with [`set`].
pub(crate) fn states() -> PeerStates {
    let states = PeerStates::watched_on(Handle::current(), Duration::ZERO);
    states.replace(&[], TTL);
    states
}

/// Sets a peer's state, as a message of the daemon would.
pub(crate) fn set(states: &PeerStates, peer: &str, breaker: Breaker) {
    let verdict = match breaker {
        Breaker::Open => Verdict::Dead,
        _ => Verdict::Alive,
    };
    let told = PeerState {
        peer: peer.to_owned(),
        verdict: verdict.into(),
        breaker: breaker.into(),
        reason: REASON.into(),
        changed_at: Some(prost_types::Timestamp::default()),
        ..PeerState::default()
    };
    states.change(&told, TTL).unwrap();
}

/// Acts as if the daemon were gone.
pub(crate) fn forget(states: &PeerStates) {
    states.end();
}

/// A server that accepts connections and keeps them open, but never reads or answers; it reports
/// each connection.
#[cfg(any(feature = "channel", feature = "hyper"))]
pub(crate) async fn silent_server() -> (std::net::SocketAddr, tokio::sync::mpsc::Receiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, accepted) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
            if tell.send(()).await.is_err() {
                return;
            }
        }
    });
    (address, accepted)
}
