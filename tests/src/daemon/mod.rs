//! Runs the real detector on a host of the lab.

mod launch;
mod options;

use std::{fmt::Write as _, fs, path::Path, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, bail, ensure};
use detector_api::v1::{
    Breaker, ExplainPeerRequest, ExplainPeerResponse, GetPeerRequest, ListPeersRequest, PeerState,
    Verdict, detector_client::DetectorClient,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tonic::transport::Channel;

use self::launch::{via, with_hosts};
pub use self::{
    launch::binary,
    options::{DaemonOptions, Via},
};
use crate::{Host, Observed, Process, Watcher, clock, testbed, watcher::connect};

/// A time limit that leaves room on a machine that does other work as well.
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Where it serves metrics, on its host's own loopback.
pub const METRICS: &str = "127.0.0.1:9464";

/// The real detector on a host, with a gRPC watcher. If it is dropped without [`Self::stop`], it
/// shows the end of the daemon's log, because then a test has failed, unless the options turn that
/// off.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
    client: DetectorClient<Channel>,
    channel: Channel,
    watcher: Watcher,
    show_log: bool,
    // Last: holds the socket.
    _directory: Option<TempDir>,
}

impl Daemon {
    /// Starts it on a socket of its own, and returns when a watcher has its first snapshot.
    pub async fn start(host: &Host, options: &DaemonOptions) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the socket")?;
        let socket = directory.path().join("detector.sock");
        let mut daemon = Self::start_at(host, options, &socket).await?;
        daemon._directory = Some(directory);
        Ok(daemon)
    }

    /// Starts it on this socket.
    pub async fn start_at(
        host: &Host,
        options: &DaemonOptions,
        socket: &Path,
    ) -> anyhow::Result<Self> {
        let mut process = Self::spawn(host, options, socket)?;
        let ready = testbed::until("the daemon answers", READY_WITHIN, async || {
            if process.has_ended()? {
                return Ok(Some(None));
            }
            let channel = connect(socket).await?;
            let mut client = DetectorClient::new(channel.clone());
            // The socket exists before the source; until the peers are listed, the source may still
            // fail.
            let listed = client.list_peers(ListPeersRequest {}).await?.into_inner();
            let all = listed.peers.len() >= options.peers.len();
            Ok(all.then_some(Some((channel, client))))
        });
        let (channel, client) = match ready.await {
            Ok(Some(ready)) => ready,
            Ok(None) => {
                // Its last output may still be on its way.
                let stderr = process.stderr();
                stderr.find(Duration::from_secs(1), |_| None::<()>).await;
                bail!("the daemon ended at its start\n{}", process.stderr_tail(40));
            }
            Err(error) => return Err(error.context(process.stderr_tail(40))),
        };
        let watcher = Watcher::start(client.clone()).await?;
        Ok(Self {
            process,
            socket: socket.to_owned(),
            client,
            channel,
            watcher,
            show_log: options.show_log,
            _directory: None,
        })
    }

    /// Starts the program alone, for tests of what it does before it is ready.
    pub fn spawn(host: &Host, options: &DaemonOptions, socket: &Path) -> anyhow::Result<Process> {
        let mut binary = binary()?;
        if options.via == Via::OwnUser {
            // Another user may not enter the directory where it was built.
            let copy = socket.with_extension("program");
            fs::copy(&binary, &copy).context("cannot copy the program")?;
            binary = copy;
        }
        let binary = binary.to_string_lossy();
        let mut command = match &options.hosts {
            Some(hosts) => with_hosts(host, hosts, &binary),
            None => via(host, options.via, &binary),
        };
        command.args(["run", "--socket"]).arg(socket);
        command.args(["--metrics", &options.metrics, "--source", &options.source]);
        command.args(["--output", "json", "--log", &options.log]);
        // Beside the socket: a daemon of the lab keeps nothing on this machine.
        command
            .arg("--state-directory")
            .arg(socket.with_extension("state"));
        for peer in &options.peers {
            command.args(["--peer", peer]);
        }
        if let Some(config) = &options.config {
            let file = socket.with_extension("toml");
            fs::write(&file, config.as_ref())
                .with_context(|| format!("cannot write {}", file.display()))?;
            command.arg("--config").arg(file);
        }
        command.args(&options.args);
        Process::start(&format!("detector on {}", host.name()), command)
    }

    /// The program on a host, for its other commands.
    pub fn command(host: &Host) -> anyhow::Result<Command> {
        Ok(host.command(&binary()?.to_string_lossy()))
    }

    /// A gRPC client of it.
    pub fn client(&self) -> DetectorClient<Channel> {
        self.client.clone()
    }

    /// The connection, for other services on the same socket.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// The first state for which `is` returns true: the current one or a later one.
    pub async fn await_state(
        &self,
        peer: &str,
        within: Duration,
        is: impl FnMut(&PeerState) -> bool,
    ) -> anyhow::Result<Observed> {
        let seen = self.watcher.seen();
        let last = seen.last_position(|seen| seen.state.peer == peer);
        self.await_from(last.unwrap_or(0), 0, peer, within, is)
            .await
    }

    /// The first state received at `since_ns` or later at which `is` holds.
    pub async fn await_since(
        &self,
        since_ns: u64,
        peer: &str,
        within: Duration,
        is: impl FnMut(&PeerState) -> bool,
    ) -> anyhow::Result<Observed> {
        self.await_from(0, since_ns, peer, within, is).await
    }

    async fn await_from(
        &self,
        position: usize,
        since_ns: u64,
        peer: &str,
        within: Duration,
        mut is: impl FnMut(&PeerState) -> bool,
    ) -> anyhow::Result<Observed> {
        let found = self.watcher.seen().find_from(position, within, |seen| {
            (seen.at_ns >= since_ns && seen.state.peer == peer && is(&seen.state))
                .then(|| seen.clone())
        });
        match found.await {
            Some(found) => Ok(found),
            None => bail!(
                "{peer} did not come to the awaited state within {within:?}\n{}",
                self.diagnosis(peer).await
            ),
        }
    }

    /// Succeeds if, from now on for this long, the peer is never Dead, its breaker stays Closed,
    /// and the daemon still answers at the end.
    pub async fn never_dead(&self, peer: &str, during: Duration) -> anyhow::Result<()> {
        let begun = clock::now_ns();
        let dead = |state: &PeerState| {
            state.verdict() == Verdict::Dead || state.breaker() != Breaker::Closed
        };
        let seen = self.watcher.seen();
        let died = seen.find(during, |seen| {
            (seen.at_ns >= begun && seen.state.peer == peer && dead(&seen.state))
                .then_some(seen.at_ns)
        });
        if let Some(at) = died.await {
            bail!(
                "{peer} was called dead after {:?}\n{}",
                clock::between(begun, at),
                self.diagnosis(peer).await
            );
        }
        ensure!(
            clock::between(begun, clock::now_ns()) >= during,
            "the watch ended early\n{}",
            self.diagnosis(peer).await
        );
        let now = self.peer(peer).await?;
        ensure!(
            !dead(&now),
            "{peer} is dead and no watcher was told: {now:?}"
        );
        Ok(())
    }

    /// Succeeds if the peer's breaker, Open at `since_ns`, is published with no other value for
    /// this long from now.
    pub async fn stays_open(
        &self,
        since_ns: u64,
        peer: &str,
        during: Duration,
    ) -> anyhow::Result<()> {
        let left = self.watcher.seen().find(during, |seen| {
            let is_later = seen.at_ns >= since_ns && seen.state.peer == peer;
            (is_later && seen.state.breaker() != Breaker::Open).then_some(seen.at_ns)
        });
        if let Some(at) = left.await {
            bail!(
                "{peer} was Open for {:?} only\n{}",
                clock::between(since_ns, at),
                self.diagnosis(peer).await
            );
        }
        let now = self.peer(peer).await?;
        ensure!(now.breaker() == Breaker::Open, "{peer}: {now:?}");
        Ok(())
    }

    /// GetPeer.
    pub async fn peer(&self, peer: &str) -> anyhow::Result<PeerState> {
        let request = GetPeerRequest {
            peer: peer.to_owned(),
        };
        let response = self.client().get_peer(request).await?.into_inner();
        response.peer.context("GetPeer answered without a peer")
    }

    /// ExplainPeer.
    pub async fn explain(&self, peer: &str) -> anyhow::Result<ExplainPeerResponse> {
        let request = ExplainPeerRequest {
            peer: peer.to_owned(),
        };
        Ok(self.client().explain_peer(request).await?.into_inner())
    }

    /// Runs the program's own client, as in `detector peers`, and gives what it prints.
    pub fn cli(&self, host: &Host, args: &[&str]) -> anyhow::Result<String> {
        let socket = self.socket.to_string_lossy();
        let mut all = vec!["--socket", &socket];
        all.extend(args);
        host.exec(&binary()?.to_string_lossy(), &all)
    }

    /// The program, for commands that need no daemon.
    pub fn program() -> anyhow::Result<Command> {
        Ok(Command::new(binary()?))
    }

    /// Information that helps to find out why a test failed.
    async fn diagnosis(&self, peer: &str) -> String {
        let mut text = String::from("--- states, with the time to now ---\n");
        let now = clock::now_ns();
        let all = self.watcher.seen().all();
        for seen in all.iter().rev().take(20).rev() {
            let state = &seen.state;
            let _infallible = writeln!(
                text,
                "-{:?} {} {:?} {:?} {:?} generation {} revision {}",
                clock::between(seen.at_ns, now),
                state.peer,
                state.verdict(),
                state.breaker(),
                state.reason(),
                state.generation,
                state.revision,
            );
        }
        let explained = self.explain(peer).await;
        let _infallible = writeln!(text, "--- explain {peer} ---\n{explained:#?}");
        text
    }

    /// Sends SIGTERM; succeeds if the daemon ends normally and removes its socket.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop_by(Signal::SIGTERM).await.map(|_| ())
    }

    /// Like [`Self::stop`], with another signal; returns how long it took.
    pub async fn stop_by(mut self, signal: Signal) -> anyhow::Result<Duration> {
        let begun = clock::now_ns();
        self.process.signal(signal)?;
        let status = self.process.ended(STOP_WITHIN).await?;
        ensure!(
            status.success(),
            "the daemon ended with {status} on {signal}"
        );
        ensure!(
            !self.socket.exists(),
            "{} is left behind",
            self.socket.display()
        );
        self.show_log = false;
        Ok(clock::between(begun, clock::now_ns()))
    }

    /// Kills it as a crash would: it cannot clean up.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        self.show_log = false;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.show_log {
            eprintln!("{}", self.process.stderr_tail(80));
        }
    }
}
