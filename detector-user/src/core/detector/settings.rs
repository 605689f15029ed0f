//! Other settings for a detector that runs.

use super::Detector;
use crate::{
    core::session::Turn,
    model::{PeerName, Settings, Time},
};

impl Detector {
    /// Decides by these settings from now on. What is known of the peers, their verdicts and their
    /// breakers stay. The bounds stay as well: they size what was made at the start.
    pub fn set_settings(&mut self, now: Time, settings: Settings) {
        let settings = Settings {
            max_peers: self.settings.max_peers,
            max_flows_per_peer: self.settings.max_flows_per_peer,
            ..settings
        };
        if settings == self.settings {
            return;
        }
        self.notice_pause(now);
        self.prober.set_settings(&self.settings, &settings);
        self.grid.set_settings(&settings);
        self.settings = settings;
        let names: Vec<PeerName> = self.peers.keys().cloned().collect();
        for name in names {
            for key in self.paths_of(&name) {
                self.with_path(now, &key, |path, context| {
                    path.settings_changed(now, context);
                    Turn::None
                });
            }
            self.publish(now, &name);
        }
    }
}
