//! A gRPC client with RustFS's connection settings.

use std::{env, future::pending, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, Semaphore},
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::transport::{Channel, Endpoint};

use super::{
    MAX_MESSAGE_BYTES,
    event::{Event, OkReporter},
    proto::{GetRequest, PingRequest, PutRequest, WaitRequest, store_client::StoreClient},
};
use crate::clock;

/// How long a channel waits before it dials again.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

/// The environment variable that makes calls rarer.
const SLOWER: &str = "DETECTOR_LAB_SLOWER";

/// How long a waiting call waits.
const WAIT_MS: u32 = 10_000;

/// Calls lab.v1.Store. The defaults are what RustFS sets on its peer channels.
#[derive(Clone, Debug, clap::Args)]
pub struct GrpcClient {
    /// Where the server is, as in `http://10.77.0.2:9000`.
    #[arg(long)]
    pub target: String,
    /// Connections to keep.
    #[arg(long, default_value_t = 1)]
    pub channels: u32,
    /// Calls made on each channel.
    #[arg(long, default_value_t = 20.0)]
    pub calls_per_second: f64,
    /// What a call does.
    #[arg(long, value_enum, default_value_t = Kind::Ping)]
    pub kind: Kind,
    /// How much a put or get carries.
    #[arg(long, default_value_t = 64 * 1024)]
    pub bytes: u32,
    /// Calls that may hang on one channel; further ones are not made.
    #[arg(long, default_value_t = 32)]
    pub max_in_flight: usize,
    /// One call after the connect, then none: only HTTP/2's PING is left.
    #[arg(long)]
    pub quiet: bool,
    /// HTTP/2 PING interval, while idle too.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub keepalive_interval: f64,
    /// How long a PING may stay unanswered.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub keepalive_timeout: f64,
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub connect_timeout: f64,
    /// How long one call may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub request_timeout: f64,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Next to nothing.
    Ping,
    /// Sends bytes.
    Put,
    /// Asks for bytes.
    Get,
    /// Waits for the reply, ten seconds a call: next to nothing is ever in flight.
    Wait,
}

impl Kind {
    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Put => "put",
            Self::Get => "get",
            Self::Wait => "wait",
        }
    }
}

/// How many times slower than a test asks for calls are made: on an emulated machine, which would
/// do nothing else.
fn slower() -> anyhow::Result<f64> {
    match env::var(SLOWER) {
        Ok(times) => times.parse().with_context(|| format!("{SLOWER}={times}")),
        Err(_) => Ok(1.0),
    }
}

impl GrpcClient {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let endpoint = self.endpoint()?;
        // Also refuses a rate that is zero, negative or not a number.
        let period = Duration::try_from_secs_f64(slower()? / self.calls_per_second)
            .with_context(|| format!("--calls-per-second {}", self.calls_per_second))?;
        for number in 0..self.channels {
            let worker = Arc::new(Worker {
                number,
                call: self.clone(),
                reporter: OkReporter::default(),
                in_flight: Arc::new(Semaphore::new(self.max_in_flight)),
            });
            tokio::spawn(worker.run(endpoint.clone(), period));
        }
        pending().await
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).with_context(|| format!("--{name} {value}"))
        };
        Ok(Endpoint::new(self.target.clone())
            .with_context(|| format!("--target {}", self.target))?
            .http2_keep_alive_interval(seconds("keepalive-interval", self.keepalive_interval)?)
            .keep_alive_timeout(seconds("keepalive-timeout", self.keepalive_timeout)?)
            .keep_alive_while_idle(true)
            .connect_timeout(seconds("connect-timeout", self.connect_timeout)?)
            .timeout(seconds("request-timeout", self.request_timeout)?))
    }

    async fn call(&self, client: &mut StoreClient<Channel>) -> Result<(), tonic::Status> {
        match self.kind {
            Kind::Ping => client.ping(PingRequest {}).await.map(|_| ()),
            Kind::Put => {
                let data = vec![0; self.bytes as usize];
                client.put(PutRequest { data }).await.map(|_| ())
            }
            Kind::Get => {
                let bytes = self.bytes;
                client.get(GetRequest { bytes }).await.map(|_| ())
            }
            Kind::Wait => {
                let milliseconds = WAIT_MS;
                client.wait(WaitRequest { milliseconds }).await.map(|_| ())
            }
        }
    }
}

/// One channel: dials, calls until a call fails, dials again. Calls that hang on the old
/// channel are left to their own time-outs, as they are where a cache evicts a channel.
#[derive(Debug)]
struct Worker {
    number: u32,
    call: GrpcClient,
    reporter: OkReporter,
    in_flight: Arc<Semaphore>,
}

impl Worker {
    async fn run(self: Arc<Self>, endpoint: Endpoint, period: Duration) {
        loop {
            let started = clock::now_ns();
            match endpoint.connect().await {
                Ok(channel) => {
                    Event::Connected {
                        at_ns: clock::now_ns(),
                        channel: self.number,
                    }
                    .say();
                    self.use_channel(channel, period).await;
                }
                Err(error) => {
                    self.reporter.interrupted();
                    Event::error(self.number, started, &error).say();
                }
            }
            sleep(REDIAL_PAUSE).await;
        }
    }

    async fn use_channel(self: &Arc<Self>, channel: Channel, period: Duration) {
        let client = StoreClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let failed = Arc::new(Notify::new());
        if self.call.kind == Kind::Wait {
            return self.wait_forever(client).await;
        }
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.start_call(client.clone(), failed.clone()),
                () = failed.notified() => return,
            }
            if self.call.quiet {
                return failed.notified().await;
            }
        }
    }

    /// One waiting call after the other, until one fails.
    async fn wait_forever(&self, mut client: StoreClient<Channel>) {
        let mut started = clock::now_ns();
        let mut ended = client.ping(PingRequest {}).await.map(|_| ());
        while ended.is_ok() {
            self.reporter.ok(self.number);
            started = clock::now_ns();
            ended = self.call.call(&mut client).await;
        }
        if let Err(status) = ended {
            self.reporter.interrupted();
            Event::error(self.number, started, &status).say();
        }
    }

    fn start_call(self: &Arc<Self>, mut client: StoreClient<Channel>, failed: Arc<Notify>) {
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            return;
        };
        let worker = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let started = clock::now_ns();
            match worker.call.call(&mut client).await {
                Ok(()) => worker.reporter.ok(worker.number),
                Err(status) => {
                    worker.reporter.interrupted();
                    Event::error(worker.number, started, &status).say();
                    failed.notify_one();
                }
            }
        });
    }
}
