//! gRPC on the Unix socket: `detector.v1.Detector`, `grpc.health.v1.Health` and server reflection
//! (v1 and v1alpha), so that standard tools work.

mod any;
mod clients;
mod convert;
mod correlations;
mod diagnostics;
mod fair;
mod first;
mod health;
mod heartbeat;
mod listening;
mod overrides;
mod reports;
mod service;
mod shares;
mod stream;
mod watching;

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use detector_api::v1::{FILE_DESCRIPTOR_SET, detector_server::DetectorServer};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tonic::{service::Routes, transport::Server};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::{Builder, Error as ReflectionError};

pub use self::{
    any::any_request,
    convert::{explanation, peer_state_at, tuned_socket},
};
use self::{
    clients::accepted, diagnostics::Diagnosing, fair::Fair, health::HealthService,
    heartbeat::Heartbeat, listening::Listening, service::Service, shares::Processes,
    stream::Streams,
};
pub(super) use self::{
    convert::{history, peer_state, transition},
    correlations::{cascade, locks},
};
use super::{BoundSocket, Request, board::Board};
use crate::{files, model::Bounds, overrides::Administrators};

/// The largest request, except for reports, which have a limit of their own.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADER_BYTES: u32 = 4 * 1024;
/// How much of its requests a connection may send before it is read; HTTP/2 allows no less.
const WINDOW: u32 = 65_535;
/// The longest name of a peer in a request, in bytes. A refusal repeats the name.
const MAX_PEER_BYTES: usize = 1024;
/// The most calls that one connection may have open.
const MAX_CALLS_PER_CONNECTION: u32 = 256;
/// The most requests of one connection that are read and answered at a time; the others wait.
const REQUESTS_PER_CONNECTION: usize = 4;
/// The time within which a request must be sent and answered. It does not apply to streams.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long calls may take to end after the shutdown began; then they are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Why the gRPC server stopped.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("cannot hand the socket to the runtime: {0}")]
    Listen(#[source] io::Error),
    #[error("cannot make a timer for heartbeats: {0}; is the limit of open files reached?")]
    Timer(#[source] io::Error),
    #[error("the descriptors for server reflection are broken: {0}")]
    Reflection(#[from] ReflectionError),
    #[error("the gRPC server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Serves until `shutdown`, then removes the socket's file, ends open streams, and returns within
/// `SHUTDOWN_GRACE`. Requests that only the core can answer are sent to the driver through
/// `requests`.
pub async fn serve(
    bound: BoundSocket,
    bounds: Bounds,
    board: Board,
    requests: mpsc::Sender<Request>,
    administrators: Administrators,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listening = Listening::new(bound).map_err(ServeError::Listen)?;
    let file = listening.file();
    let processes = Processes::new(bounds, files::Shares::now());
    let (stop, mut stopping) = watch::channel(false);
    let heartbeat = Heartbeat::default();
    let streams = Streams::new(stopping.clone());
    let service = Service {
        board,
        requests,
        administrators,
        streams,
        diagnosing: Diagnosing::default(),
        heartbeat: heartbeat.clone(),
    };
    let routes = routes(service)?;
    let signal = async move {
        shutdown.await;
        // This happens before the listener closes, so that the next daemon finds no stale file.
        file.remove();
        stop.send_replace(true);
    };
    let cut = async move {
        // An error means that the server has ended, and that is awaited elsewhere.
        if stopping.wait_for(|stopping| *stopping).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(SHUTDOWN_GRACE).await;
    };
    let server = Server::builder()
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .timeout(ANSWERED_WITHIN)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .layer(Fair)
        .add_routes(routes)
        .serve_with_incoming_shutdown(accepted(listening, processes), signal);
    tokio::select! {
        served = server => Ok(served?),
        Err(error) = heartbeat.run() => Err(ServeError::Timer(error)),
        () = cut => {
            tracing::warn!("some calls did not end in {SHUTDOWN_GRACE:?} and were cut");
            Ok(())
        }
    }
}

fn routes(service: Service) -> Result<Routes, ReflectionError> {
    let health = HealthServer::new(HealthService {
        board: service.board.clone(),
        streams: service.streams.clone(),
    });
    let detector = DetectorServer::new(service);
    let descriptors = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(
        Routes::new(detector.max_decoding_message_size(reports::MAX_REQUEST_BYTES))
            .add_service(health.max_decoding_message_size(MAX_REQUEST_BYTES))
            .add_service(descriptors().build_v1()?)
            .add_service(descriptors().build_v1alpha()?),
    )
}
