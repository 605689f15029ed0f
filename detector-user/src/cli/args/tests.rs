//! Arguments are parsed, and each flag sets the right key.

use std::time::Duration;

use clap::{CommandFactory as _, error::ErrorKind};
use jiff::Timestamp;

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
    let line = "detector run --peer a:1 --peer b:2 --mode observe --detection-time 50ms \
                --destroy-delay 2s --destroy-sockets off --host-detection-time 2s \
                --destroy-stalled-after off --neighbour-probes off --probe-closed-port off --source ebpf --metrics off --log debug \
                --socket /s --protect a.service --network-namespace /run/netns/a \
                    --network-namespace b.service";
    let cli = parse(line).expect("parses");
    let Command::Run(args) = &cli.command else {
        panic!("{cli:?}")
    };
    assert_eq!((&args.record, args.record_limit), (&None, 1 << 30));
    let flags = args.overrides.flags(cli.global.socket.as_deref());
    assert_eq!(flags.len(), 17);
    let config = crate::config::load(Some("/dev/null".as_ref()), &flags)
        .expect("all are valid")
        .config;
    assert_eq!(config.peers.len(), 2);
    assert_eq!(config.core.mode, crate::model::Mode::Observe);
    assert_eq!(
        config.core.detection_time,
        std::time::Duration::from_millis(50)
    );
    assert_eq!(config.core.destroy_delay, std::time::Duration::from_secs(2));
    assert!(!config.core.destroy_sockets);
    assert_eq!(
        config.core.host_detection_time,
        std::time::Duration::from_secs(2)
    );
    assert_eq!(config.core.destroy_stalled_after, std::time::Duration::ZERO);
    assert!(!config.core.neighbour_probes && !config.core.probe_closed_port);
    assert_eq!(config.source, crate::config::SourceChoice::Ebpf);
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

#[test]
fn rustfs_takes_a_selector_only_after_an_equals_sign() {
    let cli = parse("detector run --rustfs --rustfs=pod:a --profile minio --mode observe").unwrap();
    let Command::Run(args) = &cli.command else {
        panic!("{cli:?}")
    };
    assert_eq!(args.overrides.stores.rustfs, ["exe:rustfs", "pod:a"]);
    let config = crate::config::load(Some("/dev/null".as_ref()), &args.overrides.flags(None))
        .expect("all are valid")
        .config;
    assert_eq!(
        (config.stores.rustfs.len(), config.stores.minio.len()),
        (2, 1)
    );
    assert!(parse("detector doctor --rustfs=unit:a.service").is_ok());
    assert!(parse("detector run --profile ceph").is_err());
    assert!(parse("detector run --rustfs unit:a.service").is_err());
}
