//! The faults that may occur, alone or with others.

use std::time::Duration;

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
    /// Its kernel hears no IP, or what it says is lost, or both; its card answers ARP and ND all
    /// the same: a firewall that drops, a kernel that hangs, a wrong filter on the way.
    Deaf {
        host: usize,
        ways: Ways,
    },
    /// Segments with more data than this are lost on the way to it and back.
    LargeLost {
        host: usize,
        over: u32,
    },
    /// One of its connections is forgotten by something on the way, for good; the next one works.
    FlowHole {
        host: usize,
        nth: usize,
        ways: Ways,
    },
    /// One of four paths to it loses everything; ports decide who goes which way.
    PathLost {
        host: usize,
    },
    /// Something on this node's side answers ARP for it, whether it is there or not.
    Proxied {
        host: usize,
    },
    /// Another card has taken its address by gratuitous ARP, and gets what is sent to it.
    Usurped {
        host: usize,
    },
    /// The same of the gateway.
    GatewayUsurped,
    /// New connections to it are dropped, all or but a few (a full conntrack table, a SYN limit);
    /// those that are established work.
    SynsDropped {
        host: usize,
        limit: bool,
    },
    /// This node's own conntrack table is full: no new connection leaves it.
    OwnSyns,
    /// Its machine stands still, as in a live migration; something may answer for its card.
    Frozen {
        host: usize,
        card: bool,
    },
    /// The daemon ends and is restarted at once; this takes no time.
    Daemon,
    OwnLink,
    OwnSwitch,
    Gateway,
    /// The observer's machine is paused; its clock runs on.
    Pause,
    /// The daemon does not run; the kernel does.
    Starve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    Both,
    Out,
    Back,
}

impl Fault {
    /// Whether this node itself has the fault; then other hosts' states cannot be judged by what
    /// arrives.
    pub fn is_own(&self) -> bool {
        let gateway = matches!(self, Self::Gateway | Self::GatewayUsurped);
        self.host().is_none() && !gateway
    }

    /// The host that the fault is about; `None` if it is about all of them.
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
            | Self::Deaf { host, .. }
            | Self::LargeLost { host, .. }
            | Self::FlowHole { host, .. }
            | Self::PathLost { host }
            | Self::Proxied { host }
            | Self::Usurped { host }
            | Self::SynsDropped { host, .. }
            | Self::Frozen { host, .. }
            | Self::Stop { host, .. }
            | Self::SlowDisk { host, .. }
            | Self::Reports { host, .. } => Some(host),
            Self::GatewayUsurped
            | Self::OwnSyns
            | Self::Daemon
            | Self::OwnLink
            | Self::OwnSwitch
            | Self::Gateway
            | Self::Pause
            | Self::Starve => None,
        }
    }
}

impl Ways {
    pub fn out(self) -> bool {
        self != Self::Back
    }

    pub fn back(self) -> bool {
        self != Self::Out
    }
}
