//! The command line's arguments. Defaults and meanings come from the configuration's table of keys,
//! so that `--help` cannot contradict it.

mod flags;
mod values;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use prost::Name;

pub use self::values::At;
use self::values::{at, bytes, profile};
use super::json;
use crate::config::{Config, DEFAULT_FILE, Profile, keys};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or configuration
  3  the daemon cannot be reached
  4  no such peer
  5  doctor: something is missing";

const REPLAY_HELP: &str = "\
With the recorded settings the verdicts are exactly the recorded ones. With other settings the
replay shows the verdicts that they would give for the same signals. What the kernel and the
peers would have answered to socket snapshots and probes at other moments cannot be known: the
replay has only the recorded answers, at their recorded times. Nothing is probed, destroyed or
refused.

Times are counted from the beginning of the recording, so a wall clock that was set during the
recording has no effect.

Examples:
  detector replay node1.rec
  detector replay node1.rec --detection-time 50ms
  detector replay node1.rec --explain http://node4:9000 --at +12.5
  zcat node1.rec.gz | detector replay - --output json";

const TUNE_HELP: &str = "\
To see which open connections are tuned, use `detector tune --list` for the daemon, and
`kill -USR1` for this command. `detector explain PEER` marks them among a peer's connections.

Examples:
  detector tune rustfs.service --peer http://node4:9000
  detector tune --list";

const MAINTENANCE_HELP: &str = "\
While it lasts, new connects to the peer are refused and open connections are left to end by
themselves; if the peer dies, they are destroyed as always. The alerts for the peer are silent.
It outlasts a restart of the daemon, and is in its audit log. Root, the daemon's user, and those
in admin_users and admin_groups may do it.

Examples:
  detector maintenance http://node4:9000 --for 10m --reason \"new disk\"
  detector maintenance http://node4:9000 --end";

const OVERRIDE_HELP: &str = "\
Open: programs avoid the peer, although it may be alive. Closed: programs call the peer, although
it may be dead, and none of its sockets is destroyed. The verdict follows the evidence as always.
It outlasts a restart of the daemon, and is in its audit log. Root, the daemon's user, and those
in admin_users and admin_groups may do it.

Examples:
  detector override http://node4:9000 closed --for 1h --reason \"false alarm, see ticket 4711\"
  detector override http://node4:9000 --end";

const REPORT_HELP: &str = "\
In it: the evidence behind the verdict, a recording of the last minute and of the minute around the
peer's last death for `detector replay`, its history, all peers, the configuration in effect, the
last hour of the daemon's journal, what `detector doctor` says, and versions. Passwords are taken
out; names and addresses are not. What cannot be had is named. The recordings are for root, the
daemon's user, and those in admin_users and admin_groups.

Examples:
  detector report http://node4:9000
  detector report http://node4:9000 --to /tmp/ticket-4711.tar.gz";

const TOP_HELP: &str = "\
Keys:
  up, down, j, k      choose a peer
  Enter               show the evidence behind its verdict, as `detector explain`; Esc goes back
  s                   the next order: worst first, by name, round trip, loss, flows
  /                   filter by name, verdict, reason, address or override; Esc clears it
  q, Ctrl-C           end

It continues after restarts of the daemon. In observe mode, open* is a breaker that would be open.";

const EXAMPLES: &str = "\
Examples:
  detector run --rustfs
  detector run --peer http://node2:9000 --peer http://node3:9000
  detector run --mode observe
  detector watch --output json | jq 'select(.verdict == \"dead\")'
  detector explain http://node4:9000
  detector top
  detector run --config /etc/detector/detector.toml --record node1.rec
  detector replay node1.rec --detection-time 50ms";

/// Tells which storage peers are dead, from the kernel's own evidence.
#[derive(Debug, Parser)]
#[command(name = "detector", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// How data is printed; json is one object a line, named as in the API.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[arg(long, global = true, value_name = "PATH", env = "DETECTOR_SOCKET", hide_env_values = true, help = describe("socket"))]
    pub socket: Option<String>,
    #[arg(long, global = true, value_name = "FILE", env = "DETECTOR_CONFIG", hide_env_values = true, help = config_help())]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl Output {
    /// The message as it is printed.
    pub fn show<M: Name>(self, message: &M, text: impl FnOnce(&M) -> String) -> String {
        match self {
            Self::Text => text(message),
            Self::Json => json::message(message),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the peers, serve the verdicts, and print them as they change.
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Run a recording through the detector again, and print the verdicts as `run` does.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// List the peers and their verdicts.
    Peers,
    /// Print the peers, then every change, until Ctrl-C; continues after restarts of the daemon.
    Watch,
    /// Show the peers live: verdicts, what is wrong, round-trip times, transitions; q ends it.
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Show the evidence behind a peer's verdict.
    Explain {
        /// The peer, as in http://node4:9000; a path is ignored.
        peer: String,
    },
    /// Write everything about a peer that a ticket needs into one file.
    #[command(after_help = format!("{REPORT_HELP}\n\n{EXIT_CODES}"))]
    Report(ReportArgs),
    /// List the locks that the node's programs reported, with their health.
    Locks,
    /// List the cascading failures of the last hour, each with its initial failure.
    Cascades,
    /// Show how many disks each erasure set has now, and how many more nodes it may lose.
    Quorum,
    /// Tune a service's new connections with peers until Ctrl-C, and print each; needs root.
    #[command(after_help = format!("{TUNE_HELP}\n\n{EXIT_CODES}"))]
    Tune(TuneArgs),
    /// Put a peer into maintenance: its breaker is open until it has been away and is back.
    #[command(after_help = format!("{MAINTENANCE_HELP}\n\n{EXIT_CODES}"))]
    Maintenance(MaintenanceArgs),
    /// Hold a peer's breaker open or closed, whatever the evidence says.
    #[command(after_help = format!("{OVERRIDE_HELP}\n\n{EXIT_CODES}"))]
    Override(OverrideArgs),
    /// Check what this kernel and these privileges allow, and explain the consequences.
    Doctor(DoctorArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions { shell: Shell },
    /// Write the manual pages, one for each command, into a directory.
    #[command(hide = true)]
    Manual { directory: PathBuf },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every error of the file and the flags, each with its place.
    Check(Overrides),
    /// Print every key, its value, and where the value comes from; the output is TOML.
    Show(Overrides),
}

#[derive(Debug, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub overrides: Overrides,
    /// Write everything from which the verdicts are made to a new file, for `detector replay`.
    /// The file contains the addresses of the peers and their connections.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The most bytes that are recorded; then the recording ends, and the daemon continues.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", requires = "record", value_parser = bytes)]
    pub record_limit: u64,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Use no colours; the same as NO_COLOR=1.
    #[arg(long)]
    pub no_color: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recording; - is stdin.
    pub file: PathBuf,
    /// Another mode than the recorded one.
    #[arg(long, value_name = "enforce|observe")]
    pub mode: Option<String>,
    /// Another detection time than the recorded one.
    #[arg(long, value_name = "DURATION")]
    pub detection_time: Option<String>,
    /// Another destroy delay than the recorded one: it changes how many sockets would be destroyed.
    #[arg(long, value_name = "DURATION")]
    pub destroy_delay: Option<String>,
    /// Another value of any setting of the verdict, named as in the configuration file; may
    /// be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Print the evidence behind this peer's verdict instead, as `detector explain` does.
    #[arg(long, value_name = "PEER")]
    pub explain: Option<String>,
    /// The moment of the explanation: a time as in 2026-01-31T12:00:00Z, or seconds from the
    /// beginning as in +12.5 [default: the end]
    #[arg(long, value_name = "TIME|+SECONDS", requires = "explain", value_parser = at)]
    pub at: Option<At>,
}

/// The arguments of `detector report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The peer, as in http://node4:9000.
    pub peer: String,
    /// The file [default: detector-report-PEER-TIME.tar.gz, here]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Overwrite the file if it is there.
    #[arg(long)]
    pub force: bool,
}

/// The arguments of `detector maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArgs {
    /// The peer, as in http://node4:9000.
    pub peer: String,
    /// How long at most, as in 10m; up to 7 days.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, required_unless_present = "end")]
    pub lasts: Option<Duration>,
    /// Why, for others who look.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End the maintenance now.
    #[arg(long, conflicts_with_all = ["lasts", "reason"])]
    pub end: bool,
}

/// The arguments of `detector override`.
#[derive(Debug, Args)]
pub struct OverrideArgs {
    /// The peer, as in http://node4:9000.
    pub peer: String,
    /// The state of its breaker.
    #[arg(required_unless_present = "end")]
    pub wanted: Option<Wanted>,
    /// How long, as in 10m; up to 7 days.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, required_unless_present = "end")]
    pub lasts: Option<Duration>,
    /// Why, for others who look.
    #[arg(long, value_name = "TEXT", required_unless_present = "end")]
    pub reason: Option<String>,
    /// End the override now.
    #[arg(long, conflicts_with_all = ["wanted", "lasts", "reason"])]
    pub end: bool,
}

/// What an override makes of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    Open,
    Closed,
}

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

/// The arguments of `detector doctor`.
#[derive(Clone, Debug, Default, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub stores: StoreArgs,
    /// Ask the daemons of all nodes instead: this one's, and one on the host of each peer of the
    /// configuration or of a storage program, at the port of `metrics`.
    #[arg(long)]
    pub all: bool,
}

/// The arguments of `detector tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The service, by systemd unit, cgroup, exe:NAME or pod:NAME, as in rustfs.service.
    #[arg(value_name = "SELECTOR", required_unless_present = "list")]
    pub target: Option<String>,
    /// Print the open connections that the running daemon has tuned, and end.
    #[arg(long, conflicts_with_all = [
        "target", "peers", "rto_min", "keepalive_idle", "keepalive_interval", "keepalive_count",
        "user_timeout",
    ])]
    pub list: bool,
    /// A peer, as in http://node4:9000; may be repeated, adds to the file's.
    #[arg(long = "peer", value_name = "URL")]
    pub peers: Vec<String>,
    #[arg(long, value_name = "DURATION|off", help = describe("tune_rto_min"))]
    pub rto_min: Option<String>,
    #[arg(long, value_name = "DURATION|off", help = describe("tune_keepalive_idle"))]
    pub keepalive_idle: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("tune_keepalive_interval"))]
    pub keepalive_interval: Option<String>,
    #[arg(long, value_name = "COUNT", help = describe("tune_keepalive_count"))]
    pub keepalive_count: Option<i64>,
    #[arg(long, value_name = "DURATION|off", help = describe("tune_user_timeout"))]
    pub user_timeout: Option<String>,
    #[arg(long, value_name = "LEVEL", env = "DETECTOR_LOG", hide_env_values = true, help = describe("log"))]
    pub log: Option<String>,
}

/// A key's meaning and default, for `--help`.
fn describe(key: &str) -> String {
    let Some(key) = keys::find(key) else {
        return String::new();
    };
    let default = key.get(&Config::default()).to_plain();
    let (first, rest) = key.help.split_at(1);
    format!("{}{rest} [default: {default}]", first.to_uppercase())
}

fn config_help() -> String {
    format!("The configuration file [default: {DEFAULT_FILE}, if it is there]")
}
