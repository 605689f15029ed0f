//! Reads the daemon: its peers at each change and each second, over and over again.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use detector_api::v1::{
    ExplainPeerRequest, ExplainPeerResponse, GetHistoryRequest, ListPeersRequest, PeerHistory,
    PeerState, WatchPeersRequest, detector_client::DetectorClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::{Code, transport::Channel};

use crate::cli::{client, exit::Failure};

/// The shortest time between two readings, however much changes.
const SHORTEST: Duration = Duration::from_millis(200);

/// After how many of those the peers are read again without a change: measurements alone are no change.
const READ_EVERY: u32 = 5;

/// The pause before the next attempt to reach the daemon.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What is new.
#[derive(Debug)]
pub enum News {
    Read(Box<Reading>),
    /// The daemon cannot be reached, and why.
    Away(String),
}

/// What the daemon said.
#[derive(Debug, Default)]
pub struct Reading {
    pub peers: Vec<PeerState>,
    /// Empty if an older daemon keeps none.
    pub histories: Vec<PeerHistory>,
    /// The explanation of the requested peer; `None` also if the peer is no longer watched.
    pub explained: Option<ExplainPeerResponse>,
}

/// Tells the news until nobody takes them. `asked` is the peer to explain.
pub async fn follow(
    socket: PathBuf,
    news: mpsc::Sender<News>,
    mut asked: watch::Receiver<Option<String>>,
) {
    while !news.is_closed() {
        let failure = match session(&socket, &news, &mut asked).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if news.send(News::Away(failure.to_string())).await.is_err() {
            return;
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn session(
    socket: &std::path::Path,
    news: &mpsc::Sender<News>,
    asked: &mut watch::Receiver<Option<String>>,
) -> Result<Infallible, Failure> {
    let mut client = client::connect(socket).await?;
    let mut reader = client.clone();
    let mut changes = client::answer(client.watch_peers(WatchPeersRequest::default())).await?;
    let mut ticks = interval(SHORTEST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waited = READ_EVERY;
    loop {
        tokio::select! {
            change = changes.message() => {
                change?.ok_or_else(|| Failure::Lost("the stream ended".to_owned()))?;
                waited = READ_EVERY;
            }
            _ = asked.changed() => waited = READ_EVERY,
            _ = ticks.tick() => {
                waited += 1;
                if waited > READ_EVERY {
                    waited = 0;
                    let peer = asked.borrow_and_update().clone();
                    let read = read(&mut reader, peer).await?;
                    if news.send(News::Read(Box::new(read))).await.is_err() {
                        return Err(Failure::Lost("nobody looks".to_owned()));
                    }
                }
            }
        }
    }
}

async fn read(
    client: &mut DetectorClient<Channel>,
    peer: Option<String>,
) -> Result<Reading, Failure> {
    let listed = client::answer(client.list_peers(ListPeersRequest {})).await?;
    let histories = client::answer(client.get_history(GetHistoryRequest::default())).await;
    let explained = match peer {
        Some(peer) => {
            let explained = client.explain_peer(ExplainPeerRequest { peer });
            unless(Code::NotFound, client::answer(explained).await)?
        }
        None => None,
    };
    Ok(Reading {
        peers: listed.peers,
        histories: unless(Code::Unimplemented, histories)?.map_or_else(Vec::new, |told| told.peers),
        explained,
    })
}

/// The answer; `None` if it was refused with this code.
fn unless<T>(refusal: Code, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Err(Failure::Refused { code, .. }) if code == refusal => Ok(None),
        answer => answer.map(Some),
    }
}
