//! A gRPC server.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use super::{
    MAX_MESSAGE_BYTES, listen,
    proto::{
        GetRequest, GetResponse, PingRequest, PingResponse, PutRequest, PutResponse, WaitRequest,
        WaitResponse,
        store_server::{Store, StoreServer},
    },
};

/// Serves lab.v1.Store.
#[derive(Debug, clap::Args)]
pub struct GrpcServer {
    /// Address and port; `[::]:9000` takes IPv4 as well, as v4-mapped.
    #[arg(long)]
    pub listen: SocketAddr,
    /// How late every answer is: a slow disk.
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
}

impl GrpcServer {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let listener = listen(self.listen).await?;
        let store = StoreServer::new(Sink {
            delay: Duration::from_millis(self.delay_ms),
        })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Server::builder()
            .add_service(store)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .context("the gRPC server ended")
    }
}

/// Keeps nothing.
#[derive(Debug)]
struct Sink {
    delay: Duration,
}

impl Sink {
    async fn be_late(&self) {
        // Even a sleep of no time takes a millisecond.
        if self.delay > Duration::ZERO {
            sleep(self.delay).await;
        }
    }
}

#[tonic::async_trait]
impl Store for Sink {
    async fn ping(&self, _request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        self.be_late().await;
        Ok(Response::new(PingResponse {}))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.be_late().await;
        Ok(Response::new(PutResponse {
            stored_bytes: request.get_ref().data.len() as u64,
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let bytes = request.get_ref().bytes as usize;
        // Room for the message's own framing.
        if bytes > MAX_MESSAGE_BYTES - 1024 {
            return Err(Status::invalid_argument(format!(
                "{bytes} bytes asked for, at most {} are given",
                MAX_MESSAGE_BYTES - 1024
            )));
        }
        self.be_late().await;
        Ok(Response::new(GetResponse {
            data: Bytes::from(vec![0; bytes]).into(),
        }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<WaitResponse>, Status> {
        sleep(Duration::from_millis(request.get_ref().milliseconds.into())).await;
        Ok(Response::new(WaitResponse {}))
    }
}
