//! The fields of an event as text: nothing that they say of others begins another line of the log,
//! or reaches a terminal as a command. `tracing_subscriber` itself escapes only messages.

use std::fmt::{self, Debug};

use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt as _,
    fmt::format::{FormatFields, Writer, debug_fn},
};

/// Message first, then `name=value`.
pub(super) fn one_line() -> impl for<'w> FormatFields<'w> + 'static {
    debug_fn(write).delimited(" ")
}

fn write(into: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(into, "{}=", field.name())?;
    }
    // A field that is logged as it is displayed comes as a value whose `Debug` is that.
    for character in format!("{value:?}").chars() {
        match character.is_control() {
            true => write!(into, "{}", character.escape_default())?,
            false => into.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{Layer as _, fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_event_writes_more_than_a_line_or_commands_to_a_terminal() {
        let log = Log::default();
        let written = log.clone();
        let layer = fmt::layer()
            .fmt_fields(one_line())
            .with_ansi(false)
            .with_writer(move || written.clone());
        let subscriber = tracing_subscriber::registry().with(layer.boxed());
        tracing::subscriber::with_default(subscriber, || {
            let peer = "n\n2026-01-01 ERROR all is lost\r\u{1b}[2J\u{9b}31m";
            tracing::warn!(peer, shown = %peer, "of {peer}");
            tracing::info!(n = 1, "next");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let [first, second, ""] = lines[..] else {
            panic!("{text:?}");
        };
        assert!(first.contains(": of n\\n2026-01-01 ERROR"), "{first}");
        assert!(first.contains(" shown=n\\n2026-01-01 ERROR"), "{first}");
        assert!(!first.contains(char::is_control), "{first:?}");
        assert!(second.ends_with(": next n=1"), "{second}");
    }
}
