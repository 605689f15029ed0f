//! Overrides: which peers have one, and when it ends.

use super::Detector;
use crate::model::{Effect, Override, OverrideEnd, OverrideKind, PeerName, Time};

impl Detector {
    /// Sets an administrator's override, or ends it; returns whether the peer is watched. One whose
    /// time is over, or whose peer returns from maintenance, ends by itself, with
    /// [`Effect::OverrideEnded`].
    pub fn set_override(
        &mut self,
        now: Time,
        name: &PeerName,
        overridden: Option<Override>,
    ) -> bool {
        let Some(peer) = self.peers.get(name) else {
            return false;
        };
        if peer.overridden != overridden {
            self.replace_override(now, name, overridden);
            self.publish(now, name);
        }
        true
    }

    /// Ends the overrides whose time is over.
    pub(super) fn end_overrides(&mut self, now: Time) {
        while let Some((_, name)) = self.override_ends.first().filter(|(at, _)| *at <= now) {
            let name = name.clone();
            self.set_override(now, &name, None);
            self.effects.push_back(Effect::OverrideEnded {
                peer: name,
                why: OverrideEnd::Expired,
            });
        }
    }

    /// A path that was dead is heard again: that ends the maintenance. The caller publishes the
    /// change, together with the end of the death.
    pub(super) fn end_maintenance(&mut self, now: Time, name: &PeerName) {
        let present = self.peers.get(name).and_then(|p| p.overridden.as_ref());
        if present.is_some_and(|present| present.kind == OverrideKind::Maintenance) {
            self.replace_override(now, name, None);
            self.effects.push_back(Effect::OverrideEnded {
                peer: name.clone(),
                why: OverrideEnd::PeerReturned,
            });
        }
    }

    fn replace_override(&mut self, now: Time, name: &PeerName, next: Option<Override>) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let kind = next.as_ref().map(|next| next.kind);
        let until = next.as_ref().map(|next| next.until);
        if let Some(before) = std::mem::replace(&mut peer.overridden, next) {
            self.override_ends.remove(&(before.until, name.clone()));
        }
        self.override_ends
            .extend(until.map(|until| (until, name.clone())));
        for key in self.paths_of(name) {
            if let Some(path) = self.paths.get_mut(&key) {
                path.set_override(now, kind);
            }
        }
    }
}
