//! What a running daemon takes over from a configuration that was read again.

use super::{
    Config,
    keys::{KEYS, Key},
};

/// The keys that a running daemon takes over. The others size what was made at the start, or name
/// what was opened then.
const TAKEN_OVER: [&str; 20] = [
    "mode",
    "log",
    "detection_time",
    "host_detection_time",
    "destroy_sockets",
    "destroy_delay",
    "fast_destroy_delay",
    "destroy_stalled_after",
    "idle_probe_interval",
    "idle_probe_jitter_percent",
    "max_probes_per_second",
    "neighbour_probes",
    "neighbour_probes_per_second",
    "probe_closed_port",
    "recovery_timeout",
    "half_open_trials",
    "trial_lease",
    "failure_threshold",
    "failure_window",
    "node_name",
];

/// How a configuration differs from the one that the daemon works by.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The configuration by which the daemon works from now on.
    pub config: Config,
    /// What it takes over: each key with its new value, in TOML.
    pub taken_over: Vec<String>,
    /// The changed keys that need a restart.
    pub need_restart: Vec<&'static str>,
}

/// What changes when a daemon that works by `running` is given `wanted`. One that has given up the
/// privilege to destroy sockets (it `cannot_destroy`) gets it back only by a restart.
pub fn changed(running: &Config, wanted: &Config, cannot_destroy: bool) -> Changed {
    let mut changed = Changed {
        config: running.clone(),
        taken_over: Vec::new(),
        need_restart: Vec::new(),
    };
    for key in KEYS
        .iter()
        .filter(|key| key.get(running) != key.get(wanted))
    {
        match key.name == "destroy_sockets" && cannot_destroy {
            true => changed.need_restart.push(key.name),
            false => changed.key(key, wanted),
        }
    }
    if running.peers != wanted.peers {
        match may_change_peers(running, wanted) {
            true => changed.peers(running, wanted),
            false => changed.need_restart.push("peer"),
        }
    }
    if running.pools != wanted.pools {
        changed.config.pools.clone_from(&wanted.pools);
        changed.taken_over.push("pool".to_owned());
    }
    changed
}

/// Peers that are discovered, or named by the programs of this host, are found in other ways.
fn may_change_peers(running: &Config, wanted: &Config) -> bool {
    running.stores.is_empty() && !running.peers.is_empty() && !wanted.peers.is_empty()
}

impl Changed {
    fn key(&mut self, key: &Key, wanted: &Config) {
        let value = key.get(wanted);
        let is_taken = TAKEN_OVER.contains(&key.name);
        if is_taken && key.set(&mut self.config, &value).is_ok() {
            self.taken_over
                .push(format!("{} = {}", key.name, value.to_toml()));
        } else {
            self.need_restart.push(key.name);
        }
    }

    fn peers(&mut self, running: &Config, wanted: &Config) {
        let of = |config: &Config, other: &Config, word: &str| -> Vec<String> {
            let news = config
                .peers
                .iter()
                .filter(|peer| !other.peers.contains(peer));
            news.map(|peer| format!("{word} {}", peer.name)).collect()
        };
        self.taken_over.extend(of(wanted, running, "watches"));
        let is_gone = |line: &String| {
            !self
                .taken_over
                .contains(&line.replace("forgets", "watches"))
        };
        let gone: Vec<String> = of(running, wanted, "forgets")
            .into_iter()
            .filter(is_gone)
            .collect();
        self.taken_over.extend(gone);
        self.config.peers.clone_from(&wanted.peers);
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let taken = match self.taken_over.is_empty() {
            true => "nothing changes".to_owned(),
            false => self.taken_over.join("; "),
        };
        match self.need_restart.is_empty() {
            true => taken,
            false => format!(
                "{taken}. A restart is needed for: {}",
                self.need_restart.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::parse_peer_name, model::Settings};

    fn with_peers(names: &[&str]) -> Config {
        Config {
            peers: names
                .iter()
                .map(|name| parse_peer_name(name).unwrap())
                .collect(),
            ..Config::default()
        }
    }

    /// The keys that size what was made at the start, or name what was opened then.
    const NEED_A_RESTART: [&str; 29] = [
        "source",
        "socket",
        "socket_group",
        "admin_users",
        "admin_groups",
        "state_directory",
        "metrics",
        "log_format",
        "ebpf_log",
        "seccomp",
        "rustfs",
        "minio",
        "etcd",
        "ipfs_cluster",
        "max_peers",
        "max_flows_per_peer",
        "max_flows",
        "ring_bytes",
        "discover_limit",
        "poll_interval",
        "resolve_interval",
        "network_namespaces",
        "refuse_connects",
        "tune_sockets",
        "tune_rto_min",
        "tune_keepalive_idle",
        "tune_keepalive_interval",
        "tune_keepalive_count",
        "tune_user_timeout",
    ];

    /// A new key is in one of the two lists.
    #[test]
    fn of_each_key_it_is_decided_whether_it_is_taken_over() {
        let mut decided = [TAKEN_OVER.as_slice(), &NEED_A_RESTART].concat();
        let mut keys: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        decided.sort_unstable();
        keys.sort_unstable();
        assert_eq!(decided, keys);
    }

    /// docs/operations.md promises it for every setting of the verdict, of probing and of destroying.
    #[test]
    fn every_setting_of_the_core_but_the_bounds_is_taken_over() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        let settings = settings.as_object().unwrap().keys();
        let is_bound =
            |name: &&String| ["max_peers", "max_flows_per_peer"].contains(&name.as_str());
        let promised: Vec<_> = settings.filter(|name| !is_bound(name)).collect();
        assert!(promised.len() > 15, "{promised:?}");
        for name in promised {
            assert!(TAKEN_OVER.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn what_is_taken_over_is_named_and_so_is_what_needs_a_restart() {
        let running = with_peers(&["http://a:1", "http://b:1"]);
        let mut wanted = with_peers(&["http://a:1", "http://c:1"]);
        wanted.core.detection_time = std::time::Duration::from_millis(50);
        wanted.core.max_peers = 7;
        let changed = changed(&running, &wanted, false);
        assert_eq!(
            changed.summary(),
            "detection_time = \"50ms\"; watches http://c:1; forgets http://b:1. \
             A restart is needed for: max_peers"
        );
        wanted.core.max_peers = running.core.max_peers;
        assert_eq!(changed.config, wanted);
    }

    #[test]
    fn who_has_given_up_destroying_needs_a_restart_for_it() {
        let mut running = Config::default();
        running.core.destroy_sockets = false;
        let wanted = Config::default();
        assert_eq!(changed(&running, &wanted, false).config, wanted);
        let changed = changed(&running, &wanted, true);
        assert_eq!(changed.need_restart, ["destroy_sockets"]);
        assert_eq!(changed.config, running);
    }

    #[test]
    fn discovery_begins_and_ends_with_a_restart() {
        let named = with_peers(&["http://a:1"]);
        for (running, wanted) in [(&named, &Config::default()), (&Config::default(), &named)] {
            let changed = changed(running, wanted, false);
            assert_eq!(changed.need_restart, ["peer"]);
            assert_eq!(changed.config, *running);
        }
    }
}
