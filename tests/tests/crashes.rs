//! What befalls the daemon itself: what its clients see, and how soon all is right again. The table
//! of docs/failures.md names these tests, and those of other suites.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_api::{
    PeerWatch,
    v1::{Breaker, PeerState, Verdict},
};
use detector_tests::{
    Cut, Daemon, DaemonOptions, METRICS, Trio, Via, clock, connect, get, testbed,
    trio::{PROMPT, said},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(15);
/// Longer than any detection time, destroy delay and time to live.
const A_WHILE: Duration = Duration::from_secs(4);
/// How soon a cut is found where nothing is in the way, on a busy machine.
const AS_EVER: Duration = Duration::from_secs(2);

fn is_dead(state: &PeerState) -> bool {
    state.verdict() == Verdict::Dead
}

/// A cut is found and the calls that hang return, as if nothing had happened; the other peer is never
/// dead. Returns how long after the cut it was found.
async fn a_cut_is_found(trio: &Trio) -> anyhow::Result<Duration> {
    let cut = trio.scene.cut(2, Cut::SilentDrop)?;
    let other = trio.other();
    let (open, lives) = tokio::join!(
        trio.scene.open_after(cut, 2, PROMPT),
        trio.daemon().never_dead(&other, A_WHILE),
    );
    let (_, after) = open.with_context(|| said(trio.daemon(), &trio.peer()))?;
    println!("open {after:?} after the cut");
    lives?;
    trio.a_call_returns(cut.at_ns).await?;
    Ok(after)
}

/// The files that the daemon has open.
fn open_files(trio: &Trio) -> anyhow::Result<usize> {
    let pid = trio.daemon().process().pid();
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

async fn logged(daemon: &Daemon, text: &str) -> anyhow::Result<()> {
    let found = daemon
        .process()
        .stderr()
        .find(SOON, |line| line.contains(text).then_some(()));
    found
        .await
        .with_context(|| format!("{text}: {}", daemon.process().stderr_tail(30)))
}

/// SIGSTOP, as by a debugger or a frozen virtual machine; a peer dies meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_dies_while_the_daemon_is_stopped_is_found_and_no_other() -> anyhow::Result<()>
{
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let watch = PeerWatch::start(trio.daemon().socket());
        ensure!(watch.ready(SOON).await, "{}", watch.status());
        trio.daemon().process().signal(Signal::SIGSTOP)?;
        trio.scene.cut(2, Cut::SilentDrop)?;
        // Clients believe a state for its time to live and no longer.
        tokio::time::timeout(SOON, watch.states().until_stale()).await?;
        let goes_on = clock::now_ns();
        trio.daemon().process().signal(Signal::SIGCONT)?;
        let (peer, other) = (trio.peer(), trio.other());
        let (dead, lives) = tokio::join!(
            trio.daemon().await_since(goes_on, &peer, PROMPT, is_dead),
            trio.daemon().never_dead(&other, A_WHILE),
        );
        let after = clock::between(goes_on, dead?.at_ns);
        println!("dead {after:?} after it goes on");
        lives?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// What clients of one user get of 128 files: four readers, and half of four callers, of which the
/// test itself is one.
const TAKEN: usize = 5;

/// 128 files: clients take as many as they get, and leave those that probes need.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_daemon_with_few_files_delay_no_verdict() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(3, DaemonOptions::default().via(Via::FewFiles)).await?;
        let before = open_files(&trio)?;
        let metrics: SocketAddr = METRICS.parse()?;
        let read = || TcpStream::connect(metrics);
        let hold = || (0..160).map(|_| read()).collect::<io::Result<Vec<_>>>();
        let readers = trio.lab().host(1).within(hold)??;
        let call = || UnixStream::connect(trio.daemon().socket());
        let clients: Vec<_> = (0..40).map(|_| call()).collect::<io::Result<_>>()?;
        testbed::until("clients have taken their files", SOON, async || {
            Ok((open_files(&trio)? >= before + TAKEN).then_some(()))
        })
        .await?;
        let after = a_cut_is_found(&trio).await?;
        ensure!(after < AS_EVER, "{after:?}");
        println!("{before} files were open, {} are now", open_files(&trio)?);
        drop((readers, clients));
        let healed = trio.scene.heal(2)?;
        trio.recovers(healed.at_ns).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// Not one file more can be opened for a while: no probe is sent, and nobody dies of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ran_out_of_files_to_open_serves_and_finds_a_cut_again() -> anyhow::Result<()>
{
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let allow = |files: usize| -> anyhow::Result<()> {
            let pid = trio.daemon().process().pid().to_string();
            let limit = format!("--nofile={files}:");
            let set = Command::new("prlimit")
                .args(["--pid", &pid, &limit])
                .status();
            ensure!(set.context("prlimit")?.success(), "prlimit {limit}");
            Ok(())
        };
        allow(3)?;
        logged(trio.daemon(), "outcome=\"failed\"").await?;
        trio.daemon().never_dead(&trio.other(), A_WHILE).await?;
        let state = trio.daemon().peer(&trio.peer()).await?;
        ensure!(!is_dead(&state), "{state:?}");
        allow(1024)?;
        let (host, metrics) = (trio.lab().host(1), METRICS.parse()?);
        testbed::until("metrics are served again", SOON, async || {
            Ok(get(host, metrics, "/metrics").ok())
        })
        .await?;
        a_cut_is_found(&trio).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The recording ends with a warning, and is good up to there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_recording_and_nothing_else() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default()
            .via(Via::SmallDisk)
            .args(["--record", "/mnt/h1.rec"])
            .config("idle_probe_interval = \"50ms\"\n");
        let trio = Trio::with(3, options).await?;
        logged(
            trio.daemon(),
            "the recording cannot be written and ends here",
        )
        .await?;
        a_cut_is_found(&trio).await?;
        let directory = tempfile::tempdir()?;
        let copy = directory.path().join("h1.rec");
        let pid = trio.daemon().process().pid();
        fs::copy(format!("/proc/{pid}/root/mnt/h1.rec"), &copy)?;
        let replayed = Daemon::program()?.arg("replay").arg(&copy).output()?;
        let said = String::from_utf8_lossy(&replayed.stderr);
        ensure!(
            replayed.status.success() && said.contains("warning: "),
            "{said}"
        );
        trio.scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_socket_is_made_anew_and_connected_clients_go_on() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let socket = trio.daemon().socket();
        fs::remove_file(socket)?;
        // The watcher of the lab is connected.
        a_cut_is_found(&trio).await?;
        testbed::until("a new client connects", SOON, async || {
            Ok(connect(socket).await.ok())
        })
        .await?;
        let watch = PeerWatch::start(socket);
        ensure!(watch.ready(SOON).await, "{}", watch.status());
        drop(watch);
        // It removes the new file at its end.
        trio.scene.daemon.stop().await
    })
    .await
}

/// How the daemon's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By another process.
    Killed,
    /// As by a panic in any thread: a release is built with `panic = "abort"`.
    Aborted,
    /// It uses more memory than its cgroup may have.
    OutOfMemory,
}

/// Whatever ends it, a client falls back to its own time-outs, and the next daemon learns the
/// present from the kernel.
async fn ends_and_starts_again(by: End) -> anyhow::Result<()> {
    let memory = match by {
        End::OutOfMemory => match Memory::new()? {
            Some(memory) => Some(memory),
            None => {
                eprintln!("skipped: no memory controller of cgroups is mounted here");
                return Ok(());
            }
        },
        _ => None,
    };
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("detector.sock");
    let trio = Trio::new().await?;
    let options = [trio.peer(), trio.other()]
        .into_iter()
        .fold(DaemonOptions::default(), DaemonOptions::peer)
        .metrics("127.0.0.1:9465");
    // The daemon that ends runs beside the one of the scene.
    let mut process = Daemon::spawn(trio.lab().host(1), &options, &socket)?;
    let watch = PeerWatch::start(&socket);
    ensure!(watch.ready(SOON).await, "{}", watch.status());
    let states = watch.states();
    let (peer, other) = (states.peer(&trio.peer()), states.peer(&trio.other()));
    trio.scene.cut(2, Cut::SilentDrop)?;
    tokio::time::timeout(SOON, peer.until_down())
        .await
        .context("down before the end")?;

    match (by, &memory) {
        (End::Killed, _) => process.signal(Signal::SIGKILL)?,
        (End::Aborted, _) => process.signal(Signal::SIGABRT)?,
        (End::OutOfMemory, Some(memory)) => memory.starve(process.pid())?,
        (End::OutOfMemory, None) => bail!("no cgroup"),
    }
    let ended = process.ended(SOON).await?;
    ensure!(ended.signal().is_some(), "{ended}");
    tokio::time::timeout(SOON, states.until_stale())
        .await
        .context("fails open")?;
    ensure!(
        peer.state() == detector_api::State::default(),
        "{:?}",
        peer.state()
    );

    let begun = clock::now_ns();
    let again = Daemon::start_at(trio.lab().host(1), &options, &socket).await?;
    tokio::time::timeout(SOON, peer.until_down())
        .await
        .context("down again")?;
    println!(
        "{by:?}: a client knows again {:?} after the start",
        clock::between(begun, clock::now_ns())
    );
    again.never_dead(&trio.other(), A_WHILE).await?;
    ensure!(other.down().is_none());
    let now = again.peer(&trio.peer()).await?;
    ensure!(is_dead(&now) && now.breaker() == Breaker::Open, "{now:?}");
    let healed = trio.scene.heal(2)?;
    trio.recovers(healed.at_ns).await?;
    again.stop().await?;
    trio.scene.daemon.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_is_missed_and_the_next_one_knows() -> anyhow::Result<()> {
    testbed::run(LIMIT, ends_and_starts_again(End::Killed)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_daemon_is_missed_and_the_next_one_knows() -> anyhow::Result<()> {
    testbed::run(LIMIT, ends_and_starts_again(End::Aborted)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_out_of_memory_is_missed_and_the_next_one_knows() -> anyhow::Result<()> {
    testbed::run(LIMIT, ends_and_starts_again(End::OutOfMemory)).await
}

/// A cgroup of the memory controller, of either version; removed on drop.
struct Memory {
    path: PathBuf,
    limit: &'static str,
}

impl Memory {
    /// `None` where there is none to be had.
    fn new() -> anyhow::Result<Option<Self>> {
        let (v1, v2) = (
            Path::new("/sys/fs/cgroup/memory"),
            Path::new("/sys/fs/cgroup"),
        );
        let name = format!("dtl-memory-{}", process::id());
        let (parent, limit) = if v1.join("memory.limit_in_bytes").exists() {
            (v1, "memory.limit_in_bytes")
        } else if fs::read_to_string(v2.join("cgroup.subtree_control"))
            .is_ok_and(|controllers| controllers.contains("memory"))
        {
            (v2, "memory.max")
        } else {
            return Ok(None);
        };
        let path = parent.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Some(Self { path, limit }))
    }

    /// The process gets no more memory from now on; the kernel kills it at its next page.
    fn starve(&self, pid: Pid) -> anyhow::Result<()> {
        fs::write(self.path.join(self.limit), "65536").context("the limit")?;
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).context("the process")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.path.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _ended = pid
                .parse()
                .map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
