//! What was looked at on this machine, and what it means: an answer of `detector doctor`.

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

impl Check {
    pub fn new(
        name: impl Into<String>,
        status: Status,
        found: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            status,
            found: found.into(),
            meaning: meaning.into(),
        }
    }
}
