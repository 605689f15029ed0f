//! The table of keys: the name of each, its meaning, and how it is read and shown.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Config, MAX_TARGETS, SourceChoice, Target,
    values::{
        boolean, duration, duration_or_off, group, log, metrics, node, number, on_off, ring_bytes,
        socket, targets, whole_seconds, word,
    },
};
use crate::core::{MAX_NAMESPACES, MAX_PEERS, Mode};

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

const DETECTION_TIME: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);
const DESTROY_DELAY: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
const DESTROY_STALLED_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(600);
const IDLE_PROBE_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(60);
const RECOVERY_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
const FAILURE_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const TRIAL_LEASE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const POLL_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const RESOLVE_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
/// The kernel's limits are two jiffies and TCP_RTO_MIN (`bpf_sol_tcp_setsockopt`).
const RTO_MIN: RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(200);
/// TCP takes whole seconds, at most MAX_TCP_KEEPIDLE.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);
const USER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

/// All keys except `[[peer]]` and `[[pool]]`, in the order in which they are shown.
pub static KEYS: &[Key] = &[
    Key {
        name: "mode",
        help: "enforce opens breakers; observe only publishes what it would have done",
        set: |c, v| word(v, Mode::ALL, |mode| mode.as_str()).map(|x| c.core.mode = x),
        get: |c| Value::Text(c.core.mode.to_string()),
    },
    Key {
        name: "source",
        help: "where signals come from: auto, ebpf or sock-diag; auto is ebpf where it can be had",
        set: |c, v| word(v, &SourceChoice::ALL, |s| s.as_str()).map(|x| c.source = x),
        get: |c| Value::Text(c.source.as_str().to_owned()),
    },
    Key {
        name: "socket",
        help: "the Unix socket of the gRPC API",
        set: |c, v| socket(v).map(|x| c.socket = x),
        get: |c| Value::Text(c.socket.display().to_string()),
    },
    Key {
        name: "socket_group",
        help: "the group that may use the socket; empty means the daemon's own",
        set: |c, v| group(v).map(|x| c.socket_group = x),
        get: |c| Value::Text(c.socket_group.clone().unwrap_or_default()),
    },
    Key {
        name: "metrics",
        help: "the address and port of the metrics over HTTP, or off",
        set: |c, v| metrics(v).map(|x| c.metrics = x),
        get: |c| Value::Text(c.metrics.map_or("off".to_owned(), |addr| addr.to_string())),
    },
    Key {
        name: "log",
        help: "what is logged: off, error, warn, info, debug or trace; or target=level pairs",
        set: |c, v| log(v).map(|x| c.log = x),
        get: |c| Value::Text(c.log.clone()),
    },
    Key {
        name: "ebpf_log",
        help: "whether the eBPF programs log, for debugging",
        set: |c, v| boolean(v).map(|x| c.ebpf_log = x),
        get: |c| Value::Boolean(c.ebpf_log),
    },
    Key {
        name: "detection_time",
        help: "the shortest silence, with demands unanswered, that makes a peer dead (10ms to 1m)",
        set: |c, v| duration(v, DETECTION_TIME).map(|x| c.core.detection_time = x),
        get: |c| shown(c.core.detection_time),
    },
    Key {
        name: "host_detection_time",
        help: "the same where the peer's card still answers, and nothing else of it does (10ms to 1m)",
        set: |c, v| duration(v, DETECTION_TIME).map(|x| c.core.host_detection_time = x),
        get: |c| shown(c.core.host_detection_time),
    },
    Key {
        name: "destroy_sockets",
        help: "whether the sockets of a dead peer are destroyed, so that blocked calls return: on or off",
        set: |c, v| on_off(v).map(|x| c.core.destroy_sockets = x),
        get: |c| on_or_off(c.core.destroy_sockets),
    },
    Key {
        name: "destroy_delay",
        help: "how long the silence must be before that; not less than detection_time (100ms to 10m)",
        set: |c, v| duration(v, DESTROY_DELAY).map(|x| c.core.destroy_delay = x),
        get: |c| shown(c.core.destroy_delay),
    },
    Key {
        name: "destroy_stalled_after",
        help: "how long a flow with a living peer is stalled before it is destroyed; off, or 1s to 10m",
        set: |c, v| {
            let after = duration_or_off(v, DESTROY_STALLED_AFTER)?;
            c.core.destroy_stalled_after = after.unwrap_or(Duration::ZERO);
            Ok(())
        },
        get: |c| shown_or_zero(c.core.destroy_stalled_after),
    },
    Key {
        name: "idle_probe_interval",
        help: "how often a peer that was not heard from lately is probed; off, or 50ms to 1m",
        set: |c, v| {
            let interval = duration_or_off(v, IDLE_PROBE_INTERVAL)?;
            c.core.idle_probe_interval = interval.unwrap_or(Duration::ZERO);
            Ok(())
        },
        get: |c| shown_or_zero(c.core.idle_probe_interval),
    },
    Key {
        name: "idle_probe_jitter_percent",
        help: "by how much that interval varies at random, in percent of it, either way (0 to 50)",
        set: |c, v| number(v, 0..=50).map(|x| c.core.idle_probe_jitter_percent = x),
        get: |c| Value::Integer(c.core.idle_probe_jitter_percent.into()),
    },
    Key {
        name: "max_probes_per_second",
        help: "the most probes that are sent in a second, to all peers together (1 to 100000)",
        set: |c, v| number(v, 1..=100_000).map(|x| c.core.max_probes_per_second = x),
        get: |c| Value::Integer(c.core.max_probes_per_second.into()),
    },
    Key {
        name: "neighbour_probes",
        help: "whether peers on the link are asked by ARP and neighbour discovery: on or off",
        set: |c, v| on_off(v).map(|x| c.core.neighbour_probes = x),
        get: |c| on_or_off(c.core.neighbour_probes),
    },
    Key {
        name: "neighbour_probes_per_second",
        help: "the most such probes that are sent in a second on one link (1 to 1000)",
        set: |c, v| number(v, 1..=1000).map(|x| c.core.neighbour_probes_per_second = x),
        get: |c| Value::Integer(c.core.neighbour_probes_per_second.into()),
    },
    Key {
        name: "probe_closed_port",
        help: "whether a port beside the peer's own, which its kernel refuses, is asked too: on or off",
        set: |c, v| on_off(v).map(|x| c.core.probe_closed_port = x),
        get: |c| on_or_off(c.core.probe_closed_port),
    },
    Key {
        name: "recovery_timeout",
        help: "how long a breaker stays open with no evidence before it is half open (100ms to 1h)",
        set: |c, v| duration(v, RECOVERY_TIMEOUT).map(|x| c.core.recovery_timeout = x),
        get: |c| shown(c.core.recovery_timeout),
    },
    Key {
        name: "half_open_trials",
        help: "how many trial calls a half-open breaker admits at once (1 to 1000)",
        set: |c, v| number(v, 1..=1000).map(|x| c.core.half_open_trials = x),
        get: |c| Value::Integer(c.core.half_open_trials.into()),
    },
    Key {
        name: "trial_lease",
        help: "how long a trial call is leased for (100ms to 10m)",
        set: |c, v| duration(v, TRIAL_LEASE).map(|x| c.core.trial_lease = x),
        get: |c| shown(c.core.trial_lease),
    },
    Key {
        name: "failure_threshold",
        help: "how many failed calls in a row that the node reports of a peer count; 0 is off (to 100)",
        set: |c, v| number(v, 0..=100).map(|x| c.core.failure_threshold = x),
        get: |c| Value::Integer(c.core.failure_threshold.into()),
    },
    Key {
        name: "failure_window",
        help: "how far apart the first and the last of them may be (1s to 1h)",
        set: |c, v| duration(v, FAILURE_WINDOW).map(|x| c.core.failure_window = x),
        get: |c| shown(c.core.failure_window),
    },
    Key {
        name: "node_name",
        help: "this node's own name among the nodes of the pools; empty when it is none of them",
        set: |c, v| node(v).map(|x| c.node_name = x),
        get: |c| {
            Value::Text(
                c.node_name
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            )
        },
    },
    Key {
        name: "max_peers",
        help: "the most peers that are kept (1 to 65536)",
        set: |c, v| number(v, 1..=MAX_PEERS as u32).map(|x| c.core.max_peers = x as usize),
        get: |c| count(c.core.max_peers),
    },
    Key {
        name: "max_flows_per_peer",
        help: "the most flows that are kept for one peer (1 to 1048576)",
        set: |c, v| number(v, 1..=1 << 20).map(|x| c.core.max_flows_per_peer = x as usize),
        get: |c| count(c.core.max_flows_per_peer),
    },
    Key {
        name: "max_flows",
        help: "the most flows that the kernel's map holds (64 to 16777216)",
        set: |c, v| number(v, 64..=1 << 24).map(|x| c.max_flows = x),
        get: |c| Value::Integer(c.max_flows.into()),
    },
    Key {
        name: "ring_bytes",
        help: "the size of the kernel's ring buffer: a power of two (65536 to 1073741824)",
        set: |c, v| ring_bytes(v).map(|x| c.ring_bytes = x),
        get: |c| Value::Integer(c.ring_bytes.into()),
    },
    Key {
        name: "discover_limit",
        help: "the most peers that are discovered when none is configured; 0 is none (to 65536)",
        set: |c, v| number(v, 0..=MAX_PEERS as u32).map(|x| c.discover_limit = x as usize),
        get: |c| count(c.discover_limit),
    },
    Key {
        name: "poll_interval",
        help: "how often the sock_diag source reads the sockets (10ms to 1m)",
        set: |c, v| duration(v, POLL_INTERVAL).map(|x| c.poll_interval = x),
        get: |c| shown(c.poll_interval),
    },
    Key {
        name: "resolve_interval",
        help: "how often the peers' names are resolved anew (1s to 1day)",
        set: |c, v| duration(v, RESOLVE_INTERVAL).map(|x| c.resolve_interval = x),
        get: |c| shown(c.resolve_interval),
    },
    Key {
        name: "network_namespaces",
        help: "the network namespaces to watch beside the daemon's own: files, systemd units, cgroups",
        set: |c, v| targets(v, MAX_NAMESPACES).map(|x| c.network_namespaces = x),
        get: |c| list(&c.network_namespaces),
    },
    Key {
        name: "refuse_connects",
        help: "the services, by systemd unit or cgroup, whose connects to dead peers are refused at once",
        set: |c, v| targets(v, MAX_TARGETS).map(|x| c.refuse_connects = x),
        get: |c| list(&c.refuse_connects),
    },
    Key {
        name: "tune_sockets",
        help: "the services, by systemd unit or cgroup, whose new connections with peers are tuned",
        set: |c, v| targets(v, MAX_TARGETS).map(|x| c.tune_sockets = x),
        get: |c| list(&c.tune_sockets),
    },
    Key {
        name: "tune_rto_min",
        help: "the least retransmission time-out of tuned connections (2ms to 200ms), or off",
        set: |c, v| duration_or_off(v, RTO_MIN).map(|x| c.tune.rto_min = x),
        get: |c| shown_or_off(c.tune.rto_min),
    },
    Key {
        name: "tune_keepalive_idle",
        help: "how long a tuned connection is idle before it is probed (1s to 9h), or off",
        set: |c, v| {
            let idle = duration_or_off(v, KEEPALIVE)?;
            idle.map_or(Ok(()), whole_seconds)?;
            c.tune.keepalive_idle = idle;
            Ok(())
        },
        get: |c| shown_or_off(c.tune.keepalive_idle),
    },
    Key {
        name: "tune_keepalive_interval",
        help: "how long between two such probes (1s to 9h)",
        set: |c, v| {
            let interval = duration(v, KEEPALIVE)?;
            whole_seconds(interval)?;
            c.tune.keepalive_interval = interval;
            Ok(())
        },
        get: |c| shown(c.tune.keepalive_interval),
    },
    Key {
        name: "tune_keepalive_count",
        help: "how many such probes go unanswered before a tuned connection fails (1 to 127)",
        set: |c, v| number(v, 1..=127).map(|x| c.tune.keepalive_count = x),
        get: |c| Value::Integer(c.tune.keepalive_count.into()),
    },
    Key {
        name: "tune_user_timeout",
        help: "how long a tuned connection's data may stay unacknowledged (100ms to 1h), or off",
        set: |c, v| duration_or_off(v, USER_TIMEOUT).map(|x| c.tune.user_timeout = x),
        get: |c| shown_or_off(c.tune.user_timeout),
    },
];

fn shown(duration: Duration) -> Value {
    Value::Text(humantime::format_duration(duration).to_string())
}

fn shown_or_off(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Text("off".to_owned()), shown)
}

/// Zero is shown as "off".
fn shown_or_zero(duration: Duration) -> Value {
    shown_or_off((duration != Duration::ZERO).then_some(duration))
}

fn on_or_off(on: bool) -> Value {
    Value::Text(if on { "on" } else { "off" }.to_owned())
}

fn list(targets: &[Target]) -> Value {
    Value::List(targets.iter().map(Target::to_string).collect())
}

fn count(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
