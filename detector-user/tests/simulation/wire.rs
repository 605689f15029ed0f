//! The path between the observer and one host: loss, bursts of loss, delay, and cuts.

use std::time::Duration;

use detector_user::model::Time;

use crate::{rng::Rng, ticks::us};

/// Which way a packet goes, seen from the observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Out,
    Back,
}

/// What is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// ARP or ND.
    Link,
    /// A segment with this many bytes of data.
    Segment(u32),
}

/// The current faults of a wire; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    pub cut_out: bool,
    pub cut_back: bool,
    /// The same for IP alone: ARP and ND pass.
    pub deaf_out: bool,
    pub deaf_back: bool,
    /// Segments with more data than this are lost.
    pub large_lost: Option<u32>,
    /// One of four paths loses everything.
    pub path_lost: bool,
    /// Probability that a packet is lost, each by itself.
    pub loss: f64,
    pub bursts: Option<Bursts>,
    /// Delay that is added to every packet.
    pub delay: Duration,
    /// Delay that is added to each packet anew, up to this.
    pub jitter: Duration,
    /// Probability that a packet is held back for a few others to overtake it.
    pub reorder: f64,
}

/// Loss that comes in bursts, after Gilbert and Elliott, with states that last for a time
/// rather than a number of packets: a congested queue does not wait for the next packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// The longest burst.
    pub bad: Duration,
    /// Probability of loss while one lasts.
    pub loss: f64,
}

impl Condition {
    /// Either way of IP is gone.
    pub fn is_cut(&self) -> bool {
        self.is_link_cut() || self.deaf_out || self.deaf_back
    }

    pub fn is_link_cut(&self) -> bool {
        self.cut_out || self.cut_back
    }

    /// What the host sends by itself arrives, but nothing that is sent to it does.
    pub fn is_heard_only(&self) -> bool {
        (self.cut_out || self.deaf_out) && !self.cut_back && !self.deaf_back
    }

    fn drops(&self, way: Way, frame: Frame) -> bool {
        let (cut, deaf) = match way {
            Way::Out => (self.cut_out, self.deaf_out),
            Way::Back => (self.cut_back, self.deaf_back),
        };
        let lost = match frame {
            Frame::Link => false,
            Frame::Segment(size) => deaf || self.large_lost.is_some_and(|over| size > over),
        };
        cut || lost
    }

    pub fn is_clear(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug)]
pub struct Wire {
    /// One way.
    pub base: Duration,
    pub condition: Condition,
    bad: bool,
    until: Time,
}

impl Wire {
    pub fn new(base: Duration) -> Self {
        Self {
            base,
            condition: Condition::default(),
            bad: false,
            until: Time::default(),
        }
    }

    pub fn round_trip(&self) -> Duration {
        (self.base + self.condition.delay) * 2
    }

    /// When a packet that is sent now arrives; `None` when it does not.
    pub fn carry(&mut self, now: Time, way: Way, frame: Frame, rng: &mut Rng) -> Option<Time> {
        let cut = self.condition.drops(way, frame);
        let Condition {
            loss,
            bursts,
            delay,
            jitter,
            reorder,
            ..
        } = self.condition;
        let in_burst = bursts.is_some_and(|bursts| {
            self.advance(now, bursts, rng);
            self.bad && rng.chance(bursts.loss)
        });
        if cut || in_burst || rng.chance(loss) {
            return None;
        }
        let mut takes = self.base + delay + rng.between(Duration::ZERO, jitter);
        if rng.chance(reorder) {
            takes += rng.between(us(100), us(3000));
        }
        Some(now + takes)
    }

    /// Good states last two to six times as long as the longest bad one, so that less than a
    /// fifth of the time is bad.
    fn advance(&mut self, now: Time, bursts: Bursts, rng: &mut Rng) {
        if now.since(self.until) > bursts.bad * 100 {
            // The wire was not used for a long time.
            (self.bad, self.until) = (false, now);
        }
        while self.until <= now {
            self.bad = !self.bad;
            let lasts = if self.bad {
                rng.between(Duration::ZERO, bursts.bad)
            } else {
                rng.between(bursts.bad * 2, bursts.bad * 6)
            };
            self.until = self.until + lasts.max(us(1));
        }
    }
}
