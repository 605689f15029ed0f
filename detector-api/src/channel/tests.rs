//! gRPC over real sockets, with servers that answer and one that never does.

use std::net::SocketAddr;

use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Code, Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;

use super::*;
use crate::{
    PeerDown, PeerStates, Profile,
    guard::testing::{self, REASON, silent_server, within},
    v1::{Breaker, OperationReport, ReportRequest, ReportResponse},
};

const PEER: &str = "http://node4:9000";

fn endpoint(server: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{server}")).unwrap()
}

fn layered(states: &PeerStates, server: SocketAddr) -> PeerChannel<Channel> {
    PeerLayer::new(states.peer(PEER)).layer(endpoint(server).connect_lazy())
}

/// A server that answers `Check` at once, and `Watch` with one message and then nothing more.
async fn health_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let serve = Server::builder().add_service(health);
    tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

#[track_caller]
fn assert_is_down(status: &Status) {
    // Programs that do not know the detector look at the code.
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let down = PeerDown::from_status(status).expect("the cause is in it");
    assert_eq!((down.peer.as_str(), down.reason), (PEER, REASON));
}

#[tokio::test]
async fn a_call_goes_through_while_closed() {
    let states = testing::states();
    let mut client = HealthClient::new(layered(&states, health_server().await));
    client.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn an_open_peer_is_not_called_and_the_status_says_why() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    testing::set(&states, PEER, Breaker::Open);
    let mut client = HealthClient::new(layered(&states, server));
    let request = HealthCheckRequest::default();
    let refused = within(client.check(request)).await;
    assert_is_down(&refused.unwrap_err());
    assert!(accepted.try_recv().is_err(), "dialled");
}

#[tokio::test]
async fn a_call_in_flight_ends_when_the_breaker_opens() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let mut client = HealthClient::new(layered(&states, server));
    let call = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });
    accepted.recv().await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(call).await.unwrap().unwrap_err());
}

#[tokio::test]
async fn a_dial_in_flight_ends_when_the_breaker_opens() {
    let states = testing::states();
    let (dialling, mut dials) = mpsc::channel(1);
    let connector = tower::service_fn(move |_: http::Uri| {
        let dialling = dialling.clone();
        async move {
            dialling.send(()).await.unwrap();
            std::future::pending::<Result<hyper_util::rt::TokioIo<tokio::net::TcpStream>, Status>>()
                .await
        }
    });
    let channel = Endpoint::from_static(PEER).connect_with_connector_lazy(connector);
    let mut client = HealthClient::new(PeerLayer::new(states.peer(PEER)).layer(channel));
    let call = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });
    dials.recv().await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(call).await.unwrap().unwrap_err());
}

#[tokio::test]
async fn a_stream_is_cut_midway_with_an_error() {
    let states = testing::states();
    let mut client = HealthClient::new(layered(&states, health_server().await));
    let answer = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut stream = answer.into_inner();
    stream.message().await.unwrap().expect("the first message");
    let rest = tokio::spawn(async move { stream.message().await });
    tokio::task::yield_now().await;
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(rest).await.unwrap().unwrap_err());
}

#[tokio::test]
async fn an_upload_that_nobody_reads_ends_and_lets_go_of_its_source() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let mut client = Grpc::new(layered(&states, server));
    let (source, messages) = mpsc::channel(1);
    let upload = tokio::spawn(async move {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/store.v1.Store/Write");
        let codec = ProstCodec::<ReportRequest, ReportResponse>::default();
        let request = Request::new(ReceiverStream::new(messages));
        client.client_streaming(request, path, codec).await
    });
    accepted.recv().await.unwrap();
    let (sent, mut count) = tokio::sync::watch::channel(0);
    let writer = tokio::spawn(async move {
        let message = ReportRequest {
            reports: vec![OperationReport {
                lock: "x".repeat(16 << 10),
                ..OperationReport::default()
            }],
            ..ReportRequest::default()
        };
        while source.send(message.clone()).await.is_ok() {
            sent.send_modify(|sent| *sent += 1);
        }
    });
    // The stream's window is 64 KiB, and nobody enlarges it.
    count.wait_for(|&sent| sent >= 4).await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(upload).await.unwrap().unwrap_err());
    within(writer).await.expect("the source is let go of");
}

#[tokio::test]
async fn the_channels_own_errors_are_left_as_they_are() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let mut client = HealthClient::new(layered(&testing::states(), nobody));
    let status = client.check(HealthCheckRequest::default()).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(PeerDown::from_status(&status).is_none());
}

#[tokio::test]
async fn the_detectors_end_lets_calls_through() {
    let states = testing::states();
    let mut client = HealthClient::new(layered(&states, health_server().await));
    testing::set(&states, PEER, Breaker::Open);
    testing::forget(&states);
    client.check(HealthCheckRequest::default()).await.unwrap();
}

/// A channel with the detector's connector and nothing else of this crate.
fn bare(states: &PeerStates, server: SocketAddr) -> Channel {
    let control = Profile::Control.settings();
    let connector = control.connector_to(states.peer(PEER));
    control
        .endpoint(endpoint(server))
        .connect_with_connector_lazy(connector)
}

#[tokio::test]
async fn the_connector_alone_ends_what_is_in_flight_and_what_is_dialled() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let mut client = HealthClient::new(bare(&states, server));
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.check(HealthCheckRequest::default()).await }
    });
    accepted.recv().await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    // Programs that do not know the detector treat this as a network failure.
    let ended = within(call).await.unwrap().unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unknown, "transport error")
    );
    let refused = within(client.check(HealthCheckRequest::default())).await;
    assert_is_down(&refused.unwrap_err());
}

#[cfg(feature = "connections")]
#[tokio::test]
async fn a_cached_channel_is_closed_when_the_breaker_opens_and_dialled_anew_after() {
    let states = testing::states();
    let cache = crate::ConnectionCache::new(states.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = listener.local_addr().unwrap();
    let dial = async move || endpoint(old).connect().await;
    let before = cache.get_or_connect(PEER, dial).await.unwrap().service();
    let (mut connection, _) = listener.accept().await.unwrap();
    drop(before.clone());
    testing::set(&states, PEER, Breaker::Open);
    testing::set(&states, PEER, Breaker::Closed);

    let new = health_server().await;
    let dial = async move || endpoint(new).connect().await;
    let after = cache.get_or_connect(PEER, dial).await.unwrap().service();
    let request = HealthCheckRequest::default();
    let mut after = HealthClient::new(after);
    within(after.check(request.clone())).await.unwrap();
    // Whoever still holds the old channel gets an error.
    let mut before = HealthClient::new(before);
    let refused = within(before.check(request)).await;
    assert_is_down(&refused.unwrap_err());
    drop(before);
    let mut rest = Vec::new();
    within(connection.read_to_end(&mut rest))
        .await
        .expect("closed");
}
