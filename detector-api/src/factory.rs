//! How connections to peers are set up: one profile for control traffic and one for bulk data.
//!
//! | | [`Control`](Profile::Control) | [`Bulk`](Profile::Bulk) | what it is for |
//! |---|---|---|---|
//! | connect time-out | 3 s | 5 s | a dial to a host that is gone |
//! | TCP keepalive | 10 s, then 15 s × 3 | 10 s, then 15 s × 3 | an idle connection to one |
//! | HTTP/2 PING | 5 s, answer within 20 s | **none** | a connection that waits for an answer |
//! | `TCP_USER_TIMEOUT` | none | 30 s | a transfer that nobody acknowledges |
//!
//! All of these matter only without a detector: while it runs, the breaker opens long before any of
//! them expires. None is short, because a short time-out that only knows its own connection
//! declares busy peers dead.
//!
//! # Why bulk connections have no PING
//! A PING travels on the connection that it checks, behind the data that is already queued there,
//! and so does its answer. On a connection with bulk data, a full send buffer delays the answer
//! until the buffer drains; 20 seconds were measured, from a healthy peer. Stores that sent PINGs
//! on their data connections cut downloads short (rustfs/rustfs 4284), and even with longer
//! time-outs declared busy peers dead (rustfs/rustfs 6621). TCP's own acknowledgements do not queue
//! behind the data. `TCP_USER_TIMEOUT` is based on them, and so is the detector.
//!
//! On a control connection the messages are small and the answer is not delayed, so a PING is
//! reliable. Keep bulk data off control connections.
//!
//! # What can be set where
//! | | tonic | hyper-util | reqwest |
//! |---|---|---|---|
//! | as one call | [`Settings::endpoint`] | [`Settings::connector`] | `Settings::reqwest` |
//! | connect time-out, keepalive | yes | yes | yes |
//! | PING | yes | by the builder of the client, for HTTP/2 | HTTP/1.1 has none |
//! | `TCP_USER_TIMEOUT` | with `connect_with_connector(settings.connector())` | yes | yes |

mod env;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;

use crate::{GuardedConnector, Peer};

/// The purpose of a connection, which decides how it is set up. See the [module's
/// documentation](crate::factory).
///
/// ```
/// use detector_api::Profile;
///
/// assert!(Profile::Control.settings().ping.is_some());
/// assert!(Profile::Bulk.settings().ping.is_none(), "a PING would queue behind the data");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Small messages whose answers are waited for: calls, locks, metadata.
    Control,
    /// Object data.
    Bulk,
}

/// How a connection is set up.
///
/// ```
/// use std::time::Duration;
///
/// use detector_api::{Profile, Settings};
///
/// let patient = Settings {
///     connect_timeout: Duration::from_secs(10),
///     ..Profile::Bulk.settings()
/// };
/// assert_eq!(patient.user_timeout, Some(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The time limit of a dial.
    pub connect_timeout: Duration,
    /// How long a connection is idle before the first keepalive probe.
    pub keepalive_idle: Duration,
    /// The time between two keepalive probes.
    pub keepalive_interval: Duration,
    /// How many unanswered keepalive probes fail the connection.
    pub keepalive_retries: u32,
    /// HTTP/2's PING; `None` sends none.
    pub ping: Option<Ping>,
    /// `TCP_USER_TIMEOUT`: how long data may stay unacknowledged. `None` leaves it to the kernel,
    /// which usually gives up after a quarter of an hour. Linux only.
    pub user_timeout: Option<Duration>,
}

/// HTTP/2's PING, which checks whether the other end is there. It is also sent on idle connections,
/// because a call that waits for its answer looks the same.
///
/// ```
/// use detector_api::Profile;
///
/// let ping = Profile::Control.settings().ping.expect("control connections are pinged");
/// assert_eq!((ping.interval.as_secs(), ping.timeout.as_secs()), (5, 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// How long nothing is received before a PING is sent.
    pub interval: Duration,
    /// How long its answer may take.
    pub timeout: Duration,
}

impl Profile {
    /// The settings of this profile.
    ///
    /// ```
    /// use detector_api::Profile;
    ///
    /// assert_eq!(Profile::Control.settings().connect_timeout.as_secs(), 3);
    /// ```
    pub const fn settings(self) -> Settings {
        let (connect, ping, user_timeout) = match self {
            Self::Control => (3, Some(Ping::CONTROL), None),
            Self::Bulk => (5, None, Some(Duration::from_secs(30))),
        };
        Settings {
            connect_timeout: Duration::from_secs(connect),
            keepalive_idle: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(15),
            keepalive_retries: 3,
            ping,
            user_timeout,
        }
    }
}

impl Ping {
    const CONTROL: Self = Self {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
    };
}

impl Settings {
    /// Applies these settings to tonic's endpoint, except for `TCP_USER_TIMEOUT`, for which the
    /// endpoint has no setter.
    ///
    /// To set that as well, connect through [`connector`](Self::connector):
    ///
    /// ```
    /// # #[cfg(feature = "channel")] {
    /// use detector_api::Profile;
    /// use tonic::transport::Endpoint;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let control = Profile::Control.settings();
    /// let endpoint = control.endpoint(Endpoint::from_static("http://node4:9000"));
    /// let channel = endpoint.connect_lazy(); // or `connect().await`
    ///
    /// let bulk = Profile::Bulk.settings();
    /// let endpoint = bulk.endpoint(Endpoint::from_static("http://node4:9000"));
    /// let channel = endpoint.connect_with_connector_lazy(bulk.connector());
    /// # drop(channel);
    /// # }
    /// # }
    /// ```
    #[cfg(feature = "channel")]
    #[must_use]
    pub fn endpoint(&self, endpoint: tonic::transport::Endpoint) -> tonic::transport::Endpoint {
        let endpoint = endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(self.keepalive_idle))
            .tcp_keepalive_interval(Some(self.keepalive_interval))
            .tcp_keepalive_retries(Some(self.keepalive_retries));
        match self.ping {
            Some(ping) => endpoint
                .http2_keep_alive_interval(ping.interval)
                .keep_alive_timeout(ping.timeout)
                .keep_alive_while_idle(true),
            None => endpoint,
        }
    }

    /// A connector for hyper's clients, and for tonic's `connect_with_connector`. It applies all
    /// settings except for the PING, which a connector cannot set.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use detector_api::Profile;
    /// use http_body_util::Empty;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    ///
    /// let connector = Profile::Bulk.settings().connector();
    /// let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    /// # drop(client);
    /// ```
    pub fn connector(&self) -> HttpConnector {
        let mut connector = HttpConnector::new();
        // A TLS layer on top of it decides that itself.
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.connect_timeout));
        connector.set_keepalive(Some(self.keepalive_idle));
        connector.set_keepalive_interval(Some(self.keepalive_interval));
        connector.set_keepalive_retries(Some(self.keepalive_retries));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(self.user_timeout);
        connector
    }

    /// The same connector, but its connections end when `peer` goes down: see [`GuardedConnector`].
    ///
    /// ```
    /// # #[cfg(feature = "channel")] {
    /// use detector_api::{Peer, Profile};
    /// use tonic::transport::Endpoint;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
    /// let bulk = Profile::Bulk.settings();
    /// let endpoint = bulk.endpoint(Endpoint::from_static("http://node4:9000"));
    /// let channel = endpoint.connect_with_connector_lazy(bulk.connector_to(peer));
    /// # drop(channel);
    /// # }
    /// # }
    /// ```
    pub fn connector_to(&self, peer: Peer) -> GuardedConnector<HttpConnector> {
        GuardedConnector::new(self.connector(), peer)
    }

    /// Applies these settings to a reqwest client for HTTP/1.1, without the PING.
    ///
    /// ```
    /// use detector_api::Profile;
    ///
    /// # fn main() -> Result<(), reqwest::Error> {
    /// let client = Profile::Bulk.settings().reqwest(reqwest::Client::builder()).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "reqwest")]
    pub fn reqwest(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let builder = builder
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(self.keepalive_idle)
            .tcp_keepalive_interval(self.keepalive_interval)
            .tcp_keepalive_retries(self.keepalive_retries);
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout(self.user_timeout);
        builder
    }
}
