//! What the command line takes. Defaults and meanings come from the configuration's table
//! of keys, so that `--help` cannot disagree with it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{Config, DEFAULT_FILE, Flag, keys};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or configuration
  3  the daemon cannot be reached
  4  no such peer
  5  doctor: something is missing";

const EXAMPLES: &str = "\
Examples:
  detector run --peer http://node2:9000 --peer http://node3:9000
  detector run --mode observe
  detector watch --output json | jq 'select(.verdict == \"dead\")'
  detector explain http://node4:9000";

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
    Run(Overrides),
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

/// Flags that win over the file.
#[derive(Debug, Default, Args)]
pub struct Overrides {
    /// A peer to watch, as in http://node4:9000; may be repeated, adds to the file's. With
    /// none, peers are discovered from established connections, and only observed.
    #[arg(long = "peer", value_name = "URL")]
    pub peers: Vec<String>,
    /// A service to protect, by systemd unit or cgroup; may be repeated. Its connects to dead
    /// peers are refused, its connections with a dead peer destroyed, its new ones tuned.
    #[arg(long = "protect", value_name = "UNIT|CGROUP")]
    pub protected: Vec<String>,
    #[arg(long, value_name = "enforce|observe", help = describe("mode"))]
    pub mode: Option<String>,
    #[arg(long, value_name = "DURATION", help = describe("patience"))]
    pub patience: Option<String>,
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
            ("--source", "source", self.source.as_deref()),
            ("--metrics", "metrics", self.metrics.as_deref()),
            ("--log or DETECTOR_LOG", "log", self.log.as_deref()),
        ];
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let protected = self.protected.iter().cloned().map(Flag::Protect);
        let no_btf = self.no_btf.then_some(Flag::Key {
            flag: "--no-btf",
            key: "btf",
            value: keys::Value::Boolean(false),
        });
        let texts = texts.into_iter().filter_map(|(flag, key, text)| {
            let value = keys::Value::Text(text?.to_owned());
            Some(Flag::Key { flag, key, value })
        });
        peers.chain(texts).chain(no_btf).chain(protected).collect()
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
        for default in ["enforce", "250ms", "auto", "127.0.0.1:9464", "info"] {
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
                    --source ebpf --no-btf --metrics off --log debug --socket /s \
                    --protect a.service";
        let cli = parse(line).expect("parses");
        let Command::Run(overrides) = &cli.command else {
            panic!("{cli:?}")
        };
        let flags = overrides.flags(cli.global.socket.as_deref());
        assert_eq!(flags.len(), 10);
        let config = crate::config::load(Some("/dev/null".as_ref()), &flags)
            .expect("all are valid")
            .config;
        assert_eq!(config.peers.len(), 2);
        assert_eq!(config.core.mode, crate::core::Mode::Observe);
        assert_eq!(config.core.patience, std::time::Duration::from_millis(50));
        assert_eq!(config.source, crate::config::SourceChoice::Ebpf);
        assert!(!config.btf);
        assert_eq!(config.metrics, None);
        assert_eq!(config.log, "debug");
        assert_eq!(config.socket, std::path::Path::new("/s"));
        assert_eq!(config.refuse_connects.len(), 1);
        assert_eq!(config.tune_sockets.len(), 1);
    }
}
