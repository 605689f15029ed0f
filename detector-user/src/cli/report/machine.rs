//! What this machine says: the journal of the daemon's unit, and the versions.

use std::{
    fs,
    io::{self, Read as _},
    process::{Command, Stdio},
};

use detector_api::v1::DaemonInfo;

use super::{bundle::Part, secrets};
use crate::{clock, object::OBJECT};

/// The unit of the Debian package, where the daemon does not say which is its own.
const UNIT: &str = "detector.service";

/// How far back the journal is read.
const SINCE: &str = "-60min";

/// The most lines of the journal that are taken, and the most bytes.
const LINES: &str = "20000";
const MAX_BYTES: u64 = 16 << 20;

/// The last hour of the daemon's log.
pub(super) fn journal(program: &str, daemon: Option<&DaemonInfo>) -> Part {
    let about = "the last hour of the daemon's log (journalctl)";
    let service = daemon.map_or(UNIT, |daemon| &daemon.service);
    let found = match service.ends_with(".service") {
        true => read(program, service),
        false => Err(format!(
            "the daemon runs in {service}, which is no systemd service: its log is where it was \
             started"
        )),
    };
    Part::new("journal.txt", about, found)
}

fn read(program: &str, unit: &str) -> Result<String, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("cannot run {program}: {error}"),
    };
    let mut child = Command::new(program)
        .args(["--unit", unit, "--since", SINCE, "--lines", LINES])
        .args(["--output", "short-iso-precise", "--no-pager"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let mut text = Vec::new();
    let output = child.stdout.take();
    let copied = output.map_or(Ok(0), |out| out.take(MAX_BYTES).read_to_end(&mut text));
    let ended = copied.and_then(|_| child.wait()).map_err(cannot)?;
    match ended.success() {
        true => Ok(secrets::without(&String::from_utf8_lossy(&text))),
        false => Err(format!("{program} --unit {unit} failed ({ended})")),
    }
}

/// What is installed and runs here.
pub(super) fn versions(daemon: Option<&DaemonInfo>) -> Part {
    let version = env!("CARGO_PKG_VERSION");
    let object = match OBJECT {
        Some(_) => "with an eBPF object",
        None => "without an eBPF object",
    };
    let running = match daemon {
        Some(daemon) => {
            let DaemonInfo {
                version,
                pid,
                service,
                ..
            } = daemon;
            format!("detector {version}, pid {pid}, {service}")
        }
        None => "unknown".to_owned(),
    };
    let kernel = read_line("/proc/sys/kernel/osrelease");
    let built = read_line("/proc/sys/kernel/version");
    let host = read_line("/proc/sys/kernel/hostname");
    let text = format!(
        "command   detector {version}, {object}\n\
         daemon    {running}\n\
         kernel    Linux {kernel} {built}\n\
         system    {}\n\
         host      {host}\n\
         time      {:.3}\n",
        system(),
        clock::present(),
    );
    let about = "the versions of the daemon, the kernel and the system";
    Part::new("versions.txt", about, Ok(text))
}

fn read_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("unknown", |name| name.trim_matches('"'))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn daemon(service: &str) -> DaemonInfo {
        DaemonInfo {
            service: service.into(),
            ..DaemonInfo::default()
        }
    }

    /// A program in a directory of its own that runs this script.
    fn stand_in(script: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journalctl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path.display().to_string())
    }

    #[test]
    fn the_journal_is_that_of_the_daemons_unit_without_secrets() {
        let (_directory, program) = stand_in("echo \"$@ TOKEN=abc\"");
        let part = journal(&program, Some(&daemon("dead.service")));
        let text = String::from_utf8(part.bytes).unwrap();
        assert!(text.starts_with("--unit dead.service --since"), "{text}");
        assert!(text.ends_with("TOKEN=***\n"), "{text}");
        let text = String::from_utf8(journal(&program, None).bytes).unwrap();
        assert!(text.contains(UNIT), "{text}");
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_said_to_be_missing() {
        let missing = |program: &str, service| {
            let part = journal(program, Some(&daemon(service)));
            part.missing.expect("it is missing")
        };
        let none = missing("/nonexistent/journalctl", UNIT);
        assert!(none.contains("is not installed"), "{none}");
        let elsewhere = missing("/nonexistent/journalctl", "session-3.scope");
        assert!(elsewhere.contains("session-3.scope"), "{elsewhere}");
        let (_directory, program) = stand_in("exit 3");
        let failed = missing(&program, UNIT);
        assert!(failed.contains("failed (exit status: 3)"), "{failed}");
    }

    #[test]
    fn the_versions_name_this_kernel() {
        let text = String::from_utf8(versions(None).bytes).unwrap();
        let kernel = read_line("/proc/sys/kernel/osrelease");
        assert!(text.contains(&format!("Linux {kernel}")), "{text}");
    }
}
