//! A small store with RustFS's ways: objects in erasure-coded shards on the drives of four nodes.
//!
//! ```text
//!   client ── HTTP ── node 1 ─┬─ gRPC: metadata, commits, locks, the console ─┬── node 2
//!            front            └─ HTTP/1.1: shards of big objects ─────────────┼── node 3
//!                             put, get, quorum, set                           └── node 4
//! ```
//!
//! It is built twice from this code: `wires` is the seam, `today` what RustFS does,
//! `detected` the same with `detector-api`. Which one a node is, one run-time option says.

mod client;
mod cluster;
mod control;
mod detected;
mod drive;
mod erasure;
mod front;
mod get;
mod iam;
mod load;
mod locks;
mod measured;
mod node;
mod put;
mod quorum;
mod scenario;
mod set;
mod shards;
mod today;
mod wires;

pub use self::{
    client::{Client, Content, Pace},
    cluster::{Build, Cluster, NODES},
    front::{Acknowledged, SHA256, Shows},
    load::{DEADLINE, Done, Load, Op, Running},
    measured::{Measured, Seen},
    node::StoreNode,
    scenario::{Options, Scenario, run},
    today::READ_STALL,
};

use self::{node::Node, wires::Wires};

/// The protocol between the store's nodes.
mod proto {
    #![allow(
        clippy::allow_attributes_without_reason,
        missing_debug_implementations,
        reason = "generated code"
    )]
    tonic::include_proto!("small.v1");
}

/// The largest message either end takes.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What a node does by itself: asks after peers whose drives are offline.
async fn background(node: Node) {
    match node.wires() {
        Wires::Today(today) => today.reprobe().await,
        Wires::Detected(detected) => detected.today().reprobe().await,
    }
}
