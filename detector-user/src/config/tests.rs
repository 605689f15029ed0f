//! Whole configurations, from files and flags.

mod sample;
mod services;
mod wrong;

use std::{net::IpAddr, path::Path, time::Duration};

use super::{
    keys::{KEYS, Value},
    load::join,
    *,
};
use crate::model::Mode;

fn file(text: &str) -> Result<Config, Vec<String>> {
    with_flags(text, &[])
}

fn with_flags(text: &str, flags: &[Flag]) -> Result<Config, Vec<String>> {
    join(Some((Path::new("d.toml"), text)), flags)
        .map(|loaded| loaded.config)
        .map_err(|ConfigErrors(errors)| errors.iter().map(ConfigError::to_string).collect())
}

fn flag(flag: &'static str, key: &'static str, value: &str) -> Flag {
    let value = Value::Text(value.to_owned());
    Flag::Key { flag, key, value }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(file(""), Ok(Config::default()));
}

#[test]
fn a_full_file_is_read() {
    let config = file(
        r#"
mode = "observe"
source = "sock_diag"
socket = "/tmp/d.sock"
socket_group = "rustfs"
metrics = "off"
detection_time = "1s 500ms"
destroy_sockets = "off"
destroy_delay = "2s"
idle_probe_interval = "off"
idle_probe_jitter_percent = 50
max_probes_per_second = 100_000
neighbour_probes = "off"
neighbour_probes_per_second = 50
probe_closed_port = "off"
destroy_stalled_after = "off"
host_detection_time = "3s"
ring_bytes = 65_536

[[peer]]
url = "http://node4:9000/data/disk1"

[[peer]]
url = "https://[fd00::5]:9000"
addresses = ["::ffff:10.0.0.5", "10.0.0.5", "fd00::5"]
"#,
    )
    .unwrap();
    assert_eq!(config.core.mode, Mode::Observe);
    assert_eq!(config.source, SourceChoice::SockDiag);
    assert_eq!(config.socket, Path::new("/tmp/d.sock"));
    assert_eq!(config.socket_group.as_deref(), Some("rustfs"));
    assert_eq!(config.metrics, None);
    assert_eq!(config.core.detection_time, Duration::from_millis(1500));
    assert!(!config.core.destroy_sockets);
    assert_eq!(config.core.destroy_delay, Duration::from_secs(2));
    assert_eq!(config.core.idle_probe_interval, Duration::ZERO);
    assert_eq!(config.core.idle_probe_jitter_percent, 50);
    assert_eq!(config.core.max_probes_per_second, 100_000);
    assert!(!config.core.neighbour_probes);
    assert_eq!(config.core.neighbour_probes_per_second, 50);
    assert!(!config.core.probe_closed_port);
    assert_eq!(config.core.destroy_stalled_after, Duration::ZERO);
    assert_eq!(config.core.host_detection_time, Duration::from_secs(3));
    assert_eq!(config.ring_bytes, 65_536);
    let names: Vec<_> = config.peers.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["http://node4:9000", "https://[fd00::5]:9000"]);
    let fixed: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    assert_eq!(config.peers[1].addresses, fixed);
}

#[test]
fn flags_win_and_peers_are_the_union() {
    let text = r#"
detection_time = "500ms"
mode = "observe"
[[peer]]
url = "http://node1:9000"
[[peer]]
url = "http://node4:9000/disk1"
addresses = ["10.0.0.4"]
"#;
    let flags = [
        flag("--detection-time", "detection_time", "50ms"),
        Flag::Peer("node4:9000".to_owned()),
        Flag::Peer("node2:9000".to_owned()),
    ];
    let loaded = join(Some((Path::new("d.toml"), text)), &flags).unwrap();
    assert_eq!(loaded.config.core.detection_time, Duration::from_millis(50));
    assert_eq!(loaded.config.core.mode, Mode::Observe);
    let peers = &loaded.config.peers;
    let names: Vec<_> = peers.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "http://node1:9000",
            "http://node4:9000",
            "http://node2:9000"
        ]
    );
    assert_eq!(peers[1].addresses, ["10.0.0.4".parse::<IpAddr>().unwrap()]);

    let flag = "--detection-time";
    assert_eq!(
        loaded.origin("detection_time"),
        Origin::Set(Place::Flag { flag })
    );
    assert!(matches!(
        loaded.origin("mode"),
        Origin::Set(Place::File {
            line: 3,
            column: 8,
            ..
        })
    ));
    assert_eq!(loaded.origin("socket"), Origin::Default);
}

#[test]
fn a_named_file_must_be_there_and_flags_are_checked_all_the_same() {
    let missing = Path::new("/nonexistent/d.toml");
    let ConfigErrors(errors) = load(Some(missing), &[flag("--mode", "mode", "x")]).unwrap_err();
    let path = missing.to_owned();
    assert_eq!(errors[0].place, Place::WholeFile { path });
    assert_eq!(errors[1].place, Place::Flag { flag: "--mode" });
}

#[test]
fn a_refused_value_changes_nothing() {
    for key in KEYS {
        let mut config = Config::default();
        let bad = match key.get(&config) {
            Value::Boolean(_) => Value::Integer(1),
            Value::Integer(_) => Value::Integer(-1),
            Value::Text(_) | Value::List(_) => Value::Boolean(true),
        };
        assert!(key.set(&mut config, &bad).is_err(), "{}", key.name);
        assert_eq!(config, Config::default(), "{}", key.name);
    }
}

#[test]
fn what_a_key_shows_it_also_reads() {
    for key in KEYS {
        let mut config = Config::default();
        let shown = key.get(&config);
        assert_eq!(key.set(&mut config, &shown), Ok(()), "{}", key.name);
        assert_eq!(config, Config::default(), "{}", key.name);
    }
}
