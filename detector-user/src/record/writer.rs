//! Writes a recording on a separate thread. If it cannot write every entry, it ends the recording
//! with a warning: a recording with a gap would show verdicts that never occurred.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use thiserror::Error;
use tracing::{info, warn};

use super::{Ending, Entry, Header, Input};
use crate::{
    model::Time,
    worker::{Inbox, Worker},
};

/// The most bytes of entries that may wait for the disk in memory.
const QUEUE_BYTES: usize = 32 << 20;

/// Space that is reserved in the file for the last line.
const END_ROOM: u64 = 128;

/// How long writing the last lines may take.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Why no recording was started.
#[derive(Debug, Error)]
pub enum CreateError {
    #[error("{0} is there already, and a recording overwrites nothing: name another file")]
    Exists(PathBuf),
    #[error("cannot create the recording {path}: {cause}")]
    Create { path: PathBuf, cause: io::Error },
    #[error("cannot begin the recording {path}: {cause}")]
    Begin { path: PathBuf, cause: io::Error },
}

/// Accepts entries without ever waiting for the disk.
#[derive(Debug)]
pub struct Recorder {
    worker: Worker<Queue>,
    queue_bytes: usize,
    path: PathBuf,
    is_over: bool,
}

/// The entries that wait for the disk.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.weight();
        self.entries.push_back(entry);
    }

    fn pop(&mut self) -> Option<Arc<Entry>> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.weight();
        Some(entry)
    }
}

impl Recorder {
    /// Starts a recording in a new file. Only its owner may read it, because it contains addresses.
    pub fn create(path: &Path, limit_bytes: u64, header: &Header) -> Result<Self, CreateError> {
        let create = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AlreadyExists => CreateError::Exists(path.to_owned()),
            _ => CreateError::Create {
                path: path.to_owned(),
                cause,
            },
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(create)?;
        let begin = |cause| CreateError::Begin {
            path: path.to_owned(),
            cause,
        };
        Self::to(file, path, limit_bytes, QUEUE_BYTES, header).map_err(begin)
    }

    pub(super) fn to(
        out: impl Write + Send + 'static,
        path: &Path,
        limit_bytes: u64,
        queue_bytes: usize,
        header: &Header,
    ) -> io::Result<Self> {
        let mut output = Output {
            out: BufWriter::new(out),
            written: 0,
            limit: limit_bytes,
            line: Vec::new(),
        };
        output.header(header)?;
        let to = path.to_owned();
        let worker = Worker::optional("record", Inbox::new(Queue::default()), move |entries| {
            output.run(entries, &to);
            Ok::<_, Infallible>(())
        })?;
        Ok(Self {
            worker,
            queue_bytes,
            path: path.to_owned(),
            is_over: false,
        })
    }

    /// Whether the recording has already ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Queues an entry, or ends the recording if the queue is full.
    pub(super) fn record(&mut self, entry: Arc<Entry>) {
        let (now, weight) = (entry.now, entry.weight());
        let fits = self.worker.inbox().put(|queue| {
            let fits = queue.bytes + weight <= self.queue_bytes;
            if fits {
                queue.push(entry);
            }
            fits
        });
        // A thread that has ended has said why.
        self.is_over |= self.worker.inbox().has_ended();
        if !fits && !self.is_over {
            warn!(
                recording = %self.path.display(),
                "the disk is slower than the signals: the recording ends here"
            );
            self.end(now, Ending::TooSlow);
        }
    }

    /// Ends the recording, and waits a short time until its last lines are written.
    pub(super) fn finish(mut self, now: Time) {
        self.end(now, Ending::Stopped);
        if !self.worker.finish(LAST_LINES) {
            warn!(recording = %self.path.display(), "the recording lacks its last lines");
        }
    }

    fn end(&mut self, now: Time, ending: Ending) {
        if !self.is_over {
            let input = Input::End(ending);
            self.worker
                .inbox()
                .put(|queue| queue.push(Arc::new(Entry { now, input })));
            self.is_over = true;
        }
    }
}

struct Output<W: Write> {
    out: BufWriter<W>,
    written: u64,
    limit: u64,
    /// A buffer that is reused for each line.
    line: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Writes each entry until the end, and flushes whenever the queue is empty.
    fn run(&mut self, entries: &Inbox<Queue>, path: &Path) {
        let recording = path.display();
        loop {
            let entry = match entries.take(Queue::pop) {
                Some(entry) => entry,
                None => {
                    if let Err(error) = self.out.flush() {
                        return failed(path, &error);
                    }
                    let Some(entry) = entries.wait(Queue::pop) else {
                        break;
                    };
                    entry
                }
            };
            match self.entry(&entry) {
                Ok(true) if matches!(entry.input, Input::End(_)) => break,
                Ok(true) => {}
                Ok(false) => {
                    warn!(%recording, bytes = self.written, "the recording has reached its limit and ends here");
                    break;
                }
                Err(error) => return failed(path, &error),
            }
        }
        match self.out.flush() {
            Ok(()) => info!(%recording, bytes = self.written, "recorded"),
            Err(error) => failed(path, &error),
        }
    }

    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.render(header)?;
        self.put()?;
        self.out.flush()
    }

    /// Writes an entry and returns whether the recording continues. If the entry does not fit, it
    /// writes the ending instead.
    fn entry(&mut self, entry: &Entry) -> io::Result<bool> {
        self.render(entry)?;
        let room = self.limit.saturating_sub(self.written);
        let fits = self.line.len() as u64 + END_ROOM <= room;
        // Space for the ending is reserved.
        let goes_on = fits || matches!(entry.input, Input::End(_));
        if !goes_on {
            let input = Input::End(Ending::Limit);
            self.render(&Entry {
                now: entry.now,
                input,
            })?;
        }
        self.put()?;
        Ok(goes_on)
    }

    fn render(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        Ok(())
    }

    fn put(&mut self) -> io::Result<()> {
        self.out.write_all(&self.line)?;
        self.written += self.line.len() as u64;
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) {
    warn!(
        recording = %path.display(),
        %error,
        "the recording cannot be written and ends here; the daemon goes on"
    );
}
