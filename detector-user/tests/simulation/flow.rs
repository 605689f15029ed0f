//! One connection of the observer's program: both ends, and the work on it.
//!
//! While its host sleeps (there is no fault, and there was none recently), none of its packets is
//! simulated: its work is regular, so its progress can be computed.

use std::time::Duration;

use detector_user::model::Time;

use crate::{
    script::{Kind, Ways, Work},
    tcp::{Phase, Receiver, Sender},
    ticks::ms,
};

/// `TCP_DELACK_MIN` (include/net/tcp.h).
pub const DELAYED_ACK: Duration = ms(40);

/// Where there are several paths, the port decides for one.
pub const PATHS: u16 = 4;

#[derive(Clone, Debug)]
pub struct Flow {
    pub host: usize,
    pub work: Work,
    pub sender: Sender,
    pub receiver: Receiver,
    /// Events of another epoch are about what is no more.
    pub epoch: u32,
    /// The life of the peer's program that the connection belongs to.
    pub life: u32,
    /// When the program does its work next.
    pub next: Time,
    /// Segments of a request up to which replies were sent for.
    pub replied: u64,
    /// What the program sent last has arrived once, whether it knows that or not.
    pub reply_arrived: bool,
    /// For when an event is queued that looks at the sender's timer.
    pub timer_queued: Option<Time>,
    pub delayed_ack_queued: bool,
    /// Something on the way has forgotten the connection.
    pub hole: Option<Ways>,
}

impl Flow {
    /// Work that was begun and answered by now, as arithmetic; only while the host sleeps.
    pub fn sync(&mut self, now: Time, round_trip: Duration) {
        if self.sender.phase != Phase::Open {
            return;
        }
        let Some((segments, takes)) = self.exchange(round_trip) else {
            return;
        };
        let first_done = self.next + takes;
        if first_done > now {
            return;
        }
        let every = self.work.every.as_nanos() as u64;
        let whole = now.since(first_done).as_nanos() as u64 / every;
        let last = first_done + Duration::from_nanos(whole * every);
        self.sender.advance(segments * (whole + 1), last);
        if matches!(self.work.kind, Kind::Calls { .. }) {
            self.sender.data_arrived(last);
        }
        self.receiver.catch_up(self.sender.una);
        self.replied = self.sender.una;
        self.next = self.next + Duration::from_nanos((whole + 1) * every);
    }

    /// Whether it sends so often that something is in flight or about to be.
    pub fn is_busy(&self) -> bool {
        let sends = match self.work.kind {
            Kind::Upload { .. } => true,
            Kind::Calls { .. } => self.work.every <= ms(100),
            Kind::Download | Kind::Idle | Kind::Dials => false,
        };
        sends && self.sender.phase == Phase::Open
    }

    /// Where there are several paths to its host, it takes the first.
    pub fn is_misled(&self) -> bool {
        self.sender.id.local.port().is_multiple_of(PATHS)
    }

    /// Bytes of data in what the peer sends.
    pub fn reply_size(&self) -> u32 {
        match self.work.kind {
            Kind::Download => self.work.size,
            _ => 100,
        }
    }

    /// Segments of one piece of work, and how long it takes until the answer is here.
    fn exchange(&self, round_trip: Duration) -> Option<(u64, Duration)> {
        match self.work.kind {
            Kind::Upload { segments } if segments % 2 == 1 => {
                Some((segments, round_trip + DELAYED_ACK))
            }
            Kind::Upload { segments } => Some((segments, round_trip)),
            Kind::Calls { segments, reply } => Some((segments, round_trip + reply)),
            Kind::Download => Some((0, Duration::ZERO)),
            Kind::Idle | Kind::Dials => None,
        }
    }

    /// Whether, as its host wakes, a request has been acknowledged and its reply is still to
    /// come: since when the acknowledgement is here, and when the reply is due.
    pub fn awaiting(&mut self, now: Time, round_trip: Duration) -> Option<Time> {
        let Kind::Calls { segments, reply } = self.work.kind else {
            return None;
        };
        let delay = if segments % 2 == 1 {
            DELAYED_ACK
        } else {
            Duration::ZERO
        };
        let acked = self.next + round_trip + delay;
        if acked > now || reply <= delay {
            return None;
        }
        self.sender.advance(segments, acked);
        self.receiver.catch_up(self.sender.una);
        self.replied = self.sender.una;
        let due = self.next + round_trip / 2 + reply;
        self.next = self.next + self.work.every;
        Some(due)
    }
}
