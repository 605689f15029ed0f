//! A gRPC watcher that records the states it receives.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use detector_api::v1::{
    PeerState, WatchPeersRequest, detector_client::DetectorClient, watch_peers_response::Event,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinHandle, time::sleep};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{Log, clock};

/// A peer's state, as a gRPC watcher received it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When it was received, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    pub state: PeerState,
}

/// Watches all peers, and records each state with the time of its receipt.
#[derive(Debug)]
pub struct Watcher {
    seen: Log<Observed>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Returns once the first snapshot is there.
    pub(crate) async fn start(client: DetectorClient<Channel>) -> anyhow::Result<Self> {
        let seen = Log::default();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let log = seen.clone();
        let task = tokio::spawn(async move {
            watch(client, &log, ready).await;
            log.close();
        });
        tokio::time::timeout(Duration::from_secs(5), is_ready)
            .await
            .context("no snapshot from WatchPeers within 5 s")?
            .context("WatchPeers ended before its first snapshot")?;
        Ok(Self { seen, task })
    }

    pub fn seen(&self) -> &Log<Observed> {
        &self.seen
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection to the daemon whose socket this is.
pub async fn connect(socket: &Path) -> anyhow::Result<Channel> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The connector decides where it goes; the URI only has to parse.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .with_context(|| format!("cannot connect to {}", socket.display()))
}

/// Watches until the daemon is gone; resumes when it was ended for reading too slowly.
async fn watch(
    mut client: DetectorClient<Channel>,
    log: &Log<Observed>,
    ready: tokio::sync::oneshot::Sender<()>,
) {
    let mut ready = Some(ready);
    let mut request = WatchPeersRequest::default();
    loop {
        let ended = match client.watch_peers(request.clone()).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(message)) => {
                            note(message.event, &mut request, log);
                            if let Some(ready) = ready.take() {
                                let _nobody_waits = ready.send(());
                            }
                        }
                        Ok(None) => return,
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        if ended.code() != Code::ResourceExhausted {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn note(event: Option<Event>, request: &mut WatchPeersRequest, log: &Log<Observed>) {
    let at_ns = clock::now_ns();
    match event {
        Some(Event::Snapshot(snapshot)) => {
            request.instance = snapshot.instance;
            request.last_revision = snapshot.revision;
            for state in snapshot.peers {
                log.push(Observed { at_ns, state });
            }
        }
        Some(Event::Changed(state)) => {
            request.last_revision = state.revision;
            log.push(Observed { at_ns, state });
        }
        Some(Event::Removed(removed)) => request.last_revision = removed.revision,
        _ => {}
    }
}
