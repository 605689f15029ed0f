//! The table of keys: the name of each, its meaning, and how it is read and shown.

use std::{net::SocketAddr, ops::RangeInclusive, path::Path, time::Duration};

use super::{
    Config, LogFormat, MAX_TARGETS, Profile, Seccomp, SourceChoice, Target,
    stores::{shown as shown_store, store},
    values::{
        accounts, boolean, directory, duration, duration_or_off, duration_or_zero, group, log,
        metrics, node, number, on_off, ring_bytes, seconds, seconds_or_off, socket, targets, word,
    },
};
use crate::model::{MAX_NAMESPACES, MAX_PEERS, Mode};

/// A value from the file or a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A list of strings.
    List(Vec<String>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
        }
    }

    /// The value in TOML syntax.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::Integer(integer) => integer.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::List(items) => {
                let items = items.iter().cloned().map(toml::Value::String);
                toml::Value::Array(items.collect()).to_string()
            }
        }
    }

    /// The value for people: text without quotes.
    pub fn to_plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) if items.is_empty() => "none".to_owned(),
            Self::List(items) => items.join(", "),
            other => other.to_toml(),
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// The meaning, for `--help` and the sample file.
    pub help: &'static str,
    set: fn(&mut Config, &Value) -> Result<(), String>,
    get: fn(&Config) -> Value,
}

impl Key {
    /// Sets the key. An error says what is wrong with the value; then nothing changes.
    pub fn set(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        (self.set)(config, value)
    }

    pub fn get(&self, config: &Config) -> Value {
        (self.get)(config)
    }
}

/// The key with this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DETECTION_TIME: RangeInclusive<Duration> = ms(10)..=s(60);
/// TCP takes whole seconds, at most MAX_TCP_KEEPIDLE.
const KEEPALIVE: RangeInclusive<Duration> = s(1)..=s(32_767);

/// A key a line: its name, its field of [`Config`], how it is read and how it is shown; and its
/// meaning.
macro_rules! keys {
    ($($name:literal, $($field:ident).+ = $read:ident($($limit:expr),*), $show:ident, $help:literal;)+) => {
        /// All keys except `[[peer]]` and `[[pool]]`, in the order in which they are shown.
        pub static KEYS: &[Key] = &[$(Key {
            name: $name,
            help: $help,
            set: |config, value| {
                config.$($field).+ = $read(value $(, $limit)*)?;
                Ok(())
            },
            get: |config| $show(&config.$($field).+),
        },)+];
    };
}

keys! {
    "mode", core.mode = word(Mode::ALL, |mode| mode.as_str()), text,
        "enforce opens breakers; observe only publishes what it would have done";
    "source", source = word(&SourceChoice::ALL, |source| source.as_str()), text,
        "where signals come from: auto, ebpf or sock-diag; auto is ebpf where it can be had";
    "socket", socket = socket(), path,
        "the Unix socket of the gRPC API";
    "socket_group", socket_group = group(), text_or_empty,
        "the group that may use the socket; empty means the daemon's own";
    "admin_users", admin_users = accounts("alice"), names,
        "the users, by name or id, who may override breakers and read recordings; root always may";
    "admin_groups", admin_groups = accounts("storage"), names,
        "the groups, by name or id, whose members may override breakers and read recordings";
    "state_directory", state_directory = directory(), path,
        "the directory of what outlasts a restart: overrides, their audit log, and which peers are dead";
    "metrics", metrics = metrics(), address_or_off,
        "the address and port of the metrics over HTTP, or off";
    "log", log = log(), text,
        "what is logged: off, error, warn, info, debug or trace; or target=level pairs";
    "log_format", log_format = word(&LogFormat::ALL, |format| format.as_str()), text,
        "how the log is written: auto, text, json or journald; auto is journald where systemd reads it";
    "ebpf_log", ebpf_log = boolean(), true_or_false,
        "whether the eBPF programs log, for debugging";
    "seccomp", seccomp = word(&Seccomp::ALL, |seccomp| seccomp.as_str()), text,
        "system calls that the daemon has no use for: on (they fail), log (carried out and logged) or off";
    "detection_time", core.detection_time = duration(DETECTION_TIME), shown,
        "the shortest silence, with demands unanswered, that makes a peer dead (10ms to 1m)";
    "host_detection_time", core.host_detection_time = duration(DETECTION_TIME), shown,
        "the same where the peer's card still answers, and nothing else of it does (10ms to 1m)";
    "destroy_sockets", core.destroy_sockets = on_off(), on_or_off,
        "whether the sockets of a dead peer are destroyed, so that blocked calls return: on or off";
    "destroy_delay", core.destroy_delay = duration(ms(100)..=s(600)), shown,
        "how long the silence must be before that; not less than detection_time (100ms to 10m)";
    "fast_destroy_delay", core.fast_destroy_delay = duration(ms(100)..=s(600)), shown,
        "the same where every layer is silent and 3 flows agree; the shorter counts (100ms to 10m)";
    "destroy_stalled_after", core.destroy_stalled_after = duration_or_zero(s(1)..=s(600)), shown_or_zero,
        "how long a flow with a living peer is stalled before it is destroyed; off, or 1s to 10m";
    "idle_probe_interval", core.idle_probe_interval = duration_or_zero(ms(50)..=s(60)), shown_or_zero,
        "how often a peer that was not heard from lately is probed; off, or 50ms to 1m";
    "idle_probe_jitter_percent", core.idle_probe_jitter_percent = number(0..=50), integer,
        "by how much that interval varies at random, in percent of it, either way (0 to 50)";
    "max_probes_per_second", core.max_probes_per_second = number(1..=100_000), integer,
        "the most probes that are sent in a second, to all peers together (1 to 100000)";
    "neighbour_probes", core.neighbour_probes = on_off(), on_or_off,
        "whether peers on the link are asked by ARP and neighbour discovery: on or off";
    "neighbour_probes_per_second", core.neighbour_probes_per_second = number(1..=1000), integer,
        "the most such probes that are sent in a second on one link (1 to 1000)";
    "probe_closed_port", core.probe_closed_port = on_off(), on_or_off,
        "whether a port beside the peer's own, which its kernel refuses, is asked too: on or off";
    "recovery_timeout", core.recovery_timeout = duration(ms(100)..=s(3600)), shown,
        "how long a breaker stays open with no evidence before it is half open (100ms to 1h)";
    "half_open_trials", core.half_open_trials = number(1..=1000), integer,
        "how many trial calls a half-open breaker admits at once (1 to 1000)";
    "trial_lease", core.trial_lease = duration(ms(100)..=s(600)), shown,
        "how long a trial call is leased for (100ms to 10m)";
    "failure_threshold", core.failure_threshold = number(0..=100), integer,
        "how many failed calls in a row that the node reports of a peer count; 0 is off (to 100)";
    "failure_window", core.failure_window = duration(s(1)..=s(3600)), shown,
        "how far apart the first and the last of them may be (1s to 1h)";
    "rustfs", stores.rustfs = store(Profile::RustFs), shown_store,
        "find the peers of RustFS on this host from its own volumes, and protect it: true or selectors";
    "minio", stores.minio = store(Profile::Minio), shown_store,
        "the same for MinIO";
    "etcd", stores.etcd = store(Profile::Etcd), shown_store,
        "the same for etcd, from its initial cluster and from what it says of its members";
    "ipfs_cluster", stores.ipfs_cluster = store(Profile::IpfsCluster), shown_store,
        "the same for IPFS Cluster, from its peerstore";
    "node_name", node_name = node(), text_or_empty,
        "this node's own name among the nodes of the pools; empty when it is none of them";
    "max_peers", core.max_peers = number(1..=MAX_PEERS), integer,
        "the most peers that are kept (1 to 65536)";
    "max_flows_per_peer", core.max_flows_per_peer = number(1..=1 << 20), integer,
        "the most flows that are kept for one peer (1 to 1048576)";
    "max_flows", max_flows = number(64..=1 << 24), integer,
        "the most flows that the kernel's map holds (64 to 16777216)";
    "ring_bytes", ring_bytes = ring_bytes(), integer,
        "the size of the kernel's ring buffer: a power of two (65536 to 1073741824)";
    "discover_limit", discover_limit = number(0..=MAX_PEERS), integer,
        "the most peers that are discovered when none is configured; 0 is none (to 65536)";
    "poll_interval", poll_interval = duration(ms(10)..=s(60)), shown,
        "how often the sock_diag source reads the sockets (10ms to 1m)";
    "resolve_interval", resolve_interval = duration(s(1)..=s(86_400)), shown,
        "how often the peers' names are resolved anew (1s to 1day)";
    "network_namespaces", network_namespaces = targets(MAX_NAMESPACES), list,
        "the network namespaces to watch beside the daemon's own: files, or services by selector";
    "refuse_connects", refuse_connects = targets(MAX_TARGETS), list,
        "the services, by unit, cgroup, exe: or pod:, whose connects to dead peers are refused at once";
    "tune_sockets", tune_sockets = targets(MAX_TARGETS), list,
        "the services, by unit, cgroup, exe: or pod:, whose new connections with peers are tuned";
    // The kernel's limits are two jiffies and TCP_RTO_MIN (`bpf_sol_tcp_setsockopt`).
    "tune_rto_min", tune.rto_min = duration_or_off(ms(2)..=ms(200)), shown_or_off,
        "the least retransmission time-out of tuned connections (2ms to 200ms), or off";
    "tune_keepalive_idle", tune.keepalive_idle = seconds_or_off(KEEPALIVE), shown_or_off,
        "how long a tuned connection is idle before it is probed (1s to 9h), or off";
    "tune_keepalive_interval", tune.keepalive_interval = seconds(KEEPALIVE), shown,
        "how long between two such probes (1s to 9h)";
    "tune_keepalive_count", tune.keepalive_count = number(1..=127), integer,
        "how many such probes go unanswered before a tuned connection fails (1 to 127)";
    "tune_user_timeout", tune.user_timeout = duration_or_off(ms(100)..=s(3600)), shown_or_off,
        "how long a tuned connection's data may stay unacknowledged (100ms to 1h), or off";
}

fn text(value: &impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn text_or_empty(value: &Option<impl ToString>) -> Value {
    Value::Text(value.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn path(path: &Path) -> Value {
    text(&path.display())
}

fn address_or_off(address: &Option<SocketAddr>) -> Value {
    address.map_or_else(|| text(&"off"), |address| text(&address))
}

fn true_or_false(is: &bool) -> Value {
    Value::Boolean(*is)
}

fn on_or_off(on: &bool) -> Value {
    text(&if *on { "on" } else { "off" })
}

fn shown(duration: &Duration) -> Value {
    text(&humantime::format_duration(*duration))
}

fn shown_or_off(duration: &Option<Duration>) -> Value {
    duration.map_or_else(|| text(&"off"), |duration| shown(&duration))
}

/// Zero is shown as "off".
fn shown_or_zero(duration: &Duration) -> Value {
    shown_or_off(&Some(*duration).filter(|duration| !duration.is_zero()))
}

fn integer<T: Copy + TryInto<i64>>(number: &T) -> Value {
    Value::Integer((*number).try_into().unwrap_or(i64::MAX))
}

fn names(names: &[String]) -> Value {
    Value::List(names.to_vec())
}

fn list(targets: &[Target]) -> Value {
    Value::List(targets.iter().map(Target::to_string).collect())
}
