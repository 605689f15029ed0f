//! The connections of clients, and which process is at the other end of each.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::stream::{Stream, unfold};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixStream, unix::UCred},
};
use tonic::{Request, Status, transport::server::Connected};
use tracing::debug;

use super::{
    listening::Listening,
    shares::{Processes, Shares, Taken},
};

/// The process that sent a request.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// `None` if the kernel does not say it.
    pub(super) credentials: Option<UCred>,
    pub(super) shares: Arc<Shares>,
}

impl Client {
    pub(super) fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        let client = request.extensions().get();
        client.ok_or_else(|| Status::internal("the connection is unknown"))
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    client: Client,
    _taken: Taken,
}

/// Accepts connections for ever. Those beyond a share are closed at once.
pub(super) fn accepted(
    listening: Listening,
    processes: Processes,
) -> impl Stream<Item = io::Result<Connection>> {
    unfold(
        (listening, processes),
        async |(mut listening, mut processes)| {
            loop {
                let stream = listening.accept().await;
                let credentials = stream.peer_cred().ok();
                if let Some((shares, taken)) = processes.connect(credentials.as_ref()) {
                    let connection = Connection {
                        stream,
                        client: Client {
                            credentials,
                            shares,
                        },
                        _taken: taken,
                    };
                    return Some((Ok(connection), (listening, processes)));
                }
                debug!(
                    ?credentials,
                    "a connection beyond its client's share was closed"
                );
            }
        },
    )
}

impl Connected for Connection {
    type ConnectInfo = Client;

    fn connect_info(&self) -> Client {
        self.client.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
