//! Writes a recording on a separate thread. If it cannot write every entry, it ends the recording
//! with a warning: a recording with a gap would show verdicts that never occurred.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;
use thiserror::Error;
use tracing::{info, warn};

use super::{Ending, Entry, Header, Input};
use crate::core::Time;

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
    /// `None` after the recording has ended.
    queue: Option<Sender<Entry>>,
    queued_bytes: Arc<AtomicUsize>,
    queue_bytes: usize,
    path: PathBuf,
    written: Receiver<()>,
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
        let (queue, entries) = channel();
        let (finish, written) = channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let mut output = Output {
            out: BufWriter::new(out),
            written: 0,
            limit: limit_bytes,
            line: Vec::new(),
        };
        output.header(header)?;
        let (queued, to) = (Arc::clone(&queued_bytes), path.to_owned());
        thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || {
                output.run(&entries, &queued, &to);
                // It is no error if nobody waits for this any more.
                let _ = finish.send(());
            })?;
        Ok(Self {
            queue: Some(queue),
            queued_bytes,
            queue_bytes,
            path: path.to_owned(),
            written,
        })
    }

    /// Whether the recording has already ended.
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_none()
    }

    /// Queues an entry, or ends the recording if the queue is full.
    pub(super) fn record(&mut self, entry: Entry) {
        let weight = entry.weight();
        let before = self.queued_bytes.fetch_add(weight, Ordering::Relaxed);
        if before + weight <= self.queue_bytes {
            return self.send(entry);
        }
        warn!(
            recording = %self.path.display(),
            "the disk is slower than the signals: the recording ends here"
        );
        self.end(entry.now, Ending::TooSlow);
    }

    /// Ends the recording, and waits a short time until its last lines are written.
    pub(super) fn finish(mut self, now: Time) {
        self.end(now, Ending::Stopped);
        if self.written.recv_timeout(LAST_LINES).is_err() {
            warn!(recording = %self.path.display(), "the recording lacks its last lines");
        }
    }

    fn end(&mut self, now: Time, ending: Ending) {
        let input = Input::End(ending);
        self.send(Entry { now, input });
        self.queue = None;
    }

    fn send(&mut self, entry: Entry) {
        let Some(queue) = &self.queue else { return };
        if queue.send(entry).is_err() {
            // The thread has ended, and has logged the reason.
            self.queue = None;
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
    fn run(&mut self, entries: &Receiver<Entry>, queued: &AtomicUsize, path: &Path) {
        let recording = path.display();
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => entry,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if let Err(error) = self.out.flush() {
                        return failed(path, &error);
                    }
                    let Ok(entry) = entries.recv() else { break };
                    entry
                }
            };
            queued.fetch_sub(entry.weight(), Ordering::Relaxed);
            match self.entry(&entry) {
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

    /// Writes an entry and returns whether the recording goes on. If the entry does not fit, it
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
