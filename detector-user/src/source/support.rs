//! What this kernel and these privileges allow, as typed answers: `detector doctor` prints
//! them, and a source that cannot start says the same.

/// How well something that the daemon wants is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As wanted.
    Ok,
    /// Works, with less evidence or more cost.
    Degraded,
    /// Not to be had; what depends on it is off.
    Missing,
}

impl Status {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, as in `tracepoint tcp:tcp_retransmit_skb`.
    pub name: String,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What it means for the operator, and what to do where something can be done.
    pub meaning: String,
}

/// What is here, in the order in which it matters.
pub fn checks() -> Vec<Check> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    vec![Check {
        name: "kernel version".to_owned(),
        status: release.as_ref().map_or(Status::Missing, |_| Status::Ok),
        found: release.map_or_else(|e| e.to_string(), |release| release.trim().to_owned()),
        meaning: "5.10 and later are supported.".to_owned(),
    }]
}
