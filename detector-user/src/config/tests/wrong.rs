//! What is wrong with a configuration, each error with its place.

use super::{file, flag, with_flags};
use crate::config::Flag;

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
