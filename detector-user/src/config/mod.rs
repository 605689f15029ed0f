//! The operator's configuration: a TOML file, flags, or both.
//!
//! [`Config`] is the whole configuration, with its defaults. [`keys`] is the table of keys: the
//! file, the flags and `config show` all use it, so that a key is defined once. [`load()`] merges
//! file and flags, and reports all errors together, each with its place.

mod error;
mod file;
mod flag;
pub mod keys;
mod load;
mod name;
mod pool;
mod reload;
mod shown;
mod stores;
mod suggest;
mod target;
mod values;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;

pub use self::{
    error::{ConfigError, ConfigErrors, Place},
    flag::{Flag, NAMESPACE_FLAG, PEER_FLAG, PROTECT_FLAG},
    load::{DEFAULT_FILE, Loaded, Origin, any_text, load},
    name::parse_peer_name,
    pool::MAX_POOLS,
    reload::{Changed, changed},
    shown::{key_to_toml, tables_to_toml, to_toml},
    stores::{Profile, Stores},
    target::{MAX_TARGETS, Target},
};
use crate::{
    insight::Pool,
    model::{PeerName, Settings},
};

/// The whole configuration. The core defines the settings of the verdict and their defaults;
/// everything else is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The settings of the verdict, including the mode.
    pub core: Settings,
    pub source: SourceChoice,
    /// The path of the Unix socket of the gRPC API.
    pub socket: PathBuf,
    /// The group that may use the socket; `None` means the daemon's own group.
    pub socket_group: Option<String>,
    /// The users, and the groups whose members, may override breakers, by name or id; root and the
    /// daemon's own user always may.
    pub admin_users: Vec<String>,
    pub admin_groups: Vec<String>,
    /// The directory of what outlasts a restart: overrides and their audit log.
    pub state_directory: PathBuf,
    /// The address of the metrics; `None` turns them off.
    pub metrics: Option<SocketAddr>,
    /// The watched peers in the order given, each name once. If there are none, and no
    /// stores, peers are discovered, and only observed.
    pub peers: Vec<PeerSpec>,
    /// The storage programs on this host whose own configuration names peers.
    pub stores: Stores,
    /// This node's own name. The quorum outlook counts its drives as available.
    pub node_name: Option<PeerName>,
    /// The erasure sets for the quorum outlook; without any, there is no outlook.
    pub pools: Vec<Pool>,
    /// How often the `sock_diag` source reads the sockets.
    pub poll_interval: Duration,
    /// How often names are resolved again.
    pub resolve_interval: Duration,
    /// The most flows that the kernel's map holds.
    pub max_flows: u32,
    /// The size of the kernel's ring buffer, in bytes: a power of two, and a multiple of the page
    /// size.
    pub ring_bytes: u32,
    /// The most peers that are discovered; 0 turns discovery off.
    pub discover_limit: usize,
    /// The log filter: a level, or `target=level` pairs.
    pub log: String,
    pub log_format: LogFormat,
    /// Whether the eBPF programs write to the log, for debugging.
    pub ebpf_log: bool,
    /// What happens to system calls that the daemon does not make.
    pub seccomp: Seccomp,
    /// The network namespaces that are watched besides the daemon's own: named by file, or those of
    /// a service's processes.
    pub network_namespaces: Vec<Target>,
    /// The services whose connects to dead peers are refused.
    pub refuse_connects: Vec<Target>,
    /// The services whose connections with peers are tuned.
    pub tune_sockets: Vec<Target>,
    /// The socket options that are set on these connections.
    pub tune: Tuning,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            core: Settings::default(),
            source: SourceChoice::Auto,
            socket: PathBuf::from(detector_api::DEFAULT_SOCKET),
            socket_group: None,
            admin_users: Vec::new(),
            admin_groups: Vec::new(),
            state_directory: PathBuf::from("/var/lib/detector"),
            metrics: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            peers: Vec::new(),
            stores: Stores::default(),
            node_name: None,
            pools: Vec::new(),
            poll_interval: Duration::from_millis(100),
            resolve_interval: Duration::from_secs(30),
            max_flows: 65_536,
            ring_bytes: 1 << 20,
            discover_limit: 64,
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            ebpf_log: false,
            seccomp: Seccomp::On,
            network_namespaces: Vec::new(),
            refuse_connects: Vec::new(),
            tune_sockets: Vec::new(),
            tune: Tuning::default(),
        }
    }
}

/// The socket options that are set on the connections of a tuned service; `None` leaves an option
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The minimum retransmission time-out. The delay of the node's own ACKs follows it, so that
    /// two tuned ends never mistake each other's delayed ACK for a loss.
    pub rto_min: Option<Duration>,
    /// How long a connection is idle before its first keepalive probe; `None` leaves all keepalive
    /// options unchanged.
    pub keepalive_idle: Option<Duration>,
    /// The time between two keepalive probes.
    pub keepalive_interval: Duration,
    /// How many unanswered keepalive probes fail the connection.
    pub keepalive_count: u32,
    /// How long data may stay unacknowledged, or the peer's window closed, before the connection
    /// fails. This also fails connections with a peer that is only stopped, so it is off by
    /// default.
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

/// Which source of signals the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChoice {
    /// eBPF where it is available, otherwise `sock_diag`.
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

impl fmt::Display for SourceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// To journald where systemd reads it, otherwise as text.
    Auto,
    Text,
    Json,
    Journald,
}

impl LogFormat {
    pub const ALL: [Self; 4] = [Self::Auto, Self::Text, Self::Json, Self::Journald];

    /// The word for it in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the filter of system calls does with those that the daemon has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// They fail with ENOSYS.
    On,
    /// They are carried out, and the kernel logs them.
    Log,
    /// There is no filter.
    Off,
}

impl Seccomp {
    pub const ALL: [Self; 3] = [Self::On, Self::Log, Self::Off];

    /// The word for it in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Log => "log",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A peer to watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerSpec {
    #[serde(rename = "url")]
    pub name: PeerName,
    /// The host to resolve; an IPv6 literal has no brackets here.
    #[serde(skip)]
    pub host: String,
    #[serde(skip)]
    pub port: u16,
    /// Fixed addresses. If there are any, the host is not resolved.
    pub addresses: Vec<IpAddr>,
}
