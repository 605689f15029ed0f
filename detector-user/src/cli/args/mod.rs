//! The command line's arguments. Defaults and meanings come from the configuration's table of keys,
//! so that `--help` cannot contradict it.

mod flags;
mod help;
mod overrides;
mod values;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use prost::Name;

use self::{
    help::{
        EXAMPLES, EXIT_CODES, MAINTENANCE_HELP, OVERRIDE_HELP, REPLAY_HELP, REPORT_HELP, TOP_HELP,
        TUNE_HELP, config_help, describe,
    },
    values::{at, bytes},
};
pub use self::{
    overrides::{Overrides, StoreArgs},
    values::At,
};
use super::json;

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
