//! The guide for RustFS, compiled: each block of Rust in `INTEGRATION.md` stands in one of these
//! files, between stand-ins that have the signatures of RustFS 1.0.0-rc.3. None of RustFS's code is
//! here. The test runs what the blocks make together against a fake daemon.

mod rustfs_bin;
mod rustfs_common;
mod rustfs_ecstore;
mod rustfs_protos;
mod rustfs_rio;
mod stand_ins;

use std::{net::SocketAddr, time::Duration};

use detector_api::{Peer, PeerStates, PeerWatch, Refused, WatchStatus, testing::FakeDaemon, v1};
use stand_ins::{rustfs_config, rustfs_io_metrics, rustfs_utils, storage_api};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;

use self::storage_api::startup::notification::{EndpointServerPools, Node, retries};

const GUIDE: &str = include_str!("../../INTEGRATION.md");
const SOURCES: [&str; 6] = [
    include_str!("rustfs_bin.rs"),
    include_str!("rustfs_common.rs"),
    include_str!("rustfs_ecstore.rs"),
    include_str!("rustfs_protos.rs"),
    include_str!("rustfs_rio.rs"),
    include_str!("stand_ins.rs"),
];
/// Longer than any expected event takes.
const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it never happened")
}

/// The text without its layout, which differs with the width of a line.
fn words(text: &str) -> String {
    let text: String = text.split_whitespace().collect();
    text.replace(",}", "}").replace(",)", ")")
}

#[test]
fn each_block_of_the_guide_is_compiled_here() {
    let sources: Vec<_> = SOURCES.iter().map(|source| words(source)).collect();
    let blocks: Vec<_> = GUIDE.split("```rust\n").skip(1).collect();
    assert!(blocks.len() >= 8, "the guide has {} blocks", blocks.len());
    for block in blocks {
        let (block, _) = block.split_once("```").expect("the block ends");
        let found = sources.iter().any(|source| source.contains(&words(block)));
        assert!(found, "this block is compiled nowhere:\n{block}");
    }
    assert!(!GUIDE.contains("```rust,"), "a block that is not compiled");
}

/// A peer that answers what it is asked first on a connection with `answer`, and then falls silent.
async fn silent_peer(answer: &'static [u8]) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (tell, accepted) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let asked = connection.read(&mut [0; 1024]).await.is_ok();
            let answered = connection.write_all(answer).await.is_ok();
            held.push(connection);
            if !asked || !answered || tell.send(()).await.is_err() {
                return;
            }
        }
    });
    (address, accepted)
}

fn node(grid_host: &str, is_local: bool) -> Node {
    let grid_host = grid_host.to_owned();
    Node {
        grid_host,
        is_local,
    }
}

/// One test, because the watch is the process's only one.
#[tokio::test]
async fn a_node_that_is_linked_lets_go_of_a_dead_peer() {
    // A dial and a call, and half a shard.
    let (rpc, mut dialled) = silent_peer(b"").await;
    let shard = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let (shards, _served) = silent_peer(shard).await;
    let (rpc, shards) = (format!("http://{rpc}"), format!("http://{shards}"));
    let local = "http://node1:9000";
    let daemon = FakeDaemon::start().await;
    for peer in [&rpc, &shards] {
        daemon.close(peer);
    }

    without_the_variable();

    rustfs_utils::set_env(daemon.socket().to_str().expect("a path in UTF-8"));
    rustfs_bin::start_detector_watch();
    let nodes = vec![node(local, true), node(&rpc, false), node(&shards, false)];
    let ctx = CancellationToken::new();
    rustfs_bin::follow_detected_peers(&EndpointServerPools(nodes), ctx.clone());
    within(PeerStates::global().until_fresh()).await;
    let watch = PeerWatch::global().expect("it was started");
    assert!(matches!(watch.status(), WatchStatus::Live { .. }));
    assert_eq!(rustfs_bin::ebpf_status(), Ok(()));

    what_is_in_flight_ends(&daemon, &rpc, &shards, &mut dialled).await;
    nothing_is_dialled(&rpc, &shards).await;
    a_taken_trial_is_no_failure(&daemon, rpc).await;

    ctx.cancel();
    within(PeerStates::global().until_stale()).await;
}

/// Unset, there is no watch, and every peer is unwatched.
fn without_the_variable() {
    rustfs_utils::set_env("");
    rustfs_bin::start_detector_watch();
    assert!(PeerWatch::global().is_none() && !PeerStates::global().is_fresh());
    assert_eq!(
        rustfs_bin::ebpf_status(),
        Err("not wired into runtime".into())
    );
}

/// A call on one channel of three, and a download.
async fn what_is_in_flight_ends(
    daemon: &FakeDaemon,
    rpc: &str,
    shards: &str,
    dialled: &mut mpsc::Receiver<()>,
) {
    for key in ["", "\0bulk\x000", "/data/rustfs1"] {
        rustfs_common::cache_lazily(&format!("{rpc}{key}")).await;
    }
    let mut client = rustfs_ecstore::client(rpc).await;
    let call = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });
    within(dialled.recv()).await.expect("it was called");
    let mut reader = rustfs_rio::HttpReader::open(shards)
        .await
        .expect("it answers");
    assert_eq!(
        within(reader.chunk()).await.expect("the first half"),
        "hello"
    );
    let rest = tokio::spawn(async move { reader.chunk().await });

    daemon.open(rpc);
    daemon.open(shards);
    let ended = within(call)
        .await
        .expect("no panic")
        .expect_err("it was ended");
    assert_eq!(ended.code(), Code::Unavailable);
    let ended = within(rest)
        .await
        .expect("no panic")
        .expect_err("it was ended");
    assert_eq!(ended.kind(), std::io::ErrorKind::BrokenPipe);
    let mut told = within(rustfs_io_metrics::internode_metrics::unreachable(2)).await;
    told.sort();
    let mut expected = vec![(rpc.to_owned(), 1), (shards.to_owned(), 1)];
    expected.sort();
    assert_eq!(
        told, expected,
        "each but the local node, once, under RustFS's own name"
    );
    assert_eq!(rustfs_common::cached().await, 0);
}

/// While the peers are down: no dial, no request.
async fn nothing_is_dialled(rpc: &str, shards: &str) {
    let refused = rustfs_protos::build_channel(rpc)
        .await
        .expect_err("refused");
    let status = refused.downcast_ref::<Status>().expect("a status");
    assert!(
        status.to_string().contains("currently unavailable"),
        "{status}"
    );
    let refused = rustfs_rio::HttpReader::open(shards)
        .await
        .err()
        .expect("refused");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(within(retries(0)).await, [""; 0]);
}

/// A trial that is not free is no failure of the peer's.
async fn a_taken_trial_is_no_failure(daemon: &FakeDaemon, rpc: String) {
    daemon.publish(FakeDaemon::state(
        &rpc,
        v1::Verdict::Unknown,
        v1::Breaker::HalfOpen,
    ));
    let peer = Peer::global(&rpc);
    within(peer.until(|state| state.breaker == v1::Breaker::HalfOpen)).await;
    let mut client = rustfs_ecstore::client(&rpc).await;
    let taken = within(client.check(HealthCheckRequest::default())).await;
    let taken = taken.expect_err("the daemon leases none");
    assert_eq!(taken.code(), Code::ResourceExhausted);
    assert!(matches!(
        Refused::find(&taken),
        Some(Refused::TrialsTaken { .. })
    ));
    assert_eq!(within(retries(1)).await, [rpc]);
}
