//! The program that is paged: it takes the Alertmanager's webhooks.

use std::{convert::Infallible, net::TcpListener, time::Duration};

use anyhow::Context as _;
use detector_tests::{Host, Log, clock};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Where deploy/alertmanager/alertmanager.yml posts to.
const ADDRESS: &str = "127.0.0.1:9095";

/// One alert of a notification.
#[derive(Clone, Debug)]
pub struct Page {
    pub at_ns: u64,
    /// The path of the webhook: the severity's team.
    to: String,
    alert: Value,
}

impl Page {
    pub fn label(&self, name: &str) -> String {
        text(&self.alert["labels"][name])
    }

    pub fn annotation(&self, name: &str) -> String {
        text(&self.alert["annotations"][name])
    }

    /// To whom, what and about what.
    fn line(&self) -> String {
        let status = text(&self.alert["status"]);
        let [name, node] = ["alertname", "node"].map(|label| self.label(label));
        format!("{} {status} {name} {node}", self.to)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub struct Receiver {
    pages: Log<Page>,
}

impl Receiver {
    pub fn start(host: &Host) -> anyhow::Result<Self> {
        let listener = host.within(|| TcpListener::bind(ADDRESS))??;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let pages = Log::default();
        let kept = pages.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone()));
            }
        });
        Ok(Self { pages })
    }

    /// The first alert with this status, of any severity.
    pub async fn page(&self, status: &str, within: Duration) -> anyhow::Result<Page> {
        let found = self.pages.find(within, |page| {
            (page.alert["status"] == status).then(|| page.clone())
        });
        let found = found.await;
        found
            .with_context(|| format!("nobody was told that an alert is {status} within {within:?}"))
    }

    /// What woke somebody: the alerts of the two higher severities, a line each.
    pub fn woken(&self) -> Vec<String> {
        let pages = self.pages.all();
        let lines = pages.iter().map(Page::line);
        lines
            .filter(|line| line.starts_with("critical") || line.starts_with("emergency"))
            .collect()
    }
}

async fn serve(stream: TcpStream, pages: Log<Page>) {
    let service = service_fn(move |request| take(request, pages.clone()));
    // An Alertmanager that goes away is no failure.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn take(
    request: Request<Incoming>,
    pages: Log<Page>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let to = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let notification: Value = serde_json::from_slice(&body).unwrap_or_default();
    for alert in notification["alerts"].as_array().into_iter().flatten() {
        pages.push(Page {
            at_ns: clock::now_ns(),
            to: to.clone(),
            alert: alert.clone(),
        });
    }
    Ok(Response::new(Empty::new()))
}
