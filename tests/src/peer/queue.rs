//! Many callers behind one gRPC channel.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use super::{
    event::{Event, OkReporter},
    proto::{PingRequest, store_client::StoreClient},
};
use crate::clock;

/// A caller that failed waits this long, so that a peer that refuses is not a busy loop.
const PAUSE: Duration = Duration::from_millis(20);
/// Calls that take longer than this are reported.
const LONG: Duration = Duration::from_millis(100);

/// A service's callers behind one channel, which is never replaced: it connects by itself.
#[derive(Clone, Debug, clap::Args)]
pub struct Queue {
    /// Where the server is, as in `http://10.77.0.2:9000`.
    #[arg(long)]
    pub target: String,
    /// Calls at once.
    #[arg(long, default_value_t = 50)]
    pub calls: u32,
    /// HTTP/2 PING interval.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub keepalive_interval: u64,
    /// How long a PING may stay unanswered.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub keepalive_timeout: u64,
    /// How long one call may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub request_timeout: u64,
}

impl Queue {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let channel = Endpoint::new(self.target.clone())
            .with_context(|| format!("--target {}", self.target))?
            .http2_keep_alive_interval(Duration::from_secs(self.keepalive_interval))
            .keep_alive_timeout(Duration::from_secs(self.keepalive_timeout))
            .keep_alive_while_idle(true)
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(self.request_timeout))
            .connect_lazy();
        for number in 0..self.calls {
            tokio::spawn(call_forever(number, channel.clone()));
        }
        std::future::pending().await
    }
}

async fn call_forever(number: u32, channel: Channel) {
    let mut client = StoreClient::new(channel);
    let reporter = OkReporter::default();
    loop {
        let started_ns = clock::now_ns();
        let answer = client.ping(PingRequest {}).await;
        let at_ns = clock::now_ns();
        if answer.is_err() || clock::between(started_ns, at_ns) > LONG {
            Event::Call {
                at_ns,
                started_ns,
                channel: number,
                ok: answer.is_ok(),
            }
            .say();
        }
        match answer {
            Ok(_) => reporter.ok(number),
            Err(_) => reporter.interrupted(),
        }
        sleep(PAUSE).await;
    }
}
