//! The work of the observer's program on its connections.

use std::time::Duration;

use crate::ticks::ms;

/// Bytes of data in a full segment.
pub const MSS: u32 = 1448;

/// What the observer's program does on one connection, again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub kind: Kind,
    pub every: Duration,
    /// Bytes of data in each segment that is sent.
    pub size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Sends this many segments, which only ACKs answer.
    Upload { segments: u64 },
    /// Sends this many segments, which are answered with a reply.
    Calls { segments: u64, reply: Duration },
    /// The peer sends.
    Download,
    /// Nothing.
    Idle,
    /// Connects, and closes again.
    Dials,
}

impl Work {
    pub const UPLOAD: Self = Self {
        kind: Kind::Upload { segments: 8 },
        every: ms(10),
        size: MSS,
    };
    /// One segment at a time.
    pub const TRICKLE: Self = Self {
        kind: Kind::Upload { segments: 1 },
        every: ms(50),
        size: 600,
    };
    /// More than the windows hold.
    pub const BULK: Self = Self {
        kind: Kind::Upload { segments: 60 },
        every: ms(200),
        size: MSS,
    };
    pub const CALLS: Self = Self {
        kind: Kind::Calls {
            segments: 1,
            reply: ms(1),
        },
        every: ms(100),
        size: MSS,
    };
    /// Requests that fit into any frame.
    pub const SMALL: Self = Self {
        size: 200,
        ..Self::CALLS
    };
    /// A call that takes long to answer.
    pub const WAITING: Self = Self {
        kind: Kind::Calls {
            segments: 2,
            reply: Duration::from_secs(20),
        },
        every: Duration::from_secs(30),
        size: MSS,
    };
    pub const PING: Self = Self {
        kind: Kind::Calls {
            segments: 1,
            reply: ms(0),
        },
        every: Duration::from_secs(10),
        size: 17,
    };
    pub const DOWNLOAD: Self = Self {
        kind: Kind::Download,
        every: ms(20),
        size: MSS,
    };
    pub const IDLE: Self = Self {
        kind: Kind::Idle,
        every: Duration::from_secs(3600),
        size: MSS,
    };
    pub const DIALS: Self = Self {
        kind: Kind::Dials,
        every: Duration::from_secs(2),
        size: MSS,
    };
    pub const ALL: [Self; 10] = [
        Self::UPLOAD,
        Self::TRICKLE,
        Self::BULK,
        Self::CALLS,
        Self::SMALL,
        Self::WAITING,
        Self::PING,
        Self::DOWNLOAD,
        Self::IDLE,
        Self::DIALS,
    ];
}
