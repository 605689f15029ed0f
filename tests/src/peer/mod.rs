//! The lab's storage peers: servers and clients that make real traffic and print what they see, one
//! JSON object on each line.
//!
//! The code is a library, so that `lab-peer` (which the tests run) and the interactive programs
//! (which run themselves as `… peer …`) are the same peers.

mod blocking_client;
mod dial;
mod event;
mod grpc_client;
mod grpc_server;
mod http_client;
mod http_server;
mod pool;
mod queue;

mod spin;

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Subcommand;
use tokio::net::TcpListener;

use crate::{baseline, clock, store::StoreNode};

pub use self::{
    blocking_client::BlockingClient,
    dial::{Dial, Dialed},
    event::Event,
    grpc_client::{GrpcClient, Kind},
    grpc_server::GrpcServer,
    http_client::HttpClient,
    http_server::HttpServer,
    pool::Pool,
    queue::Queue,
    spin::Spin,
};

/// The protocol between the lab's peers.
mod proto {
    #![allow(
        clippy::allow_attributes_without_reason,
        missing_debug_implementations,
        reason = "generated code"
    )]
    tonic::include_proto!("lab.v1");
}

/// The largest message either end takes.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What a peer does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves lab.v1.Store over gRPC.
    GrpcServer(GrpcServer),
    /// Calls lab.v1.Store with RustFS's connection settings, and redials after failures.
    GrpcClient(GrpcClient),
    /// Takes HTTP/1.1 uploads and throws them away.
    HttpServer(HttpServer),
    /// Uploads without end over HTTP/1.1, and reconnects after failures.
    HttpClient(HttpClient),
    /// Connects once, and says how it ended.
    Dial(Dial),
    /// Keeps connections with nothing in flight.
    Pool(Pool),
    /// Many callers behind one channel that connects by itself, with RustFS's settings.
    Queue(Queue),
    /// Keeps a processor busy.
    Spin(Spin),
    /// Other ways to tell that a peer is dead, for comparison.
    Baseline(baseline::Watch),
    /// What the baselines ask of the peer: echoes and a sink.
    BaselinePeer(baseline::Peer),
    /// Sends a request that is never answered and waits for it without a time-out.
    BlockingClient(BlockingClient),
    /// A node of the small store.
    StoreNode(StoreNode),
}

/// Runs until killed, but for a dial.
pub fn run(command: Command) -> anyhow::Result<()> {
    let runtime = match &command {
        // A server that computes: one connection's work must not be in the way of another's.
        Command::StoreNode(_) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    };
    let runtime = runtime.context("cannot start the async runtime")?;
    runtime.block_on(async {
        match command {
            Command::GrpcServer(server) => server.run().await,
            Command::GrpcClient(client) => client.run().await,
            Command::HttpServer(server) => server.run().await,
            Command::HttpClient(client) => client.run().await,
            Command::Dial(dial) => dial.run(),
            Command::Pool(pool) => pool.run().await,
            Command::Queue(queue) => queue.run().await,
            Command::Spin(spin) => spin.run(),
            Command::Baseline(watch) => watch.run().await,
            Command::BaselinePeer(peer) => peer.run().await,
            Command::BlockingClient(client) => client.run().await,
            Command::StoreNode(node) => node.run().await,
        }
    })
}

/// Listens, and says so.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Event::Listening {
        at_ns: clock::now_ns(),
        address: listener.local_addr()?,
    }
    .say();
    Ok(listener)
}
