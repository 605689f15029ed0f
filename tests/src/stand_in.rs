//! A program that looks like RustFS from outside.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{Host, PEER_PORT, Process, Traffic, peers::program};

/// The environment variable with the arguments of a peer whose command line is another program's.
pub const STAND_IN: &str = "LAB_PEER";

/// The lab's peer as a program that is called `rustfs`.
#[derive(Debug)]
pub struct StandIn {
    program: PathBuf,
    // Holds it. The kernel calls what runs by its name all the same when it has gone.
    _directory: TempDir,
}

impl StandIn {
    pub fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (peer, _) = program()?;
        let program = directory.path().join("rustfs");
        std::fs::copy(&peer, &program).context("cannot copy the lab's peer")?;
        Ok(Self {
            program,
            _directory: directory,
        })
    }

    /// Starts it with these RustFS volumes in its environment. It does this work, in the words of
    /// `lab-peer`, and sees the files `hosts` and `resolv.conf` of `etc` in the place of its
    /// host's.
    pub fn start(
        &self,
        host: &Host,
        volumes: &str,
        etc: Option<&Path>,
        work: &str,
    ) -> anyhow::Result<Traffic> {
        let mut command = match etc {
            None => host.command(&self.program.to_string_lossy()),
            Some(etc) => {
                let lay_over = ["hosts", "resolv.conf"]
                    .map(|file| format!("mount --bind {0}/{file} /etc/{file} && ", etc.display()))
                    .concat();
                let mut command = host.command("unshare");
                command.args(["--mount", "--", "sh", "-c"]);
                command
                    .arg(lay_over + r#"exec "$0" "$@""#)
                    .arg(&self.program);
                command
            }
        };
        command.env(STAND_IN, work).env("RUSTFS_VOLUMES", volumes);
        let name = format!("rustfs on {}", host.name());
        let process = Process::start(&name, command)?;
        Ok(Traffic { process, name })
    }
}

impl Traffic {
    /// A program like RustFS with blocking connections to the server, once each of them waits.
    pub async fn rustfs(
        host: &Host,
        volumes: &str,
        etc: Option<&Path>,
        server: &Host,
    ) -> anyhow::Result<Self> {
        let target = format!("{}:{PEER_PORT}", server.v4());
        let work = format!("blocking-client --target {target} --connections 2");
        let program = StandIn::new()?;
        let stand_in = program.start(host, volumes, etc, &work)?;
        stand_in.blocked(2).await?;
        Ok(stand_in)
    }
}
