//! Reads a recording strictly: anything that this version does not know is an error, with its line.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use super::{Ending, Entry, Header, Input, format::FORMAT};
use crate::model::Time;

/// The longest line: a socket snapshot with half a million sockets.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("line {line}: cannot be read: {cause}")]
    Io { line: u64, cause: io::Error },
    #[error("line 1: this is no recording of `detector run --record`: {0}")]
    NoRecording(String),
    #[error(
        "line 1: the recording's format is version {found}, and this detector ({}) reads \
         version {FORMAT}: replay it with the detector that recorded it{}",
        env!("CARGO_PKG_VERSION"), by(.recorder)
    )]
    Version {
        found: u32,
        recorder: Option<String>,
    },
    #[error("line {line}, column {column}: {message}{}", other(.recorder))]
    Line {
        line: u64,
        column: usize,
        message: String,
        recorder: String,
    },
    #[error("line {line}: longer than {} MiB", MAX_LINE_BYTES >> 20)]
    TooLong { line: u64 },
    #[error("line {line}: its time, {now}, is before that of the line above, {before}")]
    Backwards { line: u64, now: u64, before: u64 },
    #[error("line {line}: the recording goes on after its end")]
    AfterEnd { line: u64 },
}

fn by(recorder: &Option<String>) -> String {
    match recorder {
        Some(version) => format!(" ({version})"),
        None => String::new(),
    }
}

/// A note if another version recorded it: that one may know what this one does not.
fn other(recorder: &str) -> String {
    let this = env!("CARGO_PKG_VERSION");
    match recorder == this {
        true => String::new(),
        false => format!(" (recorded by detector {recorder}; this is {this})"),
    }
}

/// Yields the entries of a recording one by one.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
    header: Header,
    last: Time,
    ending: Option<Ending>,
    /// The number of the last line, if it was cut off.
    torn: Option<u64>,
}

#[derive(Debug)]
struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// The number of the line in the buffer, counted from 1.
    number: u64,
}

/// The fields that every version of the header has.
#[derive(Deserialize)]
struct AnyHeader {
    detector_recording: u32,
    detector: Option<String>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut lines = Lines {
            input,
            buffer: Vec::new(),
            number: 0,
        };
        lines.read()?;
        let any: AnyHeader = serde_json::from_slice(&lines.buffer)
            .map_err(|error| ReadError::NoRecording(message(&error)))?;
        if any.detector_recording != FORMAT {
            return Err(ReadError::Version {
                found: any.detector_recording,
                recorder: any.detector,
            });
        }
        let header: Header = lines.parse(any.detector.as_deref().unwrap_or("?"))?;
        Ok(Self {
            lines,
            last: header.now,
            header,
            ending: None,
            torn: None,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` at the end, whose reason [`Self::ending`] then returns.
    pub fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        if !self.lines.read()? {
            return Ok(None);
        }
        let line = self.lines.number;
        if self.ending.is_some() {
            return Err(ReadError::AfterEnd { line });
        }
        let entry: Entry = match self.lines.parse(&self.header.detector) {
            // If the daemon or the machine dies in the middle of a line, half of the line remains.
            Err(_) if !self.lines.buffer.ends_with(b"\n") => {
                self.torn = Some(line);
                return Ok(None);
            }
            entry => entry?,
        };
        if entry.now < self.last {
            return Err(ReadError::Backwards {
                line,
                now: entry.now.as_nanos(),
                before: self.last.as_nanos(),
            });
        }
        self.last = entry.now;
        if let Input::End(ending) = entry.input {
            self.ending = Some(ending);
        }
        Ok(Some(entry))
    }

    /// Why the recording ended; `None` if the file does not say, as after a power cut.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The number of the last line, if that was cut off.
    pub fn torn_line(&self) -> Option<u64> {
        self.torn
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line; returns whether there was one.
    fn read(&mut self) -> Result<bool, ReadError> {
        self.number += 1;
        let line = self.number;
        self.buffer.clear();
        let mut bounded = (&mut self.input).take(MAX_LINE_BYTES);
        let read = bounded
            .read_until(b'\n', &mut self.buffer)
            .map_err(|cause| ReadError::Io { line, cause })?;
        if read as u64 == MAX_LINE_BYTES {
            return Err(ReadError::TooLong { line });
        }
        Ok(read > 0)
    }

    fn parse<T: DeserializeOwned>(&self, recorder: &str) -> Result<T, ReadError> {
        serde_json::from_slice(&self.buffer).map_err(|error| ReadError::Line {
            line: self.number,
            column: error.column(),
            message: message(&error),
            recorder: recorder.to_owned(),
        })
    }
}

/// The message without its place: that would be the place in the line, not in the file.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}
