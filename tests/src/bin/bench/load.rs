//! The load on the peer at the moment of a cut.

use std::net::SocketAddr;

use detector_tests::{Host, Traffic, peer::Kind};

use crate::site::Site;

/// What h1 has with the peer at the moment of the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Calls of 64 KiB, which are several segments each, on this many connections.
    Calls(u32),
    /// One call at a time on one connection, small enough for one segment.
    Segment,
    /// Calls that wait for their replies, on three connections.
    Waiting,
    /// One gRPC connection with nothing but PINGs.
    Quiet,
    /// Ten connections with nothing at all.
    Idle,
    /// Uploads over HTTP/1.1, on this many connections.
    Upload(u32),
}

/// Calls a second, over all connections together: one is in flight soon after any cut.
const CALLS_PER_SECOND: u32 = 120;

impl Load {
    pub fn as_str(self) -> String {
        match self {
            Self::Calls(flows) => format!("calls-{flows}"),
            Self::Segment => "segment-1".to_owned(),
            Self::Waiting => "waiting".to_owned(),
            Self::Quiet => "quiet".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Upload(_) => "upload".to_owned(),
        }
    }

    /// Whether it is to an HTTP server.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Idle | Self::Upload(_))
    }

    /// Starts it; returns once it works.
    pub async fn start(self, site: &Site) -> anyhow::Result<Traffic> {
        let (us, url) = (site.us(), site.grpc());
        match self {
            Self::Calls(flows) => {
                let rate = (CALLS_PER_SECOND / flows).max(1);
                Traffic::grpc_client(us, &url, Kind::Put, flows, rate).await
            }
            Self::Segment => one_call_at_a_time(us, &url).await,
            Self::Waiting => Traffic::grpc_client(us, &url, Kind::Wait, 3, 1).await,
            Self::Quiet => Traffic::quiet_grpc_client(us, &url).await,
            Self::Idle => Traffic::pool(us, site.http(), 10).await,
            Self::Upload(flows) => Traffic::uploads(us, site.http(), flows).await,
        }
    }
}

async fn one_call_at_a_time(us: &Host, url: &str) -> anyhow::Result<Traffic> {
    Traffic::caller(
        us,
        url,
        &["--calls-per-second", "100", "--max-in-flight", "1"],
    )
    .await
}

/// The peer's address at another port.
pub fn at(peer: &SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(peer.ip(), port)
}
