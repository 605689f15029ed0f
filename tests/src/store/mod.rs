//! A small store that works like RustFS: objects in shards on four nodes, one of which may be down.
//!
//! ```text
//!   Load ── Client ── node 1 ──┬── node 2     one gRPC protocol, and two connections to a peer:
//!   (the test)        put, get ├── node 3     for metadata, commits, locks and the console,
//!                              └── node 4     and for the shards of big objects
//! ```
//!
//! Real: the processes, the sockets between network namespaces, the client crate, the daemons.
//! Small: a drive is memory, the code is XOR, and an object is written once.
//!
//! `peers` is how a node calls the others: RustFS's connection settings, its time-outs and its
//! register of offline peers. One store runs without a detector, as RustFS does today.
//! In the other, `detector-api` watches the peers. That is the only difference.

mod client;
mod cluster;
mod code;
mod get;
mod load;
mod locks;
mod measured;
mod node;
mod peers;
pub mod pods;
mod put;
mod scenario;
mod served;

pub use self::{
    load::{Op, SmallLoad},
    measured::{Measured, Seen},
    node::StoreNode,
    scenario::{Daemons, Options, SCENARIOS, Scenario, run, scenario},
};

/// The store's protocol.
mod proto {
    #![allow(
        clippy::allow_attributes_without_reason,
        missing_debug_implementations,
        reason = "generated code"
    )]
    tonic::include_proto!("small.v1");
}
