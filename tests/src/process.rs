//! A running program whose output is recorded.

use std::{
    collections::VecDeque,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::Log;

/// A running program whose output is kept line by line. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    stdout: Log<String>,
    stderr: Log<String>,
}

impl Process {
    /// Starts it. `name` is for messages.
    pub fn start(name: &str, command: std::process::Command) -> anyhow::Result<Self> {
        Self::start_with(name, command, Stdio::null())
    }

    /// Starts it with a pipe to its stdin.
    pub fn start_piped(
        name: &str,
        command: std::process::Command,
    ) -> anyhow::Result<(Self, ChildStdin)> {
        let mut process = Self::start_with(name, command, Stdio::piped())?;
        let stdin = process.child.stdin.take().context("no stdin")?;
        Ok((process, stdin))
    }

    fn start_with(
        name: &str,
        command: std::process::Command,
        stdin: Stdio,
    ) -> anyhow::Result<Self> {
        let mut child = Command::from(command)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().context("the process has no id")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            pid: Pid::from_raw(i32::try_from(pid)?),
            stdout: keep_lines(stdout),
            stderr: keep_lines(stderr),
        })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn stdout(&self) -> &Log<String> {
        &self.stdout
    }

    pub fn stderr(&self) -> &Log<String> {
        &self.stderr
    }

    /// Sends a signal; to a process that has ended, nothing.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot send {signal} to {}", self.name))
            }
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// How it ended, or an error when it runs on.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        match timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} still runs after {within:?}", self.name),
        }
    }

    /// Kills it as `kill -9` does, and waits for the end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.ended(Duration::from_secs(5)).await.map(|_| ())
    }

    /// The last lines of its stderr, to be shown when something went wrong.
    pub fn stderr_tail(&self, lines: usize) -> String {
        let mut tail = VecDeque::from(self.stderr.all());
        tail.drain(..tail.len().saturating_sub(lines));
        let tail: Vec<String> = tail.into();
        format!("--- stderr of {} ---\n{}", self.name, tail.join("\n"))
    }
}

fn keep_lines(from: impl AsyncRead + Unpin + Send + 'static) -> Log<String> {
    let log = Log::default();
    let kept = log.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            kept.push(line);
        }
        kept.close();
    });
    log
}
