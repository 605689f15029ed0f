//! A program that looks like RustFS from outside.

use std::path::Path;

use anyhow::Context as _;

use crate::{Host, PEER_PORT, Process, Traffic, peers::program};

/// The environment variable with the arguments of a peer whose command line is another program's.
pub const STAND_IN: &str = "LAB_PEER";

impl Traffic {
    /// A program that is called `rustfs`, with RustFS's volumes in its environment, and blocking
    /// connections to the server; it sees the files `hosts` and `resolv.conf` of `etc` in the
    /// place of its host's.
    pub async fn rustfs(
        host: &Host,
        volumes: &str,
        etc: Option<&Path>,
        server: &Host,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (peer, _) = program()?;
        let program = directory.path().join("rustfs");
        std::fs::copy(&peer, &program).context("cannot copy the lab's peer")?;
        let mut command = match etc {
            None => host.command(&program.to_string_lossy()),
            Some(etc) => {
                let lay_over = ["hosts", "resolv.conf"]
                    .map(|file| format!("mount --bind {0}/{file} /etc/{file} && ", etc.display()))
                    .concat();
                let mut command = host.command("unshare");
                command.args(["--mount", "--", "sh", "-c"]);
                command.arg(lay_over + r#"exec "$0" "$@""#).arg(&program);
                command
            }
        };
        let target = format!("{}:{PEER_PORT}", server.v4());
        let work = format!("blocking-client --target {target} --connections 2");
        command.env(STAND_IN, work).env("RUSTFS_VOLUMES", volumes);
        let name = format!("rustfs on {}", host.name());
        let process = Process::start(&name, command)?;
        let stand_in = Self { process, name };
        stand_in.blocked(2).await?;
        // Its file is not needed any more: the kernel calls it by its name all the same.
        drop(directory);
        Ok(stand_in)
    }
}
