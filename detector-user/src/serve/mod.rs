//! What others see: gRPC on the Unix socket, metrics over HTTP. Serves, never decides.

mod request;

pub use self::request::Request;
