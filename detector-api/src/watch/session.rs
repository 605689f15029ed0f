//! The watch's connection: opens it, reads it until it ends, and opens it again.

use std::{convert::Infallible, error::Error, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, Streaming};

use super::{
    WatchStatus,
    backoff::Backoff,
    feed::{Feed, FeedError},
};
use crate::{ConnectError, PeerStates, connect, v1::WatchPeersResponse};

/// How long a daemon may take to send its first message. A daemon that was stopped answers the
/// waiting attempt as soon as it continues, so this is long.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("it ended the stream ({:?}: {})", .0.code(), .0.message())]
    Stream(#[from] Status),
    #[error("it ended the stream")]
    Ended,
    #[error("it does not answer: is it stopped?")]
    NoAnswer,
    #[error("it has fallen silent: is it stopped?")]
    Silent,
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// Runs sessions one after the other; never ends.
pub(super) async fn run(socket: &Path, states: &PeerStates, status: &watch::Sender<WatchStatus>) {
    let mut feed = Feed::new(states);
    let mut backoff = Backoff::new();
    loop {
        let mut was_live = false;
        let live = |feed: &Feed<'_>| {
            was_live = true;
            show(status, feed.status());
        };
        let Err(error) = session(socket, states, &mut feed, live).await;
        states.source().set_client(None);
        let before = status.borrow().clone();
        show(status, status_of(&error, &before));
        if was_live {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

/// One session, until it fails.
async fn session(
    socket: &Path,
    states: &PeerStates,
    feed: &mut Feed<'_>,
    live: impl FnOnce(&Feed<'_>),
) -> Result<Infallible, SessionError> {
    let mut client = connect(socket).await?;
    let first = async {
        let mut stream = client.watch_peers(feed.begin()).await?.into_inner();
        let message = message(&mut stream).await?;
        Ok::<_, SessionError>((stream, message))
    };
    let (mut stream, first) = timeout(FIRST_WORD, first)
        .await
        .map_err(|_| SessionError::NoAnswer)??;
    feed.take(first)?;
    states.source().set_client(Some(client));
    live(feed);
    loop {
        let next = tokio::select! {
            biased;
            next = message(&mut stream) => next?,
            () = states.until_stale() => return Err(SessionError::Silent),
        };
        feed.take(next)?;
    }
}

async fn message(
    stream: &mut Streaming<WatchPeersResponse>,
) -> Result<WatchPeersResponse, SessionError> {
    stream.message().await?.ok_or(SessionError::Ended)
}

fn status_of(error: &SessionError, before: &WatchStatus) -> WatchStatus {
    if let SessionError::Feed(FeedError::WrongProtocol { theirs }) = *error {
        return WatchStatus::WrongProtocol { theirs };
    }
    let since = match before {
        WatchStatus::Away { since, .. } => *since,
        _ => Instant::now().into_std(),
    };
    WatchStatus::Away {
        since,
        error: Arc::from(told_whole(error)),
    }
}

/// The error's text with all its causes.
fn told_whole(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

fn show(status: &watch::Sender<WatchStatus>, new: WatchStatus) {
    status.send_if_modified(|shown| {
        let changes = *shown != new;
        *shown = new;
        changes
    });
}
