//! Prints lines to stdout without ever blocking the daemon: if the reader is slow or gone, lines
//! are lost, but no verdict is late.

use std::{collections::VecDeque, convert::Infallible, io::Write, time::Duration};

use tracing::{info, warn};

use crate::{
    text::printable,
    worker::{Inbox, Worker},
};

/// How many lines can wait for a slow reader.
const QUEUE: usize = 1024;

/// How long the last lines may take to be read.
const LAST_LINES: Duration = Duration::from_millis(200);

/// A bounded queue of lines, written by a thread of its own. Dropping it waits a little until the
/// last of them are written.
#[derive(Debug)]
pub struct Lines {
    /// Gone once the output is closed.
    worker: Option<Worker<VecDeque<String>>>,
    lost: u64,
}

impl Lines {
    pub fn to(mut out: impl Write + Send + 'static) -> anyhow::Result<Self> {
        let worker = Worker::optional("stdout", Inbox::new(VecDeque::new()), move |lines| {
            write_all(&mut out, lines);
            Ok::<_, Infallible>(())
        });
        Ok(Self {
            worker: Some(worker?),
            lost: 0,
        })
    }

    /// Queues a line. Drops and counts it if the reader is too slow; drops every line once the
    /// output is closed.
    pub fn send(&mut self, line: String) {
        let Some(worker) = &self.worker else { return };
        if worker.inbox().has_ended() {
            info!("stdout is closed: changes are no longer printed");
            self.worker = None;
        } else if !worker.inbox().put(|lines| queue(lines, line)) {
            self.lost += 1;
        } else if self.lost > 0 {
            warn!(
                lines = self.lost,
                "stdout was not read in time: lines were dropped"
            );
            self.lost = 0;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            // Too late or never: either way the program ends now.
            worker.finish(LAST_LINES);
        }
    }
}

/// Adds a line if there is room for it.
fn queue(lines: &mut VecDeque<String>, line: String) -> bool {
    let has_room = lines.len() < QUEUE;
    lines.extend(has_room.then_some(line));
    has_room
}

/// Writes each line and flushes it, until there are no more or the output is closed.
fn write_all(out: &mut impl Write, lines: &Inbox<VecDeque<String>>) {
    while let Some(line) = lines.wait(VecDeque::pop_front) {
        let written = out.write_all(printable(&line).as_bytes());
        if written.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc, Mutex,
            mpsc::{Receiver, Sender, channel},
        },
    };

    use super::*;

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
        let mut lines = Lines::to(out.clone()).unwrap();
        lines.send("a\n".to_owned());
        lines.send("b\n".to_owned());
        // Waits for longer than dropping it does.
        assert!(lines.worker.take().unwrap().finish(Duration::from_secs(60)));
        assert_eq!(*out.0.lock().unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_closed_output_harms_nobody() {
        let (tried, was_tried) = channel();
        let mut lines = Lines::to(Closed(tried)).unwrap();
        lines.send("a\n".to_owned());
        was_tried.recv().unwrap();
        while !lines.worker.as_ref().unwrap().inbox().has_ended() {
            std::thread::yield_now();
        }
        lines.send("b\n".to_owned());
        assert!(lines.worker.is_none());
        lines.send("c\n".to_owned());
    }

    #[test]
    fn a_stuck_output_costs_lines_and_never_blocks() {
        let (release, stuck) = channel();
        let mut lines = Lines::to(Stuck(stuck)).unwrap();
        for _ in 0..QUEUE + 10 {
            lines.send("x\n".to_owned());
        }
        // The writer holds at most one line, and the queue holds its capacity.
        assert!((9..=10).contains(&lines.lost), "{}", lines.lost);
        drop(release);
    }
}
