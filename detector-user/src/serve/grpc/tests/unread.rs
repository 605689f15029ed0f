//! Answers that a client does not read, and requests that it does not finish.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use tokio::{sync::Notify, time::timeout};
use tonic::{
    body::Body,
    codegen::http::{Request as HttpRequest, Response as HttpResponse},
};
use tower::{Layer as _, Service as _, service_fn};

use super::*;
use crate::{
    model::{Health, Measured, PathState},
    serve::grpc::clients::Client,
};

const SOON: Duration = Duration::from_secs(15);
/// As many as fill the share of a process with a dozen snapshots.
const PEERS: u64 = 400;

/// A peer's state with all that may be in it.
fn large(n: u64) -> PeerState {
    let name = format!("http://storage-node-{n:05}.rack-17.example.org:9000");
    let paths: Vec<_> = (0..2)
        .map(|network| PathState {
            address: [10, network, (n >> 8) as u8, n as u8].into(),
            verdict: Verdict::Alive,
            reason: Reason::PacketReceived,
            breaker: Breaker::Closed,
            last_heard: Some(clock::now()),
            measured: Measured {
                flows: 12,
                srtt: Some(MS),
                loss: 0.01,
            },
        })
        .collect();
    PeerState {
        addresses: paths.iter().map(|path| path.address).collect(),
        paths,
        srtt: Some(MS),
        rtt_variance: Some(MS),
        health: Some(Health::default()),
        oldest_stall: Some(MS),
        ..state(&name, Verdict::Alive, Breaker::Closed, n + 1)
    }
}

#[test]
fn the_states_of_all_peers_fit_twice_into_the_share_of_a_process() {
    for peers in [1, 1024, 5000] {
        let board = Board::new("one", Bounds::new(peers));
        for n in 0..peers as u64 {
            board.publish(large(n));
        }
        let snapshot = convert::snapshot(&board.snapshot());
        let bytes = prost::Message::encoded_len(&snapshot);
        println!("{peers} peers: {bytes} bytes");
        assert!(2 * bytes < Bounds::new(peers).unread_bytes(), "{bytes}");
    }
}

#[tokio::test]
async fn what_is_not_read_is_bounded_until_it_is_read() {
    let rig = Rig::start().await;
    for n in 0..PEERS {
        rig.board.publish(large(n));
    }
    let mut unread = Vec::new();
    for _ in 0..15 {
        unread.push(rig.watch("", 0).await);
    }
    // A process has one share, however many connections it makes.
    let mut client = DetectorClient::new(connect(&rig.path).await);
    let mut list = async || client.list_peers(v1::ListPeersRequest {}).await;
    assert_eq!(list().await.unwrap_err().code(), Code::ResourceExhausted);
    drop(unread);
    let listed = timeout(SOON, async {
        loop {
            match list().await {
                Ok(listed) => break listed.into_inner(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let listed = listed.await.expect("there is room again");
    assert_eq!(listed.peers.len() as u64, PEERS);
}

/// Its answers wait for the client, and the refusal does not wait behind them.
#[tokio::test]
async fn a_refusal_comes_at_once_on_the_connection_that_is_full() {
    let rig = Rig::start().await;
    for n in 0..PEERS {
        rig.board.publish(large(n));
    }
    let mut unread = Vec::new();
    for _ in 0..15 {
        unread.push(rig.watch("", 0).await);
    }
    let mut client = rig.client();
    let list = client.list_peers(v1::ListPeersRequest {});
    let listed = timeout(SOON, list).await.expect("an answer");
    assert_eq!(listed.unwrap_err().code(), Code::ResourceExhausted);
}

fn request(client: &Client, method: &str, bytes: usize) -> HttpRequest<Body> {
    let mut request = HttpRequest::new(Body::new(Full::new(vec![0; bytes].into())));
    *request.uri_mut() = format!("/detector.v1.Detector/{method}").parse().unwrap();
    request.extensions_mut().insert(client.clone());
    request
}

/// Two processes.
fn clients() -> [Client; 2] {
    let mut processes = Processes::new(Bounds::new(1), files::Shares::of(1 << 20));
    [7, 8].map(|pid| Client {
        credentials: None,
        shares: processes.connect_as((None, pid)).unwrap().0,
    })
}

#[tokio::test]
async fn reports_that_are_never_finished_keep_only_reports_of_their_own_process_waiting() {
    let [slow, other] = clients();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let end = Arc::new(Notify::new());
    let ended = Arc::clone(&end);
    let inner = service_fn(move |request: HttpRequest<Body>| {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let (begun, ended) = (begun.clone(), Arc::clone(&ended));
        async move {
            begun.send(method.clone()).unwrap();
            if method == "Report" {
                ended.notified().await;
            }
            Ok::<_, ServeError>(HttpResponse::new(Body::empty()))
        }
    });
    let mut served = Fair.layer(inner);
    let mut send = |client, method| tokio::spawn(served.call(request(client, method, 1)));
    // Ten times as many as begin.
    let mut slowly: Vec<_> = (0..40).map(|_| send(&slow, "Report")).collect();
    for _ in 0..4 {
        assert_eq!(begins.recv().await.unwrap(), "Report");
    }
    tokio::task::yield_now().await;
    assert!(begins.is_empty(), "more than its share has begun");
    send(&slow, "ExplainPeer").await.unwrap().unwrap();
    assert_eq!(begins.recv().await.unwrap(), "ExplainPeer");
    let others = send(&other, "Report");
    let begins_now = timeout(SOON, begins.recv()).await;
    assert_eq!(begins_now.expect("the other's turn").unwrap(), "Report");
    slowly.remove(0).abort();
    assert_eq!(
        begins.recv().await.unwrap(),
        "Report",
        "the next one's turn"
    );
    others.abort();
    slowly.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn only_reports_may_be_large() {
    let [client, _] = clients();
    let read = service_fn(async |request: HttpRequest<Body>| {
        let read = request.into_body().collect().await;
        read.map(|_| HttpResponse::new(Body::empty()))
    });
    let mut served = Fair.layer(read);
    for (method, bytes, is_read) in [
        ("Report", MAX_REQUEST_BYTES + 1, true),
        ("ExplainPeer", MAX_REQUEST_BYTES, true),
        ("ExplainPeer", MAX_REQUEST_BYTES + 1, false),
    ] {
        let answer = served.call(request(&client, method, bytes)).await;
        assert_eq!(answer.is_ok(), is_read, "{method} {bytes}");
    }
}
