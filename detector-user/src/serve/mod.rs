//! The daemon's servers: gRPC on the Unix socket, metrics over HTTP. They never decide anything.

pub mod board;
pub mod grpc;
pub mod http;
mod metrics;
mod request;
mod socket;

pub use self::{
    metrics::Metrics,
    request::{Diagnostics, Locks, Request},
    socket::{BindError, BoundSocket, bind},
};
