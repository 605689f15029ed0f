//! HTTP/1.1 over real sockets, used as for reading and writing shards.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{
        mpsc,
        oneshot::{self, Sender},
    },
};
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use super::*;
use crate::{
    GuardedConnector, PeerDown, PeerStates, Profile, Renewing,
    guard::testing::{self, REASON, silent_server, within},
    v1::Breaker,
};

const PEER: &str = "http://node4:9000";

type Hyper<B> = Client<GuardedConnector<HttpConnector>, B>;
type Uploaded = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

fn hyper<B>(states: &PeerStates) -> Hyper<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let connector = Profile::Bulk.settings().connector_to(states.peer(PEER));
    Client::builder(TokioExecutor::new()).build(connector)
}

fn layered<S>(states: &PeerStates, client: S) -> PeerHttp<S> {
    HttpLayer::new(states.peer(PEER)).layer(client)
}

fn get(server: std::net::SocketAddr) -> http::Request<Empty<Bytes>> {
    let url = format!("http://{server}/shard");
    http::Request::get(url).body(Empty::new()).unwrap()
}

#[track_caller]
fn assert_is_down(error: &(dyn Error + 'static)) {
    let down = PeerDown::find(error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!((down.peer.as_str(), down.reason), (PEER, REASON));
}

/// Accepts one connection, reads the request, and sends half of the promised response.
async fn half_a_shard(listener: TcpListener) -> TcpStream {
    let (mut connection, _) = listener.accept().await.unwrap();
    read_head(&mut connection).await;
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    connection.write_all(half).await.unwrap();
    connection
}

async fn read_head(connection: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
}

async fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn an_open_peer_is_not_called() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    testing::set(&states, PEER, Breaker::Open);
    let error = within(layered(&states, hyper(&states)).oneshot(get(server))).await;
    assert_is_down(&error.unwrap_err());
    assert!(accepted.try_recv().is_err(), "dialled");
}

#[tokio::test]
async fn a_request_in_flight_ends_when_the_breaker_opens() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let request = tokio::spawn(layered(&states, hyper(&states)).oneshot(get(server)));
    accepted.recv().await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(request).await.unwrap().unwrap_err());
}

#[tokio::test]
async fn a_download_that_stalls_gives_what_came_and_then_ends_and_closes() {
    let states = testing::states();
    let (listener, server) = listener().await;
    let served = tokio::spawn(half_a_shard(listener));
    let response = layered(&states, hyper(&states))
        .oneshot(get(server))
        .await
        .unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "hello");
    let rest = tokio::spawn(async move { (body.frame().await, body) });
    let mut connection = served.await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    let (end, mut body) = within(rest).await.unwrap();
    assert_is_down(&end.unwrap().unwrap_err());
    // The connection is closed although the body is still held.
    let read = within(connection.read(&mut [0; 8])).await;
    assert_eq!(read.unwrap(), 0, "closed");
    assert!(body.frame().await.is_none());
}

/// Feeds an upload while it is read, and reports when it stalls.
async fn feed(source: mpsc::Sender<Result<Frame<Bytes>, Infallible>>, stalled: Sender<()>) {
    let mut stalled = Some(stalled);
    loop {
        let chunk = Frame::data(Bytes::from_static(&[0; 1 << 20]));
        tokio::select! {
            biased;
            sent = source.send(Ok(chunk)) => if sent.is_err() { return },
            // The buffers of both ends hold a few megabytes, and nobody empties them.
            () = tokio::time::sleep(STALL), if stalled.is_some() => {
                let _ = stalled.take().unwrap().send(());
            }
        }
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_ends_and_lets_go_of_its_source() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let (source, chunks) = mpsc::channel(1);
    let body: Uploaded = StreamBody::new(ReceiverStream::new(chunks));
    let url = format!("http://{server}/shard");
    let request = http::Request::put(url).body(body).unwrap();
    let request = tokio::spawn(layered(&states, hyper(&states)).oneshot(request));
    accepted.recv().await.unwrap();
    let (stalled, until_stalled) = oneshot::channel();
    let writer = tokio::spawn(feed(source, stalled));
    until_stalled.await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(request).await.unwrap().unwrap_err());
    within(writer).await.expect("the source is let go of");
}

/// How long the source must wait until its upload counts as stalled. If this were too short, the
/// test would end an upload that has not stalled.
const STALL: Duration = Duration::from_millis(100);

/// Answers each request, and reports each connection.
async fn answering_server() -> (std::net::SocketAddr, mpsc::Receiver<()>) {
    let (listener, address) = listener().await;
    let (tell, accepted) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tell.send(()).await.unwrap();
            tokio::spawn(async move {
                loop {
                    read_head(&mut connection).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    connection.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn a_pool_that_is_renewed_dials_after_an_opening_and_not_before() {
    let states = testing::states();
    let (server, mut accepted) = answering_server().await;
    let pool = Renewing::new(states.peer(PEER), || {
        Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>()
    });
    let client = layered(&states, pool);
    let fetch = || async {
        let response = client.clone().oneshot(get(server)).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    fetch().await;
    fetch().await;
    accepted.recv().await.unwrap();
    assert!(accepted.try_recv().is_err(), "the pool was not used");
    testing::set(&states, PEER, Breaker::Open);
    testing::set(&states, PEER, Breaker::Closed);
    assert_eq!(fetch().await, "hello");
    within(accepted.recv()).await.unwrap();
}

#[tokio::test]
async fn the_clients_own_errors_are_left_as_they_are() {
    let (listener, nobody) = listener().await;
    drop(listener);
    let states = testing::states();
    let client = layered(&states, hyper(&states));
    let error: Interrupted<legacy::Error> = client.oneshot(get(nobody)).await.unwrap_err();
    assert!(
        matches!(&error, Interrupted::Failed(error) if error.is_connect()),
        "{error:?}"
    );
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwests_download_ends_with_the_cause_in_its_error() {
    let states = testing::states();
    let (listener, server) = listener().await;
    let served = tokio::spawn(half_a_shard(listener));
    let client = layered(&states, ::reqwest::Client::new());
    let url: ::reqwest::Url = format!("http://{server}/shard").parse().unwrap();
    let request = ::reqwest::Request::new(http::Method::GET, url.clone());
    let mut response = client.execute(request).await.unwrap();
    assert_eq!(*response.url(), url);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
    let rest = tokio::spawn(async move { response.chunk().await });
    let mut connection = served.await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(rest).await.unwrap().unwrap_err());
    let read = within(connection.read(&mut [0; 8])).await;
    assert_eq!(read.unwrap(), 0, "closed");
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwests_upload_ends_and_lets_go_of_its_source() {
    let states = testing::states();
    let (server, mut accepted) = silent_server().await;
    let client = layered(&states, ::reqwest::Client::new());
    let (source, chunks) = mpsc::channel(1);
    let body: Uploaded = StreamBody::new(ReceiverStream::new(chunks));
    let url = format!("http://{server}/shard").parse().unwrap();
    let mut request = ::reqwest::Request::new(http::Method::PUT, url);
    *request.body_mut() = Some(::reqwest::Body::wrap(body));
    let request = tokio::spawn(async move { client.execute(request).await });
    accepted.recv().await.unwrap();
    let (stalled, until_stalled) = oneshot::channel();
    let writer = tokio::spawn(feed(source, stalled));
    until_stalled.await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(request).await.unwrap().unwrap_err());
    within(writer).await.expect("the source is let go of");
}

/// One client for all peers, and only the line that sends is changed.
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_peer_sends_by_the_programs_own_client() {
    let states = testing::states();
    let client = ::reqwest::Client::new();
    let (listener, server) = listener().await;
    let url = format!("http://{server}/shard");
    let served = tokio::spawn(half_a_shard(listener));
    let peer = states.peer(PEER);
    let mut response = peer.send(client.get(&url)).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
    let rest = tokio::spawn(async move { response.chunk().await });
    let _connection = served.await.unwrap();
    testing::set(&states, PEER, Breaker::Open);
    assert_is_down(&within(rest).await.unwrap().unwrap_err());
    let refused = within(peer.send(client.get(&url))).await.unwrap_err();
    assert!(matches!(refused, Interrupted::Down(_)), "{refused:?}");
    // A request that cannot be built is reqwest's own error.
    testing::set(&states, PEER, Breaker::Closed);
    let invalid = peer.send(client.get("no URL")).await.unwrap_err();
    assert!(matches!(invalid, Interrupted::Failed(_)), "{invalid:?}");
}
