//! Removes the lab if its owner dies, even by kill -9: a process that waits for the end of a pipe.

use std::{
    env,
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use detector_tests::Lab;

/// The hidden word of the command line.
pub const WORD: &str = "guard";

/// The process that stands guard. When it is dropped, the lab has gone already.
#[derive(Debug)]
pub struct Guard(Child);

/// Starts it. It holds the reading end of a pipe, whose other end goes with this process.
pub fn start() -> anyhow::Result<Guard> {
    let program = env::current_exe().context("cannot find my own program")?;
    let child = Command::new(program)
        .arg(WORD)
        .arg(std::process::id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C is for its owner.
        .process_group(0)
        .spawn()
        .context("cannot start what removes the lab if I am killed")?;
    Ok(Guard(child))
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("lab: the guard: {error}");
        }
    }
}

/// Stands guard over the labs of this process.
pub fn stand(owner: u32) -> anyhow::Result<()> {
    let mut nothing = Vec::new();
    io::stdin().read_to_end(&mut nothing)?;
    Lab::remove_all_of(owner)
}
