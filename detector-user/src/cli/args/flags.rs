//! Translates the flags of the command line into keys and values of the configuration.

use super::{Overrides, StoreArgs, TuneArgs};
use crate::config::{Flag, Profile, keys};

/// The flags that are set, each with its key and its text.
macro_rules! given {
    ($args:ident: $($flag:literal $key:literal $field:ident;)+) => {
        [$(($flag, $key, $args.$field.as_deref()),)+].into_iter().filter_map(given)
    };
}

fn given((flag, key, text): (&'static str, &'static str, Option<&str>)) -> Option<Flag> {
    let value = keys::Value::Text(text?.to_owned());
    Some(Flag::Key { flag, key, value })
}

impl TuneArgs {
    /// The flags that are set, each with its key and value.
    pub fn flags(&self) -> Vec<Flag> {
        let texts = given! { self:
            "--rto-min" "tune_rto_min" rto_min;
            "--keepalive-idle" "tune_keepalive_idle" keepalive_idle;
            "--keepalive-interval" "tune_keepalive_interval" keepalive_interval;
            "--user-timeout" "tune_user_timeout" user_timeout;
            "--log or DETECTOR_LOG" "log" log;
        };
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let count = self.keepalive_count.map(|count| Flag::Key {
            flag: "--keepalive-count",
            key: "tune_keepalive_count",
            value: keys::Value::Integer(count),
        });
        peers.chain(texts).chain(count).collect()
    }
}

impl StoreArgs {
    /// The programs that are looked for.
    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        let rustfs = self.rustfs.iter().map(|target| Flag::Store {
            flag: "--rustfs",
            profile: Profile::RustFs,
            target: target.clone(),
        });
        let others = self.profiles.iter().map(|profile| Flag::Store {
            flag: "--profile",
            profile: *profile,
            target: profile.default_target().to_string(),
        });
        rustfs.chain(others)
    }
}

impl Overrides {
    /// The flags that are set, each with its key and value. `socket` is the value of the global
    /// flag.
    pub fn flags(&self, socket: Option<&str>) -> Vec<Flag> {
        let socket = given(("--socket or DETECTOR_SOCKET", "socket", socket));
        let texts = given! { self:
            "--mode" "mode" mode;
            "--detection-time" "detection_time" detection_time;
            "--host-detection-time" "host_detection_time" host_detection_time;
            "--destroy-delay" "destroy_delay" destroy_delay;
            "--destroy-sockets" "destroy_sockets" destroy_sockets;
            "--destroy-stalled-after" "destroy_stalled_after" destroy_stalled_after;
            "--neighbour-probes" "neighbour_probes" neighbour_probes;
            "--probe-closed-port" "probe_closed_port" probe_closed_port;
            "--source" "source" source;
            "--metrics" "metrics" metrics;
            "--state-directory" "state_directory" state_directory;
            "--log or DETECTOR_LOG" "log" log;
        };
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let protected = self.protected.iter().cloned().map(Flag::Protect);
        let namespaces = self.namespaces.iter().cloned().map(Flag::Namespace);
        // A key's own flag comes last and wins over --protect, which sets several keys.
        let services = protected.chain(namespaces).chain(self.stores.flags());
        let added = peers.chain(services);
        added.chain(socket).chain(texts).collect()
    }
}
