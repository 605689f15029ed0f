//! Recordings: all inputs of the core, so that they can be run through it again.
//!
//! The core is pure: the same inputs at the same times give the same verdicts. So a file of its
//! inputs shows what happened on another machine, and what other settings would have changed.
//!
//! ```text
//!   driver ─▶ Taped ─▶ Detector
//!               ├─ copy ─▶ Recent (the last minute) ─▶ Excerpt
//!               └─ copy ─▶ Recorder ─bounded queue─▶ thread ─▶ FILE ─▶ Reader ─▶ Replay ─▶ Detector
//! ```
//!
//! The file is JSON Lines: a [`Header`], then an [`Entry`] for each input, then an [`Ending`]. It
//! is read strictly, because a misread recording is worse than none.

mod before;
mod ending;
mod format;
mod questions;
mod reader;
mod recent;
mod replay;
mod taped;
#[cfg(test)]
mod tests;
mod writer;

pub use self::{
    ending::Ending,
    format::{Entry, Header, Input},
    reader::{ReadError, Reader},
    recent::{Excerpt, RECENT, RECENT_BYTES, Recent},
    replay::{Replay, Summary, Timeouts},
    taped::Taped,
    writer::{CreateError, Recorder},
};
