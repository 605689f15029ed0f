//! What a run does: hosts, their work, settings, and a list of timed faults.

use std::time::Duration;

use detector_user::core::Settings;

use crate::ticks::ms;

/// Everything that a run depends on: the same script gives the same run.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub scenario: &'static str,
    pub length: Duration,
    pub settings: Settings,
    pub hosts: Vec<HostSpec>,
    /// Whether the observer knows a gateway, also where nobody is behind it.
    pub gateway: bool,
    pub faults: Vec<Timed>,
}

/// One peer of the observer.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// One way to it.
    pub distance: Duration,
    /// Behind the gateway.
    pub routed: bool,
    /// A closed port is not answered by a reset.
    pub firewalled: bool,
    /// Connects that its kernel takes while the program does not.
    pub backlog: u32,
    /// Segments that its kernel takes while the program does not.
    pub window: u32,
    pub work: Vec<Work>,
}

/// What the observer's program does on one connection, again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub kind: Kind,
    pub every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Sends so many segments that nothing but an ACK answers.
    Upload { segments: u64 },
    /// Sends so many segments, which are replied to.
    Calls { segments: u64, reply: Duration },
    /// The peer sends.
    Download,
    /// Nothing.
    Idle,
    /// Connects, and closes again.
    Dials,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// From the start of the run.
    pub at: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Loss {
        host: usize,
        percent: u32,
    },
    Bursts {
        host: usize,
        longest: Duration,
    },
    Jitter {
        host: usize,
        most: Duration,
    },
    Reorder {
        host: usize,
        percent: u32,
    },
    Delay {
        host: usize,
        by: Duration,
    },
    Cut {
        host: usize,
        ways: Ways,
    },
    /// Cut for `down`, whole for `up`, over and over.
    Flaps {
        host: usize,
        down: Duration,
        up: Duration,
    },
    /// Power goes, and comes back; the program starts a while after its kernel.
    PowerOff {
        host: usize,
        start: Duration,
    },
    /// The program is killed, and starts again.
    Restart {
        host: usize,
    },
    /// The program is stopped (SIGSTOP); its kernel may run out of memory early.
    Stop {
        host: usize,
        prunes: bool,
    },
    /// Replies take so much longer.
    SlowDisk {
        host: usize,
        by: Duration,
    },
    /// The observer's programs report that calls to it fail, whether they do or not, and now and
    /// then one that does not.
    Reports {
        host: usize,
        every: Duration,
    },
    OwnLink,
    OwnSwitch,
    Gateway,
    /// The observer's machine stands still; its clock does not.
    Pause,
    /// The daemon is not run; the kernel is.
    Starve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    Both,
    Out,
    Back,
}

impl Fault {
    /// Which host it is about; none where it is about all of them.
    pub fn host(&self) -> Option<usize> {
        match *self {
            Self::Loss { host, .. }
            | Self::Bursts { host, .. }
            | Self::Jitter { host, .. }
            | Self::Reorder { host, .. }
            | Self::Delay { host, .. }
            | Self::Cut { host, .. }
            | Self::Flaps { host, .. }
            | Self::PowerOff { host, .. }
            | Self::Restart { host }
            | Self::Stop { host, .. }
            | Self::SlowDisk { host, .. }
            | Self::Reports { host, .. } => Some(host),
            Self::OwnLink | Self::OwnSwitch | Self::Gateway | Self::Pause | Self::Starve => None,
        }
    }
}

impl Script {
    /// Nodes of the cluster times its length.
    pub fn node_hours(&self) -> f64 {
        (self.hosts.len() + 1) as f64 * self.length.as_secs_f64() / 3600.0
    }
}

impl HostSpec {
    /// A host on the same switch with this work.
    pub fn near(work: &[Work]) -> Self {
        Self {
            distance: Duration::from_micros(50),
            routed: false,
            firewalled: false,
            backlog: 128,
            window: 64,
            work: work.to_vec(),
        }
    }
}

impl Work {
    pub const UPLOAD: Self = Self {
        kind: Kind::Upload { segments: 8 },
        every: ms(10),
    };
    /// One segment at a time.
    pub const TRICKLE: Self = Self {
        kind: Kind::Upload { segments: 1 },
        every: ms(50),
    };
    /// More than the windows hold.
    pub const BULK: Self = Self {
        kind: Kind::Upload { segments: 60 },
        every: ms(200),
    };
    pub const CALLS: Self = Self {
        kind: Kind::Calls {
            segments: 1,
            reply: ms(1),
        },
        every: ms(100),
    };
    /// A call that takes long to answer.
    pub const WAITING: Self = Self {
        kind: Kind::Calls {
            segments: 2,
            reply: Duration::from_secs(20),
        },
        every: Duration::from_secs(30),
    };
    pub const PING: Self = Self {
        kind: Kind::Calls {
            segments: 1,
            reply: ms(0),
        },
        every: Duration::from_secs(10),
    };
    pub const DOWNLOAD: Self = Self {
        kind: Kind::Download,
        every: ms(20),
    };
    pub const IDLE: Self = Self {
        kind: Kind::Idle,
        every: Duration::from_secs(3600),
    };
    pub const DIALS: Self = Self {
        kind: Kind::Dials,
        every: Duration::from_secs(2),
    };
    pub const ALL: [Self; 9] = [
        Self::UPLOAD,
        Self::TRICKLE,
        Self::BULK,
        Self::CALLS,
        Self::WAITING,
        Self::PING,
        Self::DOWNLOAD,
        Self::IDLE,
        Self::DIALS,
    ];
}
