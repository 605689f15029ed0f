//! The sample file says of each key what the table says.

use std::path::Path;

use super::file;
use crate::config::{Config, Origin, PeerSpec, keys::KEYS, load::join};

/// The sample with every `# key = value` line active; its prose starts with `##`.
fn uncommented_sample() -> String {
    let sample = include_str!("../../../../deploy/detector.toml");
    let live = |line: &str| match line.strip_prefix("# ") {
        Some(line) => format!("{line}\n"),
        None => format!("{line}\n"),
    };
    sample.lines().map(live).collect()
}

#[test]
fn the_sample_as_installed_sets_nothing() {
    let sample = include_str!("../../../../deploy/detector.toml");
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
