//! What a ticket about a peer needs from the daemon, as a stream of pieces.

use std::{io, sync::Arc};

use detector_api::v1::{self, get_diagnostics_response::Part};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{config, process::Process, record::Excerpt, serve::Diagnostics};

/// What an administrator may do with it.
pub(super) const READ: &str = "read the recording of the last minute";

/// How many clients are answered at once: each holds the recordings in memory.
const AT_ONCE: usize = 2;

/// How many bytes of a recording are sent at a time.
const PIECE: usize = 64 << 10;

/// How many pieces wait for a client that does not read.
const READY: usize = 4;

type Answer = Result<v1::GetDiagnosticsResponse, Status>;

/// The places for clients that are answered.
#[derive(Clone, Debug)]
pub(super) struct Diagnosing(Arc<Semaphore>);

impl Default for Diagnosing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Diagnosing {
    /// A place, until it is dropped.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{AT_ONCE} reports are being made; try again when they are done"
            ))
        })
    }
}

/// Writes the recordings on a thread of its own: that takes longer than other clients may wait. It
/// ends with its client, or with the server.
pub(super) fn stream(found: Diagnostics, place: OwnedSemaphorePermit) -> ReceiverStream<Answer> {
    let (sender, receiver) = mpsc::channel(READY);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        // A client that has gone is no error.
        let _ = send(&found, &sender);
    });
    ReceiverStream::new(receiver)
}

fn send(found: &Diagnostics, to: &mpsc::Sender<Answer>) -> io::Result<()> {
    give(to, Part::Daemon(daemon(found)))?;
    pieces(&found.recent, to, Part::Recording)?;
    match &found.death {
        Some(death) => pieces(death, to, Part::Death),
        None => Ok(()),
    }
}

fn daemon(found: &Diagnostics) -> v1::DaemonInfo {
    let pid = std::process::id();
    let service = Process::find(pid).map(|this| this.service());
    v1::DaemonInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid,
        service: service.unwrap_or_default(),
        config: config::to_toml(&found.config),
    }
}

fn give(to: &mpsc::Sender<Answer>, part: Part) -> io::Result<()> {
    let answer = v1::GetDiagnosticsResponse { part: Some(part) };
    let sent = to.blocking_send(Ok(answer));
    sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn pieces(
    excerpt: &Excerpt,
    to: &mpsc::Sender<Answer>,
    part: fn(Vec<u8>) -> Part,
) -> io::Result<()> {
    let pieces = Pieces { to, part };
    let mut out = io::BufWriter::with_capacity(PIECE, pieces);
    excerpt.write(&mut out)?;
    io::Write::flush(&mut out)
}

struct Pieces<'a> {
    to: &'a mpsc::Sender<Answer>,
    part: fn(Vec<u8>) -> Part,
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        give(self.to, (self.part)(piece.to_vec()))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
