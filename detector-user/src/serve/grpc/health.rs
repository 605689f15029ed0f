//! `grpc.health.v1`: each peer's name is a service, so that standard tools can check a peer.

use detector_api::v1::detector_server::DetectorServer;
use tokio::sync::watch;
use tonic::{Request, Response, Status, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use super::{
    service::Service,
    stream::{AnswerStream, Answers, Streams},
};
use crate::{
    model::{Breaker, PeerName},
    serve::board::Board,
};

pub(super) struct HealthService {
    pub(super) board: Board,
    pub(super) streams: Streams,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match status(&self.board, &service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!(
                "no peer {service:?} is watched; `detector peers` lists them"
            ))),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = AnswerStream<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let changes = StatusChanges {
            service: request.get_ref().service.clone(),
            revisions: self.board.revisions(),
            board: self.board.clone(),
            last: None,
        };
        Ok(Response::new(self.streams.open(&request, changes)?))
    }
}

fn status(board: &Board, service: &str) -> ServingStatus {
    if service.is_empty() || service == <DetectorServer<Service> as NamedService>::NAME {
        return ServingStatus::Serving;
    }
    match board.get(&PeerName::from_canonical(service)) {
        None => ServingStatus::ServiceUnknown,
        Some(state) if state.breaker == Breaker::Closed => ServingStatus::Serving,
        Some(_) => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

/// Yields a service's status now and whenever it changes; only the newest status matters. An
/// unknown service may be added later, so the protocol lets clients watch it.
struct StatusChanges {
    board: Board,
    revisions: watch::Receiver<u64>,
    service: String,
    last: Option<ServingStatus>,
}

impl Answers for StatusChanges {
    type Item = HealthCheckResponse;

    async fn next(&mut self) -> Result<HealthCheckResponse, Status> {
        loop {
            self.revisions.borrow_and_update();
            let status = status(&self.board, &self.service);
            if self.last.replace(status) != Some(status) {
                return Ok(response(status));
            }
            self.revisions
                .changed()
                .await
                .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        }
    }
}
