//! Starts the lab's storage peers, and awaits their events.

use std::{env, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, bail};

use crate::{
    Host, PEER_PORT, Process,
    baseline::{self, Method},
    peer::{Dialed, Event, Kind},
};

/// How long a peer may take to start and to have its first success.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A running storage peer of the lab, server or client.
#[derive(Debug)]
pub struct Traffic {
    pub process: Process,
    pub(crate) name: String,
}

impl Traffic {
    /// Serves gRPC on every address of the host, IPv4 as v4-mapped.
    pub async fn grpc_server(host: &Host) -> anyhow::Result<Self> {
        Self::grpc_server_at(host, PEER_PORT, 0).await
    }

    /// Serves gRPC on the IPv4 addresses alone.
    pub async fn grpc_server_v4(host: &Host) -> anyhow::Result<Self> {
        let listen = format!("0.0.0.0:{PEER_PORT}");
        Self::start(host, &["grpc-server", "--listen", &listen])?
            .listening()
            .await
    }

    /// Takes HTTP/1.1 uploads.
    pub async fn http_server(host: &Host) -> anyhow::Result<Self> {
        Self::http_server_at(host, PEER_PORT, 0, 0).await
    }

    /// Serves gRPC at this port, and delays each answer by this much.
    pub async fn grpc_server_at(host: &Host, port: u16, delay_ms: u64) -> anyhow::Result<Self> {
        let (listen, delay) = (format!("[::]:{port}"), delay_ms.to_string());
        let args = ["grpc-server", "--listen", &listen, "--delay-ms", &delay];
        Self::start(host, &args)?.listening().await
    }

    /// Takes HTTP/1.1 uploads at this port, with these delays of each answer and of reading.
    pub async fn http_server_at(
        host: &Host,
        port: u16,
        delay_ms: u64,
        stall_ms: u64,
    ) -> anyhow::Result<Self> {
        let listen = format!("[::]:{port}");
        let (delay, stall) = (delay_ms.to_string(), stall_ms.to_string());
        let args = ["http-server", "--listen", &listen];
        let late = ["--delay-ms", &delay, "--stall-ms", &stall];
        Self::start(host, &[&args[..], &late].concat())?
            .listening()
            .await
    }

    /// Small calls from `host`, with more flags of the gRPC client.
    pub async fn caller(host: &Host, url: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let args = ["grpc-client", "--target", url];
        Self::start(host, &[&args[..], flags].concat())?
            .succeeding()
            .await
    }

    /// Answers what the baselines ask of their peer.
    pub async fn baseline_peer(host: &Host) -> anyhow::Result<Self> {
        let listen = format!("[::]:{}", baseline::PORT);
        Self::start(host, &["baseline-peer", "--listen", &listen])?
            .listening()
            .await
    }

    /// Connections from `host` with nothing in flight.
    pub async fn pool(host: &Host, target: SocketAddr, connections: u32) -> anyhow::Result<Self> {
        let (target, count) = (target.to_string(), connections.to_string());
        let args = ["pool", "--target", &target, "--connections", &count];
        Self::start(host, &args)?.succeeding().await
    }

    /// This many callers on `host` behind one channel, with RustFS's settings.
    pub async fn queue(host: &Host, url: &str, calls: u32) -> anyhow::Result<Self> {
        let calls = calls.to_string();
        Self::start(host, &["queue", "--target", url, "--calls", &calls])?
            .succeeding()
            .await
    }

    /// Calls from `host` to the URL: `channels` connections, each with this many calls of
    /// this kind a second, 64 KiB each. Returns once calls succeed.
    pub async fn grpc_client(
        host: &Host,
        url: &str,
        kind: Kind,
        channels: u32,
        calls_per_second: u32,
    ) -> anyhow::Result<Self> {
        let (channels, rate) = (channels.to_string(), calls_per_second.to_string());
        let mut args = vec!["grpc-client", "--target", url, "--kind", kind.as_str()];
        args.extend(["--channels", &channels, "--calls-per-second", &rate]);
        Self::start(host, &args)?.succeeding().await
    }

    /// RustFS's settings, except for the number of seconds that a PING may stay unanswered.
    pub async fn rustfs_client(
        host: &Host,
        url: &str,
        keepalive_timeout: u32,
    ) -> anyhow::Result<Self> {
        let timeout = keepalive_timeout.to_string();
        let args = ["grpc-client", "--target", url, "--kind", "put"];
        let args = [&args[..], &["--keepalive-timeout", &timeout]].concat();
        Self::start(host, &args)?.succeeding().await
    }

    /// One connection with one call, then only HTTP/2's PING every 5 s.
    pub async fn quiet_grpc_client(host: &Host, url: &str) -> anyhow::Result<Self> {
        let args = ["grpc-client", "--target", url, "--quiet"];
        Self::start(host, &args)?.succeeding().await
    }

    /// Uploads from `host` without end.
    pub async fn http_client(host: &Host, server: &Host, uploads: u32) -> anyhow::Result<Self> {
        Self::uploads(host, (server.v4(), PEER_PORT).into(), uploads).await
    }

    /// Uploads from `host` to this address without end.
    pub async fn uploads(host: &Host, target: SocketAddr, uploads: u32) -> anyhow::Result<Self> {
        let target = target.to_string();
        let uploads = uploads.to_string();
        let args = ["http-client", "--target", &target, "--uploads", &uploads];
        Self::start(host, &args)?.succeeding().await
    }

    /// `connections` blocking connections to the server, each of which waits for an answer
    /// that never comes. Returns once all of them do.
    pub async fn blocking_client(
        host: &Host,
        server: &Host,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let target = format!("{}:{PEER_PORT}", server.v4());
        let number = connections.to_string();
        let args = [
            "blocking-client",
            "--target",
            &target,
            "--connections",
            &number,
        ];
        let client = Self::start(host, &args)?;
        client.blocked(connections).await?;
        Ok(client)
    }

    /// Waits until each of these connections waits for its answer.
    pub(crate) async fn blocked(&self, connections: u32) -> anyhow::Result<()> {
        for connection in 0..connections {
            self.event(0, START_WITHIN, |event| match event {
                Event::Ok { channel, .. } => (*channel == connection).then_some(()),
                _ => None,
            })
            .await?;
        }
        Ok(())
    }

    /// An unprivileged process that creates namespaces, takes an address there, serves it, and
    /// uploads to it.
    pub async fn impostor(host: &Host, target: SocketAddr) -> anyhow::Result<Self> {
        // The file is opened before the privilege is dropped: afterwards it may not be accessible.
        const OPEN: &str = "exec 3< \"$0\" && exec \"$@\"";
        const SCRIPT: &str = "ip link set lo up && ip addr add $1/32 dev lo || exit; shift; \
             /proc/self/fd/3 $@ http-server --listen $0 & \
             exec /proc/self/fd/3 $@ http-client --target $0 --uploads 1";
        let (program, first) = program()?;
        let mut command = host.command("sh");
        command.args(["-c", OPEN]).arg(program);
        command.args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]);
        let (served, address) = (target.to_string(), target.ip().to_string());
        command.args(["unshare", "-Urn", "sh", "-c", SCRIPT, &served, &address]);
        command.args(first);
        let name = format!("impostor on {}", host.name());
        let process = Process::start(&name, command)?;
        Self { process, name }.succeeding().await
    }

    /// Starts a peer with these arguments of `lab-peer`.
    pub fn start(host: &Host, args: &[&str]) -> anyhow::Result<Self> {
        let (program, first) = program()?;
        let mut command: Command = host.command(&program.to_string_lossy());
        command.args(first).args(args);
        let name = format!("{} on {}", args.first().unwrap_or(&"peer"), host.name());
        let process = Process::start(&name, command)?;
        Ok(Self { process, name })
    }

    /// The first event, at `since_ns` or later, for which `find` gives something.
    pub async fn event<R>(
        &self,
        since_ns: u64,
        within: Duration,
        mut find: impl FnMut(&Event) -> Option<R>,
    ) -> anyhow::Result<R> {
        let found = self.process.stdout().find(within, |line| {
            let event: Event = serde_json::from_str(line).ok()?;
            (event.at_ns() >= since_ns).then(|| find(&event)).flatten()
        });
        match found.await {
            Some(found) => Ok(found),
            None => bail!(
                "{} did not say what was awaited within {within:?}; its last lines: {:#?}\n{}",
                self.name,
                self.process
                    .stdout()
                    .all()
                    .iter()
                    .rev()
                    .take(10)
                    .collect::<Vec<_>>(),
                self.process.stderr_tail(20)
            ),
        }
    }

    /// The time of the next success, at `since_ns` or later.
    pub async fn ok_since(&self, since_ns: u64, within: Duration) -> anyhow::Result<u64> {
        self.event(since_ns, within, |event| match event {
            Event::Ok { at_ns, .. } => Some(*at_ns),
            _ => None,
        })
        .await
    }

    /// The first error at `since_ns` or later, with its time.
    pub async fn error_since(
        &self,
        since_ns: u64,
        within: Duration,
    ) -> anyhow::Result<(u64, String)> {
        self.event(since_ns, within, |event| match event {
            Event::Error { at_ns, error, .. } => Some((*at_ns, error.clone())),
            _ => None,
        })
        .await
    }

    /// When the baseline began to believe this, at `since_ns` or later.
    pub async fn believes(
        &self,
        since_ns: u64,
        method: Method,
        is_dead: bool,
        within: Duration,
    ) -> anyhow::Result<u64> {
        self.event(since_ns, within, |event| match event {
            Event::Believed {
                at_ns,
                method: m,
                dead,
            } if (*m, *dead) == (method, is_dead) => Some(*at_ns),
            _ => None,
        })
        .await
    }

    async fn listening(self) -> anyhow::Result<Self> {
        self.event(0, START_WITHIN, |event| {
            matches!(event, Event::Listening { .. }).then_some(())
        })
        .await?;
        Ok(self)
    }

    /// Waits until work succeeds.
    pub async fn succeeding(self) -> anyhow::Result<Self> {
        // All of its events are about this start, even those from before this call.
        self.ok_since(0, START_WITHIN).await?;
        Ok(self)
    }
}

/// Connects from the host, once, in a process of its own.
pub fn dial(host: &Host, target: SocketAddr, args: &[&str]) -> anyhow::Result<Dialed> {
    let (program, first) = program()?;
    let target = target.to_string();
    let mut all = first.to_vec();
    all.extend(["dial", "--target", &target]);
    all.extend(args);
    let said = host.exec(&program.to_string_lossy(), &all)?;
    serde_json::from_str(&said).with_context(|| format!("a dial said {said:?}"))
}

/// The peers' program and its first arguments. For tests, `lab-peer` is built next to them. The
/// other programs of this package run themselves, because cargo builds only the requested one.
pub(crate) fn program() -> anyhow::Result<(PathBuf, &'static [&'static str])> {
    let me = env::current_exe().context("cannot find this program's own path")?;
    if !in_deps(&me) {
        return Ok((me, &["peer"]));
    }
    let program = beside("lab-peer")?;
    if !program.exists() {
        bail!(
            "{} is not there: cargo build -p detector-tests --bins",
            program.display()
        );
    }
    Ok((program, &[]))
}

/// A program of this workspace, in the directory where this one was built.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let me = env::current_exe().context("cannot find this program's own path")?;
    let mut directory = me.clone();
    directory.pop();
    if in_deps(&me) {
        directory.pop();
    }
    Ok(directory.join(name))
}

/// Test programs are built into `deps`, one below the others.
fn in_deps(program: &std::path::Path) -> bool {
    program
        .parent()
        .is_some_and(|parent| parent.ends_with("deps"))
}
