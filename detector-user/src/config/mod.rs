//! What an operator sets: a TOML file, flags, or both.
//!
//! [`Config`] is the whole of it, with its defaults. [`keys`] is the table of keys: the
//! file, the flags and `config show` are all read and written through it, so a key is
//! defined once. [`load()`] joins file and flags and reports every error together, each with
//! its place.

mod error;
mod file;
pub mod keys;
mod load;
mod name;
mod pool;
mod suggest;
mod target;
mod values;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use self::{
    error::{ConfigError, ConfigErrors, Place},
    load::{DEFAULT_FILE, Flag, Loaded, NAMESPACE_FLAG, Origin, PEER_FLAG, PROTECT_FLAG, load},
    name::parse_peer_name,
    pool::MAX_POOLS,
    target::{MAX_TARGETS, Target},
};
use crate::{
    core::{PeerName, Settings},
    insight::Pool,
};

/// Everything an operator may set. Settings of the verdict, with their defaults, are the
/// core's; the rest is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Settings of the verdict; the mode is one of them.
    pub core: Settings,
    pub source: SourceChoice,
    /// Where the gRPC API is served.
    pub socket: PathBuf,
    /// The group that may use the socket; `None` leaves it to the daemon's own.
    pub socket_group: Option<String>,
    /// Where metrics are served; `None` serves none.
    pub metrics: Option<SocketAddr>,
    /// The watched peers, in the order given; each name once. With none, peers are
    /// discovered, and only observed.
    pub peers: Vec<PeerSpec>,
    /// This node's own name, so that its drives are known to be there.
    pub node_name: Option<PeerName>,
    /// The erasure sets, for the quorum outlook; without any there is none.
    pub pools: Vec<Pool>,
    /// How often the `sock_diag` source reads the sockets.
    pub poll_interval: Duration,
    /// How often names are resolved anew.
    pub resolve_interval: Duration,
    /// The most flows that the kernel's map holds.
    pub max_flows: u32,
    /// The size of the kernel's ring buffer: a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// The most peers that are discovered; 0 discovers none.
    pub discover_limit: usize,
    /// What is logged: a level, or `target=level` pairs.
    pub log: String,
    /// Whether the eBPF programs log, for debugging.
    pub ebpf_log: bool,
    /// The network namespaces that are watched beside the daemon's own: by file, or those of a
    /// service's processes.
    pub network_namespaces: Vec<Target>,
    /// The services whose connects to dead peers are refused.
    pub refuse_connects: Vec<Target>,
    /// The services whose connections with peers are tuned.
    pub tune_sockets: Vec<Target>,
    /// What is set on them.
    pub tune: Tuning,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            core: Settings::default(),
            source: SourceChoice::Auto,
            socket: PathBuf::from(detector_api::DEFAULT_SOCKET),
            socket_group: None,
            metrics: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            peers: Vec::new(),
            node_name: None,
            pools: Vec::new(),
            poll_interval: Duration::from_millis(100),
            resolve_interval: Duration::from_secs(30),
            max_flows: 65_536,
            ring_bytes: 1 << 20,
            discover_limit: 64,
            log: "info".to_owned(),
            ebpf_log: false,
            network_namespaces: Vec::new(),
            refuse_connects: Vec::new(),
            tune_sockets: Vec::new(),
            tune: Tuning::default(),
        }
    }
}

/// What is set on the connections of a service that is tuned; of each, `None` leaves it as it
/// is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The least retransmission time-out. How long our own ACKs are held back follows it, so
    /// that two tuned ends never take each other's delayed ACK for a loss.
    pub rto_min: Option<Duration>,
    /// How long a connection is idle before it is probed; without it, nothing of keepalive
    /// is set.
    pub keepalive_idle: Option<Duration>,
    /// How long between two such probes.
    pub keepalive_interval: Duration,
    /// How many of them go unanswered before the connection fails.
    pub keepalive_count: u32,
    /// How long data may stay unacknowledged, or the peer's window shut, before the
    /// connection fails. It fails with a peer that is merely stopped as well: off by default.
    pub user_timeout: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            rto_min: Some(Duration::from_millis(20)),
            keepalive_idle: Some(Duration::from_secs(5)),
            keepalive_interval: Duration::from_secs(1),
            keepalive_count: 3,
            user_timeout: None,
        }
    }
}

/// Where signals are to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChoice {
    /// eBPF where it can be had, otherwise `sock_diag`.
    Auto,
    Ebpf,
    SockDiag,
}

impl SourceChoice {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Ebpf, Self::SockDiag];

    /// The word for it in the file and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ebpf => "ebpf",
            Self::SockDiag => "sock-diag",
        }
    }
}

/// A peer to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    pub name: PeerName,
    /// The host to resolve; an IPv6 literal stands without brackets.
    pub host: String,
    pub port: u16,
    /// Fixed addresses: when there are any, the host is not resolved.
    pub addresses: Vec<IpAddr>,
}
