//! One guest: a kernel in QEMU, and what it says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{arch::Arch, archive::Kernel};

/// The longest silence of a guest that still works: it says that it lives every 5 s of its own time,
/// which may be minutes on a busy machine.
const SILENCE: Duration = Duration::from_secs(600);
/// One that crashed or fell silent gets another try; a check that failed does not.
const TRIES: usize = 2;

/// Says on the kernel's command line that this is a guest: its tests may set the clock and suspend
/// (`tests/src/guest.rs`).
const GUEST: &str = "detector.guest";

/// What all machines have in common. A guest's clock counts its instructions, 4 ns each (`icount`),
/// and jumps when it has nothing to do. So its time does not depend on what else this machine does: by
/// the real clock a guest on a busy machine is paused again and again, and a daemon that is never on
/// time finds a death late, as it should. It has one processor: where instructions
/// are counted, 5.10 and 6.1 wait for ever for a second one to start.
const MACHINE: &str = "-nodefaults -no-user-config -smp 1 -m 1G -accel tcg,thread=single \
    -icount shift=2,sleep=off -no-reboot -display none -monitor none -serial stdio";

/// A guest that can be started.
#[derive(Debug)]
pub struct Guest {
    pub arch: Arch,
    pub kernel: Kernel,
    pub initrd: PathBuf,
    pub log: PathBuf,
}

/// What a guest told.
#[derive(Debug, Default)]
pub struct Seen {
    pub arch: Arch,
    pub release: String,
    pub version: String,
    pub order: Vec<u32>,
    /// Lines of `detector doctor --output json`.
    pub doctor: Vec<Value>,
    /// Each check that ended, with whether it passed.
    pub checks: Vec<(String, bool)>,
    /// Whether it came to its end.
    pub ended: bool,
}

impl Seen {
    pub fn passed(&self) -> bool {
        self.ended && !self.checks.is_empty() && self.checks.iter().all(|(_, passed)| *passed)
    }

    pub fn summary(&self) -> String {
        let passed = self.checks.iter().filter(|(_, passed)| *passed).count();
        let ended = if self.ended {
            ""
        } else {
            "; it did not come to its end"
        };
        format!(
            "{}: {passed} of {} checks passed{ended}",
            self.version,
            self.checks.len()
        )
    }

    /// Takes in a line, and gives what is to be shown of it.
    fn take(&mut self, line: &str) -> Option<String> {
        let (word, rest) = line
            .strip_prefix('@')?
            .split_once(' ')
            .unwrap_or((&line[1..], ""));
        match word {
            "doctor" => self.doctor.extend(serde_json::from_str::<Value>(rest)),
            "lives" => {}
            "end" => self.ended = true,
            "ok" | "failed" => {
                let (took, name) = rest.split_once(' ')?;
                self.checks.push((name.to_owned(), word == "ok"));
                return Some(format!("{name}: {word} in {took} s"));
            }
            _ => return Some(format!("{word} {rest}")),
        }
        None
    }
}

impl Guest {
    /// Boots it and shows a line for each check.
    pub fn run(self) -> Seen {
        let mut seen = Seen::default();
        for attempt in 1..=TRIES {
            let mut lost = None;
            seen = self.attempt().unwrap_or_else(|error| {
                lost = Some(format!("{error:#}"));
                self.nothing()
            });
            if seen.ended {
                break;
            }
            let why = lost.unwrap_or_else(|| "it crashed or fell silent".to_owned());
            self.say(&format!("try {attempt} of {TRIES} was lost: {why}"));
        }
        // What it ran from is large.
        let _gone_already = fs::remove_file(&self.initrd);
        seen
    }

    fn nothing(&self) -> Seen {
        Seen {
            arch: self.arch,
            release: self.kernel.release.clone(),
            version: self.kernel.version.clone(),
            order: self.kernel.order.clone(),
            ..Seen::default()
        }
    }

    fn say(&self, text: &str) {
        println!("    {:<9} {text}", self.kernel.version);
    }

    fn attempt(&self) -> Result<Seen> {
        let mut log = fs::File::create(&self.log)?;
        let mut qemu = Ended(self.start()?);
        let lines = lines(&mut qemu.0)?;
        let mut seen = self.nothing();
        loop {
            match lines.recv_timeout(SILENCE) {
                Ok(line) => {
                    writeln!(log, "{line}")?;
                    if let Some(text) = seen.take(&line) {
                        self.say(&text);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(seen),
            }
        }
    }

    fn start(&self) -> Result<Child> {
        let qemu = self.arch.qemu();
        let console = self.arch.console();
        Command::new(qemu)
            .args(self.arch.machine().split_whitespace())
            .args(MACHINE.split_whitespace())
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&self.initrd)
            .args([
                "-append",
                &format!("console={console} quiet panic=-1 {GUEST}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {qemu}"))
    }
}

/// QEMU ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// The lines of the guest's console, each as it comes.
fn lines(qemu: &mut Child) -> Result<Receiver<String>> {
    let console = qemu.stdout.take().context("QEMU has no output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for line in lines {
            seen.take(line);
        }
        seen
    }

    #[test]
    fn only_a_guest_that_says_all_has_passed() {
        assert!(seen(&["@ok 3 cut", "@end"]).passed());
        assert!(!seen(&["@ok 3 cut"]).passed(), "it crashed");
        assert!(!seen(&["@end"]).passed(), "it checked nothing");
        assert!(!seen(&["@ok 3 cut", "@failed 1 deaf host", "@end"]).passed());
        assert!(
            !seen(&["ok 3 cut", "end"]).passed(),
            "the words of a test are not the guest's"
        );
    }

    #[test]
    fn a_check_is_shown_with_its_time() {
        let shown = Seen::default().take("@failed 12 deaf host");
        assert_eq!(shown.as_deref(), Some("deaf host: failed in 12 s"));
        assert_eq!(Seen::default().take("test result: ok"), None);
    }
}
