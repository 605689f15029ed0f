//! Sends packets, and decides whether they arrive.

use detector_user::model::Time;

use super::World;
use crate::wire::{Frame, Way};

impl World {
    /// A frame sets out; `None` when it does not arrive.
    pub(super) fn carry(&mut self, host: usize, way: Way, frame: Frame) -> Option<Time> {
        if self.own_link_down > 0 || self.own_switch_down > 0 {
            return None;
        }
        let Self {
            hosts, rng, now, ..
        } = self;
        hosts[host].wire.carry(*now, way, frame, rng)
    }

    /// The same for a segment with this many bytes of data on this flow.
    pub(super) fn carry_segment(&mut self, flow: usize, way: Way, size: u32) -> Option<Time> {
        let entry = &self.flows[flow];
        let host = entry.host;
        let forgotten = entry.hole.is_some_and(|ways| match way {
            Way::Out => ways.out(),
            Way::Back => ways.back(),
        });
        let misled = self.hosts[host].wire.condition.path_lost && entry.is_misled();
        let arrives = self.carry(host, way, Frame::Segment(size));
        arrives.filter(|_| !forgotten && !misled)
    }
}
