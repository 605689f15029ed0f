//! The node at which the operator sits: the package in a clean Debian, which is configured, started,
//! asked and removed as the documents say.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use detector_tests::{Debian, Host, Process, package, testbed};
use nix::sys::signal::Signal;

use crate::cluster::SOON;

const CONFIGURATION: &str = "/etc/detector/detector.toml";
const UNIT: &str = "/usr/lib/systemd/system/detector.service";

pub struct Operated {
    host: Host,
    // Before the Debian in which it runs.
    daemon: Process,
    debian: Debian,
}

impl Operated {
    /// Installs the package, writes the configuration, checks it, and starts the daemon as its unit
    /// says.
    pub async fn start(host: &Host, settings: &str) -> anyhow::Result<Self> {
        let debian = Debian::with_systemd()?;
        debian.install(&package()?)?;
        let asked = debian.asked()?;
        ensure!(asked.contains("start detector.service"), "{asked}");
        let file = debian.path(CONFIGURATION);
        let sample = fs::read_to_string(&file)?;
        fs::write(&file, format!("{settings}\n{sample}"))?;
        let check = ["detector", "config", "check", "--config", CONFIGURATION];
        let said = debian.run(&check)?;
        ensure!(said.contains("no errors"), "{said}");
        let daemon = Process::start("the installed detector", debian.unit(host, UNIT)?)?;
        let operated = Self {
            host: host.clone(),
            daemon,
            debian,
        };
        testbed::until("the installed daemon answers", SOON, async || {
            Ok(Some(operated.detector(&["peers"])?))
        })
        .await
        .with_context(|| operated.daemon.stderr_tail(40))?;
        Ok(operated)
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The daemon's socket, as this machine sees it.
    pub fn socket(&self) -> PathBuf {
        self.debian.path("/run/detector/detector.sock")
    }

    /// The installed program on the node, where the daemon's files are.
    pub fn command(&self) -> Command {
        let mut command = self.host.command("nsenter");
        let daemon = self.daemon.pid().to_string();
        command.args(["--target", &daemon, "--mount", "--", "chroot"]);
        command.arg(self.debian.path("/")).arg("detector");
        command
    }

    /// What the program prints to these words; it must succeed.
    pub fn detector(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.command().args(words).output()?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Rolls back: stops the service as systemd would, and purges the package.
    pub async fn purge(mut self) -> anyhow::Result<()> {
        self.daemon.signal(Signal::SIGTERM)?;
        let status = self.daemon.ended(SOON).await?;
        ensure!(status.success(), "{status}");
        ensure!(!self.socket().exists(), "the socket is left behind");
        self.debian.run(&["dpkg", "--purge", "detector"])?;
        let asked = self.debian.asked()?;
        ensure!(asked.contains("stop detector.service"), "{asked}");
        let left = self.debian.files()?;
        let left = left.iter().filter(|file| file.contains("detector"));
        // dpkg's own notes; and the directory that systemd makes and removes.
        let is_ours = |file: &&String| !file.starts_with("/var/lib/") && *file != "/run/detector";
        let left: Vec<_> = left.filter(is_ours).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }
}
