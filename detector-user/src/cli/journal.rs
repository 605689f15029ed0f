//! Writes the log to journald by its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>):
//! each field of an event is a field of the entry, `DETECTOR_PEER=…`.
//!
//! The crate `tracing-journald` leaves the fields out of the message, where the reader of
//! `journalctl` would miss the error of a warning.

use std::{
    fmt::{Debug, Write as _},
    io,
    os::unix::net::UnixDatagram,
    path::Path,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

const SOCKET: &str = "/run/systemd/journal/socket";

/// The most bytes of one field; an entry has to fit into one datagram.
const LONGEST: usize = 8192;

#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    pub(super) fn connect() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journal that is busy must not delay a verdict; the entry is lost instead.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        // Without a journal there is nobody to tell.
        let _ = self.0.send(&entry.bytes(event.metadata()));
    }
}

/// One event.
#[derive(Debug, Default)]
struct Entry {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}

impl Entry {
    fn add(&mut self, name: &'static str, value: String) {
        match name {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }

    /// The message as a person reads it, with the fields. A verdict's message says them all.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        if self.fields.iter().all(|(name, _)| *name != "verdict") {
            for (name, value) in &self.fields {
                let _infallible = write!(text, " {name}={value}");
            }
        }
        text
    }

    fn bytes(&self, metadata: &Metadata<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, "MESSAGE", &self.text());
        put(&mut bytes, "PRIORITY", priority(metadata.level()));
        put(&mut bytes, "SYSLOG_IDENTIFIER", "detector");
        put(&mut bytes, "DETECTOR_TARGET", metadata.target());
        for (name, value) in &self.fields {
            let name = format!("DETECTOR_{}", name.to_uppercase().replace('.', "_"));
            put(&mut bytes, &name, value);
        }
        bytes
    }
}

/// A value with its length, so that it may hold anything.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value.as_bytes()[..value.len().min(LONGEST)];
    bytes.extend(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend((value.len() as u64).to_le_bytes());
    bytes.extend(value);
    bytes.push(b'\n');
}

/// Those of syslog(3).
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn an_entry_has_its_fields_and_a_message_that_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let log = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(peer = %"http://a:1", error = "two\nlines", "it failed");
        });
        let mut entry = [0; 4096];
        let length = journald.recv(&mut entry).unwrap();
        let entry = String::from_utf8_lossy(&entry[..length]).into_owned();
        for part in [
            "MESSAGE\n\u{29}\0\0\0\0\0\0\0it failed peer=http://a:1 error=two\nlines\n",
            "PRIORITY\n\u{1}\0\0\0\0\0\0\u{0}4\n",
            "DETECTOR_PEER\n\u{a}\0\0\0\0\0\0\0http://a:1\n",
        ] {
            assert!(entry.contains(part), "{part:?}: {entry:?}");
        }
    }
}
