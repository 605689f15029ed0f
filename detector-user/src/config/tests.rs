//! Whole configurations: values, errors with their places, and the sample file.

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
fn every_error_is_reported_with_its_place() {
    let text = r#"detecton_time = "250ms"
mode = "enforced"
ring_bytes = 100000
detection_time = 250
recovery_timeout = "2h"
half_open_trials = 0
socket = ["/x"]
metrics = "localhost"
log = "inof"
ebpf_log = "yes"

[[peer]]
url = "http://node{1...4}:9000"
adresses = []

[[peer]]
addresses = ["node4", 7]
"#;
    let flags = [
        Flag::Peer("node4".to_owned()),
        flag("--detection-time", "detection_time", "1ms"),
    ];
    assert_eq!(
        with_flags(text, &flags).unwrap_err(),
        [
            r#"d.toml:1:1: detecton_time: unknown key; did you mean "detection_time"?"#,
            r#"d.toml:2:8: mode: "enforced" is none of enforce, observe; did you mean "enforce"?"#,
            "d.toml:3:14: ring_bytes: 100000 is not a power of two; the next is 131072",
            r#"d.toml:4:18: detection_time: a duration needs a unit; write "250ms" or "250s""#,
            "d.toml:5:20: recovery_timeout: 2h is out of bounds; the least is 100ms, the most 1h",
            "d.toml:6:20: half_open_trials: 0 is out of bounds; the least is 1, the most 1000",
            r#"d.toml:7:10: socket: expected a string, as in "/run/detector/detector.sock", found a list"#,
            r#"d.toml:8:11: metrics: "localhost" is not an address and port; write 127.0.0.1:9464, [::1]:9464 or off"#,
            r#"d.toml:9:7: log: "inof" is none of off, error, warn, info, debug, trace; did you mean "info"?"#,
            "d.toml:10:12: ebpf_log: expected true or false, found a string",
            r#"d.toml:13:7: peer.url: "http://node{1...4}:9000" is a pattern; patterns are not expanded, write each peer out"#,
            r#"d.toml:14:1: peer.adresses: unknown key; did you mean "addresses"?"#,
            r#"d.toml:16:1: peer: has no url; write url = "http://node4:9000""#,
            r#"d.toml:17:14: peer.addresses: "node4" is not an IP address; names go into url"#,
            "d.toml:17:23: peer.addresses: expected a string, found an integer",
            r#"--peer: "node4" has no port; write node4:9000, or give a scheme to mean its default port"#,
            "--detection-time: 1ms is out of bounds; the least is 10ms, the most 1m",
        ]
    );
}

#[test]
fn the_hands_settings_say_what_they_take() {
    let text = r#"destroy_sockets = "no"
destroy_delay = "50ms"
idle_probe_interval = "10ms"
idle_probe_jitter_percent = 51
max_probes_per_second = 0
neighbour_probes = true
neighbour_probes_per_second = 0
probe_closed_port = "of"
destroy_stalled_after = "500ms"
host_detection_time = "off"
"#;
    assert_eq!(
        file(text).unwrap_err(),
        [
            r#"d.toml:1:19: destroy_sockets: "no" is none of on, off"#,
            "d.toml:2:17: destroy_delay: 50ms is out of bounds; the least is 100ms, the most 10m",
            r#"d.toml:3:23: idle_probe_interval: 10ms is out of bounds; the least is 50ms, the most 1m; or write "off""#,
            "d.toml:4:29: idle_probe_jitter_percent: 51 is out of bounds; the least is 0, the most 50",
            "d.toml:5:25: max_probes_per_second: 0 is out of bounds; the least is 1, the most 100000",
            r#"d.toml:6:20: neighbour_probes: expected a string, as in "on", found a boolean"#,
            "d.toml:7:31: neighbour_probes_per_second: 0 is out of bounds; the least is 1, the most 1000",
            r#"d.toml:8:21: probe_closed_port: "of" is none of on, off; did you mean "off"?"#,
            r#"d.toml:9:25: destroy_stalled_after: 500ms is out of bounds; the least is 1s, the most 10m; or write "off""#,
            r#"d.toml:10:23: host_detection_time: "off" is not a duration (expected number at 0); write it as "250ms" or "30s""#,
        ]
    );
}

#[test]
fn destroy_delay_is_not_less_than_detection_time() {
    let both = "detection_time = \"2s\"\ndestroy_delay = \"1500ms\"\n";
    let complaint = "destroy_delay is 1s 500ms and detection_time 2s: a dead peer's sockets are destroyed no \
                     sooner than it is dead; make destroy_delay 2s or more, or detection_time less";
    assert_eq!(
        file(both).unwrap_err(),
        [format!("d.toml:2:17: destroy_delay: {complaint}")]
    );
    // If the destroy delay is not set, the error points at the value that is too long for its
    // default.
    let errors = with_flags("", &[flag("--detection-time", "detection_time", "2s")]).unwrap_err();
    assert!(
        errors[0].starts_with(
            "--detection-time: destroy_delay: destroy_delay is 1s and detection_time 2s"
        ),
        "{errors:?}"
    );
    assert!(file("detection_time = \"2s\"\ndestroy_delay = \"2s\"\n").is_ok());
    assert!(file("detection_time = \"2s\"\ndestroy_sockets = \"off\"\n").is_ok());
}

#[test]
fn syntax_errors_are_reported_beside_the_others_and_once_a_line() {
    let errors = file("mode = enforce\ndetection_time = \"5s\nsourc = \"ebpf\"\n").unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|e| e.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        places,
        ["d.toml:1:8:", "d.toml:2:21:", "d.toml:3:1:"],
        "{errors:#?}"
    );
    let errors = file("metrics = \"off\"\nmetrics = \"off\"\n").unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].starts_with("d.toml:2:1: duplicate key"),
        "{errors:#?}"
    );
}

#[test]
fn a_peer_table_in_single_brackets_is_explained() {
    let errors = file("[peer]\nurl = \"http://node4:9000\"\n").unwrap_err();
    assert_eq!(
        errors,
        ["d.toml:1:2: peer: write each peer as [[peer]], in double brackets"]
    );
    let errors = file("peers = [\"http://node4:9000\"]\n").unwrap_err();
    assert_eq!(
        errors,
        ["d.toml:1:1: peers: unknown key; write each peer as [[peer]] with its url"]
    );
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
fn peers_and_addresses_are_bounded() {
    let text = "max_peers = 1\n[[peer]]\nurl = \"a:1\"\n[[peer]]\nurl = \"b:1\"\n";
    assert_eq!(
        file(text).unwrap_err(),
        ["d.toml:1:13: max_peers: 2 peers are named, and 1 is the most"]
    );
    let many: Vec<_> = (0..17).map(|i| format!("\"10.0.0.{i}\"")).collect();
    let text = format!(
        "[[peer]]\nurl = \"a:1\"\naddresses = [{}]\n",
        many.join(",")
    );
    assert_eq!(
        file(&text).unwrap_err(),
        ["d.toml:3:13: peer.addresses: 17 addresses; a peer has 16 at most"]
    );
}

#[test]
fn targets_are_lists_of_strings() {
    let config = file(r#"refuse_connects = ["a.service", "/x/y", "a.service"]"#).unwrap();
    let target = |text| Target::parse(text).unwrap();
    assert_eq!(
        config.refuse_connects,
        [target("a.service"), target("/x/y")]
    );
    assert_eq!(
        file("refuse_connects = \"a.service\"\ntune_sockets = [7]\n").unwrap_err(),
        [
            r#"d.toml:1:19: refuse_connects: expected a list, as in ["rustfs.service"], found a string"#,
            "d.toml:2:16: tune_sockets: expected a list of strings, found an integer",
        ]
    );
    let many: Vec<_> = (0..65).map(|i| format!("\"{i}.service\"")).collect();
    let errors = file(&format!("tune_sockets = [{}]\n", many.join(","))).unwrap_err();
    assert_eq!(
        errors,
        ["d.toml:1:16: tune_sockets: 65 are named, and 64 is the most"]
    );
}

#[test]
fn what_is_tuned_can_be_left_off() {
    let config = file("tune_rto_min = \"off\"\ntune_keepalive_idle = 0\n").unwrap();
    assert_eq!(config.tune.rto_min, None);
    assert_eq!(config.tune.keepalive_idle, None);
    let errors =
        file("tune_rto_min = \"1ms\"\ntune_keepalive_interval = \"1500ms\"\n").unwrap_err();
    assert_eq!(
        errors,
        [
            "d.toml:1:16: tune_rto_min: 1ms is out of bounds; the least is 2ms, the most 200ms; or write \"off\"",
            "d.toml:2:27: tune_keepalive_interval: 1s 500ms is no whole number of seconds, and TCP \
             takes no other",
        ]
    );
}

#[test]
fn protect_refuses_tunes_and_destroys() {
    let text = "refuse_connects = [\"a.service\"]\ndestroy_sockets = \"off\"\n";
    let protect = |target: &str| Flag::Protect(target.to_owned());
    let flags = [protect("b.service"), protect("c/d")];
    let loaded = join(Some((Path::new("d.toml"), text)), &flags).unwrap();
    let shown = |targets: &[Target]| targets.iter().map(Target::to_string).collect::<Vec<_>>();
    let config = &loaded.config;
    assert_eq!(
        shown(&config.refuse_connects),
        ["a.service", "b.service", "c/d"]
    );
    assert_eq!(shown(&config.tune_sockets), ["b.service", "c/d"]);
    assert!(config.core.destroy_sockets);
    let flag = PROTECT_FLAG;
    for key in ["refuse_connects", "tune_sockets", "destroy_sockets"] {
        assert_eq!(
            loaded.origin(key),
            Origin::Set(Place::Flag { flag }),
            "{key}"
        );
    }
    assert_eq!(
        with_flags(text, &[protect("a/../b")]).unwrap_err(),
        ["--protect: \"a/../b\": write the cgroup's path without \"..\""]
    );
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

/// The sample with every `# key = value` line active; its prose starts with `##`.
fn uncommented_sample() -> String {
    let sample = include_str!("../../../deploy/detector.toml");
    let live = |line: &str| match line.strip_prefix("# ") {
        Some(line) => format!("{line}\n"),
        None => format!("{line}\n"),
    };
    sample.lines().map(live).collect()
}

#[test]
fn the_sample_as_installed_sets_nothing() {
    let sample = include_str!("../../../deploy/detector.toml");
    assert_eq!(file(sample), Ok(Config::default()));
}

#[test]
fn the_sample_shows_every_key_with_its_default_and_meaning() {
    let text = uncommented_sample();
    let loaded = join(Some((Path::new("sample"), &text)), &[]).unwrap();
    let (peers, pools) = (loaded.config.peers.clone(), loaded.config.pools.clone());
    assert_eq!(pools.len(), 1, "the sample shows how a pool is written");
    assert_eq!(
        Config {
            peers,
            pools,
            ..Config::default()
        },
        loaded.config
    );
    assert!(
        !loaded.config.peers.is_empty(),
        "the sample shows how peers are written"
    );
    let fixed = |peer: &PeerSpec| !peer.addresses.is_empty();
    assert!(
        loaded.config.peers.iter().any(fixed),
        "and how addresses are"
    );
    for key in KEYS {
        assert_ne!(
            loaded.origin(key.name),
            Origin::Default,
            "{} is missing",
            key.name
        );
        assert!(
            text.contains(&format!("## {}\n", capitalised(key.help))),
            "{}",
            key.help
        );
    }
}

fn capitalised(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

#[test]
fn programs_are_looked_for_by_their_executable_or_by_selectors() {
    let exe = |name: &str| Target::Exe(name.to_owned());
    let config =
        file("rustfs = true\nminio = [\"unit:minio\", \"pod:m-*\"]\netcd = false\n").unwrap();
    assert_eq!(config.stores.rustfs, [exe("rustfs")]);
    assert_eq!(config.stores.minio.len(), 2);
    assert!(config.stores.etcd.is_empty());
    // They are protected and watched, beside what is named by hand.
    for targets in [config.refused(), config.tuned(), config.namespaces()] {
        assert_eq!(targets.len(), 3, "{targets:?}");
    }
    assert!(config.refuse_connects.is_empty());
    let errors = file("rustfs = \"rustfs\"\nminio = [\"exe:\"]\n").unwrap_err();
    assert!(
        errors[0].starts_with("d.toml:1:10: rustfs: expected true, false or a list"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("d.toml:2:9: minio: "), "{errors:?}");

    let store = |flag, profile, target: &str| Flag::Store {
        flag,
        profile,
        target: target.to_owned(),
    };
    let flags = [
        store("--rustfs", Profile::RustFs, "pod:rustfs-0"),
        store("--profile", Profile::Etcd, "exe:etcd"),
    ];
    let text = "rustfs = true\n";
    let config = join(Some((Path::new("d.toml"), text)), &flags)
        .unwrap()
        .config;
    assert_eq!(
        config.stores.rustfs,
        [exe("rustfs"), Target::Pod("rustfs-0".to_owned())]
    );
    assert_eq!(config.stores.etcd, [exe("etcd")]);
    let wrong = [store("--rustfs", Profile::RustFs, "pod:A/B")];
    let errors = join(None, &wrong).unwrap_err().to_string();
    assert!(errors.starts_with("--rustfs: "), "{errors}");
}
