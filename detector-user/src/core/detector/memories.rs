//! What is remembered of dead peers over a restart.

use super::{Detector, PathKey};
use crate::model::{Memory, PeerName, Time};

impl Detector {
    /// What the next run should remember of this peer, which is dead.
    pub fn memories(&self, name: &PeerName) -> Vec<Memory> {
        let keys = self.paths_of(name);
        let paths = keys.iter().filter_map(|key| self.paths.get(key));
        paths.map(|path| path.memory()).collect()
    }

    /// Takes over what the run before has remembered of this address of the peer.
    pub fn remember(&mut self, now: Time, name: &PeerName, memory: &Memory) {
        self.notice_pause(now);
        let key = PathKey {
            peer: name.clone(),
            addr: memory.addr,
        };
        self.with_path(now, &key, |path, context| {
            path.take_memory(now, memory, context)
        });
    }
}
