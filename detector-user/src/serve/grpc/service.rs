//! The service `detector.v1.Detector`.

use std::time::Duration;

use detector_api::v1::{self, detector_server::Detector};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    MAX_PEER_BYTES, convert, correlations,
    diagnostics::{self, Diagnosing},
    first::with_first,
    heartbeat::Heartbeat,
    overrides, reports,
    stream::{AnswerStream, Streams},
    watching::{self, Watching},
};
use crate::{
    clock,
    config::parse_peer_name,
    effect::protect::Tuned,
    model::PeerName,
    overrides::{Administrators, Caller, Command, Written},
    serve::{self, board::Board},
    source::stores::PeerSource,
};

/// How long the driver may take to answer; normally it answers within one turn of its loop.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(1);

/// What administrators may do.
const OVERRIDE: &str = "override breakers";

/// `detector.v1.Detector`: the board answers queries of states, and the driver everything else.
pub(super) struct Service {
    pub(super) board: Board,
    pub(super) requests: mpsc::Sender<serve::Request>,
    pub(super) administrators: Administrators,
    pub(super) streams: Streams,
    pub(super) diagnosing: Diagnosing,
    pub(super) heartbeat: Heartbeat,
}

fn source(source: PeerSource) -> v1::PeerSource {
    v1::PeerSource {
        text: source.text,
        peers: source.peers.iter().map(ToString::to_string).collect(),
    }
}

#[tonic::async_trait]
impl Detector for Service {
    async fn list_peers(
        &self,
        _request: Request<v1::ListPeersRequest>,
    ) -> Result<Response<v1::ListPeersResponse>, Status> {
        let snapshot = convert::snapshot(&self.board.snapshot());
        Ok(Response::new(v1::ListPeersResponse {
            instance: snapshot.instance,
            revision: snapshot.revision,
            peers: snapshot.peers,
            sources: self.board.sources().into_iter().map(source).collect(),
        }))
    }

    async fn get_peer(
        &self,
        request: Request<v1::GetPeerRequest>,
    ) -> Result<Response<v1::GetPeerResponse>, Status> {
        let peer = self.published(&request.into_inner().peer)?;
        Ok(Response::new(v1::GetPeerResponse { peer: Some(peer) }))
    }

    type WatchPeersStream = AnswerStream<v1::WatchPeersResponse>;

    async fn watch_peers(
        &self,
        request: Request<v1::WatchPeersRequest>,
    ) -> Result<Response<Self::WatchPeersStream>, Status> {
        let v1::WatchPeersRequest {
            instance,
            last_revision,
        } = request.get_ref();
        let (snapshot, watch) = self.board.watch(instance, *last_revision);
        let (seen, beats) = (watch.seen(), self.heartbeat.watch());
        let events = self.streams.open(&request, Watching { watch, beats })?;
        Ok(with_first(
            &watching::first(snapshot.as_ref(), seen),
            events,
        ))
    }

    async fn explain_peer(
        &self,
        request: Request<v1::ExplainPeerRequest>,
    ) -> Result<Response<v1::ExplainPeerResponse>, Status> {
        let peer = peer_name(&request.into_inner().peer)?;
        let named = peer.clone();
        let explanation = self
            .ask(|reply| serve::Request::Explain { peer, reply })
            .await?
            .ok_or_else(|| not_watched(&named))?;
        let mut response = convert::explanation(&explanation, clock::now());
        convert::mark_tuned(&mut response.flows, &self.tuned().await?);
        Ok(Response::new(response))
    }

    async fn get_history(
        &self,
        request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        let request = request.into_inner();
        let of = match request.peer.as_str() {
            "" => None,
            peer => Some(peer_name(peer)?),
        };
        let kept = self.board.histories(of.as_ref());
        if let (Some(peer), true) = (&of, kept.is_empty()) {
            return Err(not_watched(peer));
        }
        let now = clock::now();
        let peers = kept.iter().map(|(peer, h)| convert::history(peer, h, now));
        Ok(Response::new(v1::GetHistoryResponse {
            peers: peers.collect(),
        }))
    }

    async fn acquire_trial(
        &self,
        request: Request<v1::AcquireTrialRequest>,
    ) -> Result<Response<v1::AcquireTrialResponse>, Status> {
        let peer = peer_name(&request.into_inner().peer)?;
        let trial = self
            .ask(|reply| serve::Request::AcquireTrial { peer, reply })
            .await?
            .map_err(convert::trial_error)?;
        Ok(Response::new(convert::trial(&trial)))
    }

    async fn finish_trial(
        &self,
        request: Request<v1::FinishTrialRequest>,
    ) -> Result<Response<v1::FinishTrialResponse>, Status> {
        let request = request.into_inner();
        let peer = peer_name(&request.peer)?;
        let outcome = convert::trial_outcome(request.outcome).ok_or_else(|| {
            Status::invalid_argument("outcome: say TRIAL_OUTCOME_SUCCEEDED or TRIAL_OUTCOME_FAILED")
        })?;
        self.ask(|reply| serve::Request::FinishTrial {
            peer,
            trial: request.trial,
            outcome,
            reply,
        })
        .await?
        .map_err(convert::trial_error)?;
        let peer = self.published(&request.peer)?;
        Ok(Response::new(v1::FinishTrialResponse { peer: Some(peer) }))
    }

    async fn set_override(
        &self,
        request: Request<v1::SetOverrideRequest>,
    ) -> Result<Response<v1::SetOverrideResponse>, Status> {
        let caller = overrides::administrator(&request, &self.administrators, OVERRIDE)?;
        let request = request.into_inner();
        let command = overrides::command(&request)?;
        let written = self.command(&request.peer, command, caller).await?;
        Ok(Response::new(v1::SetOverrideResponse {
            peer: Some(self.published(&request.peer)?),
            warning: written.err().unwrap_or_default(),
        }))
    }

    async fn end_override(
        &self,
        request: Request<v1::EndOverrideRequest>,
    ) -> Result<Response<v1::EndOverrideResponse>, Status> {
        let caller = overrides::administrator(&request, &self.administrators, OVERRIDE)?;
        let peer = request.into_inner().peer;
        let written = self.command(&peer, Command::End, caller).await?;
        Ok(Response::new(v1::EndOverrideResponse {
            peer: self.published(&peer).ok(),
            warning: written.err().unwrap_or_default(),
        }))
    }

    async fn list_tuned_sockets(
        &self,
        _request: Request<v1::ListTunedSocketsRequest>,
    ) -> Result<Response<v1::ListTunedSocketsResponse>, Status> {
        let tuned = self.tuned().await?;
        let sockets = tuned.iter().map(convert::tuned_socket).collect();
        Ok(Response::new(v1::ListTunedSocketsResponse { sockets }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let v1::ReportRequest { reports, dropped } = request.into_inner();
        let reports = reports::reports(reports, clock::now())?;
        let unknown_peers = self
            .ask(|reply| serve::Request::Report {
                reports,
                dropped,
                reply,
            })
            .await?;
        Ok(Response::new(v1::ReportResponse { unknown_peers }))
    }

    type GetDiagnosticsStream = ReceiverStream<Result<v1::GetDiagnosticsResponse, Status>>;

    async fn get_diagnostics(
        &self,
        request: Request<v1::GetDiagnosticsRequest>,
    ) -> Result<Response<Self::GetDiagnosticsStream>, Status> {
        overrides::administrator(&request, &self.administrators, diagnostics::READ)?;
        let place = self.diagnosing.place()?;
        let peer = peer_name(&request.into_inner().peer)?;
        let named = peer.clone();
        let found = self
            .ask(|reply| serve::Request::Diagnostics { peer, reply })
            .await?
            .ok_or_else(|| not_watched(&named))?;
        Ok(Response::new(diagnostics::stream(found, place)))
    }

    async fn list_locks(
        &self,
        _request: Request<v1::ListLocksRequest>,
    ) -> Result<Response<v1::ListLocksResponse>, Status> {
        let locks = self
            .ask(|reply| serve::Request::ListLocks { reply })
            .await?;
        Ok(Response::new(correlations::locks(&locks, clock::now())))
    }

    async fn list_cascades(
        &self,
        _request: Request<v1::ListCascadesRequest>,
    ) -> Result<Response<v1::ListCascadesResponse>, Status> {
        let cascades = self
            .ask(|reply| serve::Request::ListCascades { reply })
            .await?;
        let cascades = cascades.iter().map(correlations::cascade).collect();
        Ok(Response::new(v1::ListCascadesResponse { cascades }))
    }

    async fn get_quorum_outlook(
        &self,
        _request: Request<v1::GetQuorumOutlookRequest>,
    ) -> Result<Response<v1::GetQuorumOutlookResponse>, Status> {
        let pools = self
            .ask(|reply| serve::Request::QuorumOutlook { reply })
            .await?
            .ok_or_else(|| {
                Status::failed_precondition(
                    "no layout is configured; write each pool as [[pool]] into the daemon's \
                     configuration",
                )
            })?;
        let as_of = Some(clock::wall(clock::now()).into());
        Ok(Response::new(v1::GetQuorumOutlookResponse { pools, as_of }))
    }
}

impl Service {
    fn published(&self, peer: &str) -> Result<v1::PeerState, Status> {
        let peer = peer_name(peer)?;
        let state = self.board.get(&peer).ok_or_else(|| not_watched(&peer))?;
        Ok(convert::peer_state(&state))
    }

    async fn command(
        &self,
        peer: &str,
        command: Command,
        caller: Caller,
    ) -> Result<Written, Status> {
        let peer = peer_name(peer)?;
        self.ask(|reply| serve::Request::Override {
            peer,
            command,
            caller,
            reply,
        })
        .await?
        .map_err(overrides::refused)
    }

    async fn tuned(&self) -> Result<Vec<Tuned>, Status> {
        self.ask(|reply| serve::Request::ListTuned { reply }).await
    }

    /// Sends a request to the driver, and waits for its answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> serve::Request,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(DRIVER_TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Status::unavailable("the daemon is stopping")),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "the daemon did not answer within {DRIVER_TIMEOUT:?}; is it overloaded?"
            ))),
        }
    }
}

/// The [`PeerName`] for any spelling that a client may use. A name that cannot be parsed is used as
/// it is.
pub(super) fn peer_name(name: &str) -> Result<PeerName, Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument(
            "peer: name one, as in http://node4:9000",
        ));
    }
    if name.len() > MAX_PEER_BYTES {
        return Err(Status::invalid_argument(format!(
            "peer: {} bytes; {MAX_PEER_BYTES} is the most",
            name.len()
        )));
    }
    Ok(parse_peer_name(name).map_or_else(|_| PeerName::from_canonical(name), |peer| peer.name))
}

pub(super) fn not_watched(peer: &PeerName) -> Status {
    Status::not_found(format!(
        "no peer {:?} is watched; `detector peers` lists them",
        peer.as_str()
    ))
}
