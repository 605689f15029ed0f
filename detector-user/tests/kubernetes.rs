//! What the daemon is configured with in Kubernetes is a configuration of this daemon.

use std::fs;

use detector_user::config::{keys::find, load};

const FILE: &str = include_str!("../../deploy/kubernetes/detector.toml");

#[test]
fn the_configuration_is_read_without_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("detector.toml");
    fs::write(&file, FILE).unwrap();
    load(Some(&file), &[]).unwrap();
    // What is only shown is a default that somebody may want to change.
    let shown = FILE.lines().filter_map(|line| line.strip_prefix("# "));
    let keys: Vec<_> = shown.filter_map(|line| line.split_once(" = ")).collect();
    assert!(!keys.is_empty());
    for (name, _) in keys {
        assert!(find(name).is_some(), "{name}");
    }
}
