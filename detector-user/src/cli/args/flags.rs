//! Translates the flags of the command line into keys and values of the configuration.

use super::{Overrides, TuneArgs};
use crate::config::{Flag, keys};

impl TuneArgs {
    /// The flags that are set, each with its key and value.
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
    /// The flags that are set, each with its key and value. `socket` is the value of the global
    /// flag.
    pub fn flags(&self, socket: Option<&str>) -> Vec<Flag> {
        let texts = [
            ("--socket or DETECTOR_SOCKET", "socket", socket),
            ("--mode", "mode", self.mode.as_deref()),
            (
                "--detection-time",
                "detection_time",
                self.detection_time.as_deref(),
            ),
            (
                "--host-detection-time",
                "host_detection_time",
                self.host_detection_time.as_deref(),
            ),
            (
                "--destroy-delay",
                "destroy_delay",
                self.destroy_delay.as_deref(),
            ),
            (
                "--destroy-sockets",
                "destroy_sockets",
                self.destroy_sockets.as_deref(),
            ),
            (
                "--destroy-stalled-after",
                "destroy_stalled_after",
                self.destroy_stalled_after.as_deref(),
            ),
            (
                "--neighbour-probes",
                "neighbour_probes",
                self.neighbour_probes.as_deref(),
            ),
            (
                "--probe-closed-port",
                "probe_closed_port",
                self.probe_closed_port.as_deref(),
            ),
            ("--source", "source", self.source.as_deref()),
            ("--metrics", "metrics", self.metrics.as_deref()),
            ("--log or DETECTOR_LOG", "log", self.log.as_deref()),
        ];
        let peers = self.peers.iter().cloned().map(Flag::Peer);
        let protected = self.protected.iter().cloned().map(Flag::Protect);
        let namespaces = self.namespaces.iter().cloned().map(Flag::Namespace);
        let texts = texts.into_iter().filter_map(|(flag, key, text)| {
            let value = keys::Value::Text(text?.to_owned());
            Some(Flag::Key { flag, key, value })
        });
        // A key's own flag comes last and wins over --protect, which sets several keys.
        let added = peers.chain(protected).chain(namespaces);
        added.chain(texts).collect()
    }
}
