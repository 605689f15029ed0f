//! What the command line takes. Defaults and meanings come from the configuration's table
//! of keys, so that `--help` cannot disagree with it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;

use crate::config::{Config, DEFAULT_FILE, Flag, keys};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or configuration
  3  the daemon cannot be reached
  4  no such peer
  5  doctor: something is missing";

const REPLAY_HELP: &str = "\
With the recorded settings the verdicts are exactly the recorded ones. With others it shows
what they would have said of the same signals. What the kernel and the peers would have
answered had the daemon looked or probed at other moments cannot be known: it sees what was
seen then, when it was seen. Nothing is probed, destroyed or refused.

Times are those of the recording's beginning, counted on; a wall clock that was set during
the recording does not show.

Examples:
  detector replay node1.rec
  detector replay node1.rec --patience 50ms
  detector replay node1.rec --explain http://node4:9000 --at +12.5
  zcat node1.rec.gz | detector replay - --output json";

const EXAMPLES: &str = "\
Examples:
  detector run --peer http://node2:9000 --peer http://node3:9000
  detector run --mode observe
  detector watch --output json | jq 'select(.verdict == \"dead\")'
  detector explain http://node4:9000
  detector run --config /etc/detector/detector.toml --record node1.rec
  detector replay node1.rec --patience 50ms";

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
    /// Print the peers, then every change, until Ctrl-C; outlives restarts of the daemon.
    Watch,
    /// Show the evidence behind a peer's verdict.
    Explain {
        /// The peer, as in http://node4:9000; a path is ignored.
        peer: String,
    },
    /// Tune a service's new connections with peers until Ctrl-C, and print each; needs root.
    #[command(after_help = EXIT_CODES)]
    Tune(TuneArgs),
    /// Check what this kernel and these privileges allow, and what it means.
    Doctor,
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions { shell: Shell },
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
    /// Write everything the verdicts are made from to a new file, for `detector replay`. It
    /// has the addresses of the peers and their connections.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The most bytes that are recorded; the recording ends there, the daemon goes on.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", requires = "record", value_parser = bytes)]
    pub record_limit: u64,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recording; - is stdin.
    pub file: PathBuf,
    /// Another mode than the recorded one.
    #[arg(long, value_name = "enforce|observe")]
    pub mode: Option<String>,
    /// Another patience than the recorded one.
    #[arg(long, value_name = "DURATION")]
    pub patience: Option<String>,
    /// Another mercy than the recorded one; shows in the count of sockets to be destroyed.
    #[arg(long, value_name = "DURATION")]
    pub mercy: Option<String>,
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

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    After(Duration),
    Wall(Timestamp),
}

fn at(text: &str) -> Result<At, String> {
    if let Some(seconds) = text.strip_prefix('+') {
        let seconds = seconds.parse().ok();
        let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        return after.map(At::After).ok_or_else(|| {
            "a number of seconds from the beginning is expected, as in +12.5".to_owned()
        });
    }
    let wall = text.parse();
    wall.map(At::Wall)
        .map_err(|error| format!("neither +SECONDS nor a time as in 2026-01-31T12:00:00Z: {error}"))
}

/// The least that a recording is bounded to: room for its header.
const MIN_RECORD_BYTES: u64 = 64 << 10;

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        other => return Err(format!("{other:?} is no unit; KiB, MiB and GiB are")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number of bytes is expected, as in 512MiB".to_owned())?;
    match number.checked_mul(1 << unit) {
        Some(bytes) if bytes >= MIN_RECORD_BYTES => Ok(bytes),
        Some(_) => Err("the least is 64KiB".to_owned()),
        None => Err("that is more than any disk has".to_owned()),
    }
}

/// Flags that win over the file.
#[derive(Debug, Default, Args)]
pub struct Overrides {
    /// A peer to watch, as in http://node4:9000; may be repeated, adds to the file's. With
    /// none, peers are discovered from established connections, and only observed.
    #[arg(long = "peer", value_name = "URL")]
    pub peers: Vec<String>,
    /// A service to protect, by systemd unit or cgroup; may be repeated. Its connects to dead
    /// peers are refused, its connections with a dead peer destroyed (unless
    /// --destroy-sockets off), its new ones tuned.
    #[arg(long = "protect", value_name = "UNIT|CGROUP")]
    pub protected: Vec<String>,
    /// A network namespace to watch beside the daemon's own: a file (/run/netns/NAME,
    /// /proc/PID/ns/net), or those of a systemd unit's or cgroup's processes; may be repeated,
    /// adds to the file's. Needs CAP_SYS_ADMIN.
    #[arg(long = "network-namespace", value_name = "PATH|UNIT|CGROUP")]
    pub namespaces: Vec<String>,
    #[arg(long, value_name = "enforce|observe", help = describe("mode"))]
    pub mode: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("patience"))]
    pub patience: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("mercy"))]
    pub mercy: Option<String>,
    #[arg(long, value_name = "on|off", help = describe("destroy_sockets"))]
    pub destroy_sockets: Option<String>,
    #[arg(long, value_name = "auto|ebpf|sock-diag", help = describe("source"))]
    pub source: Option<String>,
    /// Behave as on a kernel without BTF: retransmissions are only counted.
    #[arg(long)]
    pub no_btf: bool,
    #[arg(long, value_name = "ADDR|off", help = describe("metrics"))]
    pub metrics: Option<String>,
    #[arg(long, value_name = "LEVEL", env = "DETECTOR_LOG", hide_env_values = true, help = describe("log"))]
    pub log: Option<String>,
}

/// What `detector tune` takes.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The service, by systemd unit or cgroup, as in rustfs.service.
    #[arg(value_name = "UNIT|CGROUP")]
    pub target: String,
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

impl TuneArgs {
    /// What is set, in the configuration's terms.
    pub fn flags(&self) -> Vec<Flag> {
        let texts = [
            ("--rto-min", "tune_rto_min", &self.rto_min),
            (
                "--keepalive-idle",
                "tune_keepalive_idle",
                &self.keepalive_idle,
            ),
            (
                "--keepalive-interval",
                "tune_keepalive_interval",
                &self.keepalive_interval,
            ),
            ("--user-timeout", "tune_user_timeout", &self.user_timeout),
            ("--log or DETECTOR_LOG", "log", &self.log),
        ];
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let texts = texts.into_iter().filter_map(|(flag, key, text)| {
            let value = keys::Value::Text(text.clone()?);
            Some(Flag::Key { flag, key, value })
        });
        let count = self.keepalive_count.map(|count| Flag::Key {
            flag: "--keepalive-count",
            key: "tune_keepalive_count",
            value: keys::Value::Integer(count),
        });
        peers.chain(texts).chain(count).collect()
    }
}

impl Overrides {
    /// What is set, in the configuration's terms. `socket` is the global flag's.
    pub fn flags(&self, socket: Option<&str>) -> Vec<Flag> {
        let texts = [
            ("--socket or DETECTOR_SOCKET", "socket", socket),
            ("--mode", "mode", self.mode.as_deref()),
            ("--patience", "patience", self.patience.as_deref()),
            ("--mercy", "mercy", self.mercy.as_deref()),
            (
                "--destroy-sockets",
                "destroy_sockets",
                self.destroy_sockets.as_deref(),
            ),
            ("--source", "source", self.source.as_deref()),
            ("--metrics", "metrics", self.metrics.as_deref()),
            ("--log or DETECTOR_LOG", "log", self.log.as_deref()),
        ];
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let protected = self.protected.iter().cloned().map(Flag::Protect);
        let namespaces = self.namespaces.iter().cloned().map(Flag::Namespace);
        let no_btf = self.no_btf.then_some(Flag::Key {
            flag: "--no-btf",
            key: "btf",
            value: keys::Value::Boolean(false),
        });
        let texts = texts.into_iter().filter_map(|(flag, key, text)| {
            let value = keys::Value::Text(text?.to_owned());
            Some(Flag::Key { flag, key, value })
        });
        // What is said of one key by its own flag wins over what --protect says of several.
        let added = peers.chain(protected).chain(namespaces);
        added.chain(texts).chain(no_btf).collect()
    }
}

/// A key's meaning and default.
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_gives_every_default_of_the_configuration() {
        let help = Cli::command()
            .find_subcommand_mut("run")
            .expect("run")
            .render_long_help()
            .to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for default in [
            "enforce",
            "250ms",
            "1s",
            "on",
            "auto",
            "127.0.0.1:9464",
            "info",
        ] {
            assert!(
                help.contains(&format!("[default: {default}]")),
                "{default}: {help}"
            );
        }
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(&format!("[default: {}]", detector_api::DEFAULT_SOCKET)));
        assert!(help.contains(EXIT_CODES));
    }

    #[test]
    fn bad_usage_exits_with_2_and_help_with_0() {
        for (line, exit) in [
            ("detector --help", 0),
            ("detector --version", 0),
            ("detector run --help", 0),
            ("detector", 2),
            ("detector walk", 2),
            ("detector peers --peer x", 2),
            ("detector explain", 2),
            ("detector --output xml peers", 2),
            ("detector config", 2),
            ("detector completions tcsh", 2),
            ("detector tune", 2),
            ("detector tune --help", 0),
            ("detector replay", 2),
            ("detector replay f --at +1", 2),
            ("detector replay f --explain a:1 --at 12.5", 2),
            ("detector replay f --explain a:1 --at +-1", 2),
            ("detector run --record-limit 1GiB", 2),
            ("detector run --record f --record-limit 1TB", 2),
            ("detector run --record f --record-limit 1KiB", 2),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), exit, "{line}");
        }
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = parse("detector peers --output json --socket /tmp/s").expect("parses");
        assert_eq!(cli.global.output, Output::Json);
        assert_eq!(cli.global.socket.as_deref(), Some("/tmp/s"));
    }

    #[test]
    fn every_flag_of_tune_stands_for_a_key() {
        let line = "detector tune a.service --peer b:2 --rto-min 30ms --keepalive-idle off \
                    --keepalive-interval 2s --keepalive-count 9 --user-timeout 10s --log off";
        let cli = parse(line).expect("parses");
        let Command::Tune(args) = &cli.command else {
            panic!("{cli:?}")
        };
        let flags = args.flags();
        assert_eq!(flags.len(), 7);
        let config = crate::config::load(Some("/dev/null".as_ref()), &flags)
            .expect("all are valid")
            .config;
        let seconds = std::time::Duration::from_secs;
        assert_eq!(config.peers.len(), 1);
        assert_eq!(config.log, "off");
        assert_eq!(
            config.tune,
            crate::config::Tuning {
                rto_min: Some(std::time::Duration::from_millis(30)),
                keepalive_idle: None,
                keepalive_interval: seconds(2),
                keepalive_count: 9,
                user_timeout: Some(seconds(10)),
            }
        );
    }

    #[test]
    fn every_flag_stands_for_a_key() {
        let line = "detector run --peer a:1 --peer b:2 --mode observe --patience 50ms \
                    --mercy 2s --destroy-sockets off --source ebpf --no-btf --metrics off --log debug \
                    --socket /s --protect a.service --network-namespace /run/netns/a \
                    --network-namespace b.service";
        let cli = parse(line).expect("parses");
        let Command::Run(args) = &cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!((&args.record, args.record_limit), (&None, 1 << 30));
        let flags = args.overrides.flags(cli.global.socket.as_deref());
        assert_eq!(flags.len(), 14);
        let config = crate::config::load(Some("/dev/null".as_ref()), &flags)
            .expect("all are valid")
            .config;
        assert_eq!(config.peers.len(), 2);
        assert_eq!(config.core.mode, crate::core::Mode::Observe);
        assert_eq!(config.core.patience, std::time::Duration::from_millis(50));
        assert_eq!(config.core.mercy, std::time::Duration::from_secs(2));
        assert!(!config.core.destroy_sockets);
        assert_eq!(config.source, crate::config::SourceChoice::Ebpf);
        assert!(!config.btf);
        assert_eq!(config.metrics, None);
        assert_eq!(config.log, "debug");
        assert_eq!(config.socket, std::path::Path::new("/s"));
        assert_eq!(config.refuse_connects.len(), 1);
        assert_eq!(config.tune_sockets.len(), 1);
        assert_eq!(config.network_namespaces.len(), 2);
    }

    #[test]
    fn sizes_and_moments_are_read() {
        for (text, expected) in [
            ("65536", 1 << 16),
            ("64K", 1 << 16),
            ("512MiB", 512 << 20),
            ("2G", 2 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "99999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(at("+12.5"), Ok(At::After(Duration::from_millis(12_500))));
        let wall = Timestamp::new(1_700_000_000, 0).unwrap();
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(At::Wall(wall)));
    }
}
