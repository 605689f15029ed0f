//! What others see: the board of published states, gRPC on the Unix socket, metrics over HTTP.
//! Serves, never decides.

pub mod board;
pub mod grpc;
pub mod http;
mod metrics;
mod request;
mod socket;

pub use self::{
    metrics::Metrics,
    request::{Locks, Request},
    socket::{BindError, BoundSocket, bind},
};
