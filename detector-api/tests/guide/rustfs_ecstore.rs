//! `crates/ecstore/src/cluster/rpc/client.rs`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use detector_api::{Peer, PeerChannel};
use http::{Request as HttpRequest, Response as HttpResponse};
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;
use tower::Service;

type TonicInterceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// RustFS's own wrapper of a channel; here it only passes requests on.
#[derive(Clone, Debug)]
pub struct ReplayScopeChannel<S> {
    inner: S,
}

pub type AuthenticatedChannel = ReplayScopeChannel<PeerChannel<Channel>>;

impl<S> ReplayScopeChannel<S> {
    fn new(inner: S, _audience: Option<String>) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<HttpRequest<ReqBody>> for ReplayScopeChannel<S>
where
    S: Service<HttpRequest<ReqBody>, Response = HttpResponse<ResBody>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    type Response = HttpResponse<ResBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<ReqBody>) -> Self::Future {
        Box::pin(self.inner.call(request))
    }
}

/// Like `node_service_time_out_client_for_class`, for a service that there is here.
pub(crate) async fn client(
    addr: &str,
) -> HealthClient<InterceptedService<AuthenticatedChannel, TonicInterceptor>> {
    let interceptor: TonicInterceptor = Ok;
    let channel = Endpoint::from_shared(addr.to_owned()).expect("a URL");
    let channel = channel.connect_lazy();
    let channel = PeerChannel::new(channel, Peer::global(addr));
    let channel = ReplayScopeChannel::new(channel, None);
    HealthClient::with_interceptor(channel, interceptor)
}
