//! Applies administrators' overrides.

use super::Driver;
use crate::{
    clock,
    model::{Override, PeerName},
    overrides::{Caller, Command, OverrideError, Reply},
};

impl Driver {
    pub(super) fn override_breaker(
        &mut self,
        peer: &PeerName,
        command: Command,
        caller: Caller,
        reply: Reply,
    ) {
        let now = clock::now();
        match command {
            Command::End => {
                self.detector.set_override(now, peer, None);
                self.carry_out();
                self.overrides.end(peer, caller, reply);
            }
            Command::Set {
                kind,
                lasts,
                reason,
            } => {
                let overridden = Override {
                    kind,
                    until: now + lasts,
                    reason: reason.into(),
                    uid: caller.uid,
                };
                if let Err(error) = self.apply(peer, &overridden) {
                    // A client that no longer waits for its answer is no error.
                    let _ = reply.send(Err(error));
                    return;
                }
                self.carry_out();
                self.overrides.set(peer, overridden, caller, reply);
            }
        }
    }

    fn apply(&mut self, peer: &PeerName, overridden: &Override) -> Result<(), OverrideError> {
        self.overrides.admits(peer)?;
        let overridden = Some(overridden.clone());
        match self.detector.set_override(clock::now(), peer, overridden) {
            true => Ok(()),
            false => Err(OverrideError::UnknownPeer),
        }
    }

    /// Applies the override that was kept for a peer that has just become known.
    pub(super) fn keep_override(&mut self, peer: &PeerName) {
        if let Some(held) = self.overrides.of(peer) {
            let held = Some(held.clone());
            self.detector.set_override(clock::now(), peer, held);
        }
    }
}
