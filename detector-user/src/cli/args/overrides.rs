//! The flags of `detector run` and `detector config` that stand for keys of the configuration.

use clap::{ArgAction, Args};

use super::{help::describe, values::profile};
use crate::config::Profile;

/// Flags that override the configuration file.
#[derive(Debug, Default, Args)]
pub struct Overrides {
    /// A peer to watch, as in http://node4:9000; may be repeated, adds to the file's peers. If
    /// there are none, and no --rustfs, peers are discovered from established connections, and only observed.
    #[arg(long = "peer", value_name = "URL")]
    pub peers: Vec<String>,
    #[command(flatten)]
    pub stores: StoreArgs,
    /// A service to protect, by systemd unit, cgroup, exe:NAME or pod:NAME; may be repeated. Its connects to dead
    /// peers are refused, its connections with a dead peer destroyed (unless
    /// --destroy-sockets off), its new ones tuned.
    #[arg(long = "protect", value_name = "SELECTOR")]
    pub protected: Vec<String>,
    /// A network namespace to watch besides the daemon's own: a file (/run/netns/NAME,
    /// /proc/PID/ns/net), or those of a service's processes, named as for --protect; may be repeated,
    /// adds to the file's. Needs CAP_SYS_ADMIN.
    #[arg(long = "network-namespace", value_name = "PATH|SELECTOR")]
    pub namespaces: Vec<String>,
    #[arg(long, value_name = "enforce|observe", help = describe("mode"))]
    pub mode: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("detection_time"))]
    pub detection_time: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("host_detection_time"))]
    pub host_detection_time: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("destroy_delay"))]
    pub destroy_delay: Option<String>,
    #[arg(long, value_name = "on|off", help = describe("destroy_sockets"))]
    pub destroy_sockets: Option<String>,
    #[arg(long, value_name = "DURATION|off", help = describe("destroy_stalled_after"))]
    pub destroy_stalled_after: Option<String>,
    #[arg(long, value_name = "on|off", help = describe("neighbour_probes"))]
    pub neighbour_probes: Option<String>,
    #[arg(long, value_name = "on|off", help = describe("probe_closed_port"))]
    pub probe_closed_port: Option<String>,
    #[arg(long, value_name = "auto|ebpf|sock-diag", help = describe("source"))]
    pub source: Option<String>,
    #[arg(long, value_name = "ADDR|off", help = describe("metrics"))]
    pub metrics: Option<String>,
    #[arg(long, value_name = "PATH", help = describe("state_directory"))]
    pub state_directory: Option<String>,
    #[arg(long, value_name = "LEVEL", env = "DETECTOR_LOG", hide_env_values = true, help = describe("log"))]
    pub log: Option<String>,
}

/// The storage programs of this host.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// Find the peers of the RustFS processes of this host from their own volumes, watch their
    /// network namespaces, and protect them as --protect does. A selector (exe:NAME,
    /// unit:NAME, cgroup:PATH, pod:NAME) may name other processes than those of the executable
    /// rustfs; may be repeated.
    #[arg(
        long,
        value_name = "SELECTOR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "exe:rustfs",
        action = ArgAction::Append
    )]
    pub rustfs: Vec<String>,
    /// The same for another program, by its executable; may be repeated.
    #[arg(long = "profile", value_name = "rustfs|minio|etcd|ipfs-cluster", value_parser = profile)]
    pub profiles: Vec<Profile>,
}
