//! A configuration as TOML: reading it gives the same configuration again.

use serde::Serialize;

use super::{
    Config,
    keys::{KEYS, Key},
};

/// The whole configuration.
pub fn to_toml(config: &Config) -> String {
    let keys = KEYS.iter().map(|key| key_to_toml(key, config) + "\n");
    keys.collect::<String>() + &tables_to_toml(config)
}

/// One key and its value.
pub fn key_to_toml(key: &Key, config: &Config) -> String {
    format!("{} = {}", key.name, key.get(config).to_toml())
}

/// The peers and pools, which follow the keys.
pub fn tables_to_toml(config: &Config) -> String {
    let peers = config.peers.iter().map(|peer| table("peer", peer));
    let pools = config.pools.iter().map(|pool| table("pool", pool));
    peers.chain(pools).collect()
}

fn table(name: &str, table: &impl Serialize) -> String {
    // Strings, numbers and lists of strings can always be written.
    let text = toml::to_string(table).unwrap_or_default();
    format!("\n[[{name}]]\n{text}")
}
