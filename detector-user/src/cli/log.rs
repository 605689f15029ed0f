//! The log: in which form, where to, and how much of it.

mod fields;

use std::{
    env,
    io::{self, IsTerminal as _},
    os::fd::AsFd,
};

use anyhow::Context as _;
use nix::sys::stat::fstat;
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use super::journal::Journal;
use crate::{config::LogFormat, driver::SetLog};

/// Starts the log; what is logged can be set later.
pub(super) fn start(filter: &str, format: LogFormat) -> anyhow::Result<SetLog> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let text = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Otherwise it would report a closed stderr to stderr, and panic.
        .log_internal_errors(false);
    let output = match format {
        LogFormat::Json => text.json().flatten_event(true).boxed(),
        LogFormat::Journald => journal()?.boxed(),
        LogFormat::Auto if is_journal() => journal()?.boxed(),
        LogFormat::Auto | LogFormat::Text => text.fmt_fields(fields::one_line()).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(output)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    Ok(Box::new(move |filter| {
        handle.reload(parse(filter)?).context("cannot set the log")
    }))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("log: {filter:?} is no filter"))
}

fn journal() -> anyhow::Result<Journal> {
    Journal::connect().context("cannot reach journald; log_format = \"text\" does without it")
}

/// Whether stderr is the journal: systemd names its device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|named| is_file(&named, &io::stderr()))
}

fn is_file(named: &str, file: &impl AsFd) -> bool {
    fstat(file).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let named = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_file(&named, &file));
        assert!(!is_file(&format!("{named}1"), &file));
        assert!(!is_file("", &file));
    }
}
