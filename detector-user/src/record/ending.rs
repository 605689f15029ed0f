//! Why recordings end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a recording ends. It is the last line of the file, unless the recording breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// The daemon stopped.
    Stopped,
    /// The file reached its limit.
    Limit,
    /// The disk was slower than the signals.
    TooSlow,
    /// It was copied out of a daemon that went on.
    Copied,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the daemon was stopped",
            Self::Limit => "the file had reached its limit (--record-limit)",
            Self::TooSlow => "the disk was slower than the signals",
            Self::Copied => "it was copied out of the running daemon (detector report)",
        })
    }
}
