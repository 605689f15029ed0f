//! One check of this machine, with its result and meaning: a line of `detector doctor`.

use std::fmt::Display;

use serde::Serialize;

/// How well this machine supports something that the daemon needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Fully supported.
    Ok,
    /// It works, but with less evidence or at higher cost.
    Degraded,
    /// Not available; what depends on it is off.
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

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, as in `tracepoint tcp:tcp_retransmit_skb`.
    pub name: String,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What it means for the operator, and what to do if something can be done.
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

    /// A check that found something, or failed with an error; each with its own meaning.
    pub fn tried(
        name: impl Into<String>,
        found: Result<impl Into<String>, impl Display>,
        meaning: &str,
        (without, lost): (Status, &str),
    ) -> Self {
        match found {
            Ok(found) => Self::new(name, Status::Ok, found, meaning),
            Err(error) => Self::new(name, without, error.to_string(), lost),
        }
    }
}
