//! Prints lines to stdout without ever blocking the daemon: if the reader is slow or gone, lines
//! are lost, but no verdict is late.

use std::{
    io::Write,
    sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tracing::{info, warn};

/// How many lines can wait for a slow reader.
const QUEUE: usize = 1024;

/// A bounded queue of lines, written by a thread of its own.
#[derive(Debug)]
pub struct Lines {
    /// `None` after the output was closed.
    queue: Option<SyncSender<String>>,
    lost: u64,
}

/// Reports when every line is written.
#[derive(Debug)]
pub struct Written(Receiver<()>);

impl Lines {
    pub fn to(out: impl Write + Send + 'static) -> anyhow::Result<(Self, Written)> {
        let (queue, lines) = sync_channel(QUEUE);
        let (finish, written) = channel();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                write_all(out, lines);
                // The queue is closed by now. It is no error if nobody waits for this.
                let _ = finish.send(());
            })
            .context("cannot start the thread that prints")?;
        let queue = Some(queue);
        Ok((Self { queue, lost: 0 }, Written(written)))
    }

    /// Queues a line. Drops and counts it if the reader is too slow; drops every line once the
    /// output is closed.
    pub fn send(&mut self, line: String) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(line) {
            Ok(()) if self.lost > 0 => {
                warn!(
                    lines = self.lost,
                    "stdout was not read in time: lines were dropped"
                );
                self.lost = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost += 1,
            Err(TrySendError::Disconnected(_)) => {
                info!("stdout is closed: changes are no longer printed");
                self.queue = None;
            }
        }
    }
}

impl Written {
    /// Waits until the lines of a dropped [`Lines`] are written, but no longer than `limit`.
    pub fn wait(self, limit: Duration) {
        // Whether it timed out or not, the program ends now.
        let _ = self.0.recv_timeout(limit);
    }
}

/// Writes and flushes each line, until the queue ends or the output is closed.
fn write_all(mut out: impl Write, lines: Receiver<String>) {
    for line in lines {
        if out
            .write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex, mpsc::Sender},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A closed output, like a pipe without a reader; reports each attempt to write.
    struct Closed(Sender<()>);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output that blocks until it is released.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order() {
        let out = Shared::default();
        let (mut lines, written) = Lines::to(out.clone()).unwrap();
        lines.send("a\n".to_owned());
        lines.send("b\n".to_owned());
        drop(lines);
        written.wait(LONG);
        assert_eq!(*out.0.lock().unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_closed_output_harms_nobody() {
        let (tried, was_tried) = channel();
        let (mut lines, written) = Lines::to(Closed(tried)).unwrap();
        lines.send("a\n".to_owned());
        was_tried.recv().unwrap();
        written.wait(LONG);
        lines.send("b\n".to_owned());
        assert!(lines.queue.is_none());
        lines.send("c\n".to_owned());
    }

    #[test]
    fn a_stuck_output_costs_lines_and_never_blocks() {
        let (release, stuck) = channel();
        let (mut lines, _written) = Lines::to(Stuck(stuck)).unwrap();
        for _ in 0..QUEUE + 10 {
            lines.send("x\n".to_owned());
        }
        // The writer holds at most one line, and the queue holds its capacity.
        assert!((9..=10).contains(&lines.lost), "{}", lines.lost);
        drop(release);
    }
}
