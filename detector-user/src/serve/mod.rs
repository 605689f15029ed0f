//! What others see: gRPC on the Unix socket, metrics over HTTP. Serves, never decides.

pub mod grpc;
mod request;
mod socket;

pub use self::{
    request::Request,
    socket::{BindError, BoundSocket, bind},
};
