//! `crates/rio/src/http_reader.rs`.

use std::io;

use bytes::Bytes;
use detector_api::{Interrupted, Peer};
use reqwest::{Client, Method, Response};

/// Fewer kinds than RustFS has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InternodeHttpErrorKind {
    ConnectionReset,
    BodyStreamAborted,
    Unknown,
}

#[derive(Debug, thiserror::Error)]
#[error("{kind:?}: {context}")]
pub(crate) struct InternodeHttpError {
    kind: InternodeHttpErrorKind,
    context: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl InternodeHttpError {
    fn with_source<E>(kind: InternodeHttpErrorKind, context: String, source: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let source = Box::new(source);
        Self {
            kind,
            context,
            source,
        }
    }

    fn into_io_error(self) -> io::Error {
        let kind = match self.kind {
            InternodeHttpErrorKind::ConnectionReset => io::ErrorKind::ConnectionReset,
            InternodeHttpErrorKind::BodyStreamAborted => io::ErrorKind::BrokenPipe,
            InternodeHttpErrorKind::Unknown => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

fn classify_reqwest_error(_: &reqwest::Error) -> InternodeHttpErrorKind {
    InternodeHttpErrorKind::Unknown
}

fn internode_request_context(method: &Method, url: &str, _: Option<&'static str>) -> String {
    format!("{method} {url}")
}

fn internode_reqwest_error(
    method: &Method,
    url: &str,
    operation: Option<&'static str>,
    err: reqwest::Error,
) -> io::Error {
    let context = internode_request_context(method, url, operation);
    InternodeHttpError::with_source(classify_reqwest_error(&err), context, err).into_io_error()
}

/// A peer that is down is a lost connection; one whose trials are taken has nothing against it.
fn classify_interrupted(err: &Interrupted<reqwest::Error>) -> InternodeHttpErrorKind {
    match err {
        Interrupted::Failed(err) => classify_reqwest_error(err),
        Interrupted::Down(_) => InternodeHttpErrorKind::ConnectionReset,
        _ => InternodeHttpErrorKind::Unknown,
    }
}

fn internode_interrupted_error(
    method: &Method,
    url: &str,
    operation: Option<&'static str>,
    err: Interrupted<reqwest::Error>,
) -> io::Error {
    let kind = classify_interrupted(&err);
    match err {
        Interrupted::Failed(err) => internode_reqwest_error(method, url, operation, err),
        ended => {
            let context = internode_request_context(method, url, operation);
            InternodeHttpError::with_source(kind, context, ended).into_io_error()
        }
    }
}

pub(crate) struct HttpReader(Response);

impl HttpReader {
    pub(crate) async fn open(url: &str) -> io::Result<Self> {
        let (method, internode_operation) = (&Method::GET, None);
        let request = Client::new().request(method.clone(), url);
        let resp = Peer::global(url)
            .send(request)
            .await
            .map_err(|e| internode_interrupted_error(method, url, internode_operation, e))?;
        Ok(Self(resp))
    }

    pub(crate) async fn chunk(&mut self) -> io::Result<Bytes> {
        let chunk = self.0.chunk().await.map_err(|e| {
            let kind = InternodeHttpErrorKind::BodyStreamAborted;
            InternodeHttpError::with_source(kind, self.0.url().to_string(), e).into_io_error()
        })?;
        chunk.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
