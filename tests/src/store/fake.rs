//! Something on the detector's socket that is not to be believed.

use std::{path::Path, pin::Pin, time::Duration};

use anyhow::Context as _;
use detector_api::v1::{
    self, detector_server,
    watch_peers_response::{Event, Snapshot},
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

/// The version of a protocol that nobody knows.
const PROTOCOL: u32 = 99;

/// Says that every peer is dead, in a protocol of another version. Dropping it ends it.
#[derive(Debug)]
pub struct Liar {
    task: JoinHandle<()>,
}

impl Liar {
    pub fn start(socket: &Path, peers: &[String]) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let lies = Lies {
            peers: peers.to_vec(),
        };
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(detector_server::DetectorServer::new(lies));
            let served = server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await;
            if let Err(error) = served {
                eprintln!("the false detector ended: {error}");
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Lies {
    peers: Vec<String>,
}

impl Lies {
    fn states(&self) -> Vec<v1::PeerState> {
        let dead = |(number, peer): (usize, &String)| v1::PeerState {
            peer: peer.clone(),
            verdict: v1::Verdict::Dead.into(),
            breaker: v1::Breaker::Open.into(),
            reason: v1::Reason::RtoUnanswered.into(),
            generation: 1,
            revision: number as u64 + 1,
            mode: v1::Mode::Enforce.into(),
            ..v1::PeerState::default()
        };
        self.peers.iter().enumerate().map(dead).collect()
    }
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("another version"))
}

type Watch = Pin<Box<dyn Stream<Item = Result<v1::WatchPeersResponse, Status>> + Send>>;

#[tonic::async_trait]
impl detector_server::Detector for Lies {
    type WatchPeersStream = Watch;

    async fn list_peers(
        &self,
        _request: Request<v1::ListPeersRequest>,
    ) -> Result<Response<v1::ListPeersResponse>, Status> {
        Ok(Response::new(v1::ListPeersResponse {
            instance: "liar".to_owned(),
            revision: self.peers.len() as u64,
            peers: self.states(),
        }))
    }

    async fn get_peer(
        &self,
        _request: Request<v1::GetPeerRequest>,
    ) -> Result<Response<v1::GetPeerResponse>, Status> {
        nothing()
    }

    async fn watch_peers(
        &self,
        _request: Request<v1::WatchPeersRequest>,
    ) -> Result<Response<Watch>, Status> {
        let snapshot = Snapshot {
            instance: "liar".to_owned(),
            revision: self.peers.len() as u64,
            peers: self.states(),
            ttl: Duration::from_secs(3600).try_into().ok(),
            protocol: PROTOCOL,
            version: "99.0.0".to_owned(),
        };
        let first = v1::WatchPeersResponse {
            event: Some(Event::Snapshot(snapshot)),
        };
        let stream = tokio_stream::once(Ok(first)).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn explain_peer(
        &self,
        _request: Request<v1::ExplainPeerRequest>,
    ) -> Result<Response<v1::ExplainPeerResponse>, Status> {
        nothing()
    }

    async fn acquire_trial(
        &self,
        _request: Request<v1::AcquireTrialRequest>,
    ) -> Result<Response<v1::AcquireTrialResponse>, Status> {
        nothing()
    }

    async fn finish_trial(
        &self,
        _request: Request<v1::FinishTrialRequest>,
    ) -> Result<Response<v1::FinishTrialResponse>, Status> {
        nothing()
    }

    async fn list_tuned_sockets(
        &self,
        _request: Request<v1::ListTunedSocketsRequest>,
    ) -> Result<Response<v1::ListTunedSocketsResponse>, Status> {
        nothing()
    }

    async fn report(
        &self,
        _request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        nothing()
    }

    async fn list_locks(
        &self,
        _request: Request<v1::ListLocksRequest>,
    ) -> Result<Response<v1::ListLocksResponse>, Status> {
        nothing()
    }

    async fn list_cascades(
        &self,
        _request: Request<v1::ListCascadesRequest>,
    ) -> Result<Response<v1::ListCascadesResponse>, Status> {
        nothing()
    }

    async fn get_quorum_outlook(
        &self,
        _request: Request<v1::GetQuorumOutlookRequest>,
    ) -> Result<Response<v1::GetQuorumOutlookResponse>, Status> {
        nothing()
    }
}
