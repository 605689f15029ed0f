//! Connections that differ from those that a storage node keeps.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Cut, Host, Scene, SceneOptions, Traffic, clock, testbed, trio::said};

use crate::{LIMIT, SOON};

const PORT: u16 = 9000;
const CUTS: usize = 3;
/// A SYN is sent again after a second, and one may have been sent just before the cut: what is
/// found earlier was found without that.
const BEFORE_THE_SECOND_SYN: Duration = Duration::from_millis(900);

/// Calls h2 over and over on a connection of its own each, as a program does that keeps none.
struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(from: &Host, to: &Host, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let target = (to.v4(), PORT).into();
        let threads = (0..count).map(|_| {
            let (from, stop) = (from.clone(), stop.clone());
            let calls = move || {
                while !stop.load(Ordering::Relaxed) {
                    // What fails, hangs or is refused is tried again.
                    let _ended = call(target);
                }
            };
            thread::spawn(move || {
                let _left = from.within(calls);
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn call(target: std::net::SocketAddr) -> std::io::Result<()> {
    thread::sleep(Duration::from_millis(20));
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h2\r\nconnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

/// Every connect counts from its first SYN on, and the idle peer is still probed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_each_call() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut scene = Scene::new(SceneOptions::default()).await?;
        scene.servers[0].process.kill().await?;
        scene.servers[0] = Traffic::http_server(scene.lab.host(2)).await?;
        let _callers = Callers::start(scene.lab.host(1), scene.lab.host(2), 4);
        let mut shortest = Duration::MAX;
        for _ in 0..CUTS {
            scene.alive(2).await?;
            let cut = scene.cut(2, Cut::SilentDrop)?;
            let (open, after) = scene.open_after(cut, 2, SOON).await?;
            println!("open after {after:?}: {:?}", open.state.reason());
            shortest = shortest.min(after);
            let heal = scene.heal(2)?;
            scene.closed_after(heal, 2, SOON).await?;
        }
        // The best of three: a busy machine makes a time longer, never shorter.
        ensure!(
            shortest < BEFORE_THE_SECOND_SYN,
            "open after {shortest:?} at best"
        );
        scene.daemon.stop().await
    })
    .await
}

/// Only its subflows are TCP sockets that can be ended. The kernel ends the connection itself, and
/// has no request for that (`mptcp_diag_handler` of net/mptcp/mptcp_diag.c has no `destroy`),
/// when it has had no subflow for `net.mptcp.close_timeout`: 60 s by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_mptcp_returns() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut scene = Scene::new(SceneOptions::default()).await?;
        scene.servers[0].process.kill().await?;
        let Some(listener) = mptcp::listen(scene.lab.host(2))? else {
            println!("skipped: this kernel has no MPTCP (CONFIG_MPTCP)");
            return scene.daemon.stop().await;
        };
        mptcp::closes_after(scene.lab.host(1), 1)?;
        let mut ours = mptcp::connect(scene.lab.host(1), &listener)?;
        let (mut theirs, _) = listener.accept()?;
        ours.write_all(b"a call")?;
        theirs.read_exact(&mut [0; 6])?;
        scene.alive(2).await?;
        let returned = thread::spawn(move || {
            let read = ours.read(&mut [0; 1]);
            (clock::now_ns(), read)
        });
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        testbed::until("the read returns", SOON, async || {
            Ok(returned.is_finished().then_some(()))
        })
        .await
        .with_context(|| said(&scene.daemon, &scene.lab.host(2).url()))?;
        let (at_ns, read) = returned.join().ok().context("the reader panicked")?;
        println!(
            "returned after {:?}: {read:?}",
            clock::between(cut.at_ns, at_ns)
        );
        scene.daemon.stop().await
    })
    .await
}

/// Sockets that the standard library does not make.
mod mptcp {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use detector_tests::Host;
    use socket2::{Domain, Protocol, Socket, Type};

    /// `None` where the kernel has no MPTCP.
    pub(super) fn listen(host: &Host) -> anyhow::Result<Option<TcpListener>> {
        let made =
            host.within(|| Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)))?;
        let Ok(socket) = made else {
            return Ok(None);
        };
        // In the place of the killed server: what is watched is the peer's own port.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((host.v4(), super::PORT)).into())?;
        socket.listen(8)?;
        Ok(Some(socket.into()))
    }

    /// How long a connection without subflows is kept there, in seconds.
    pub(super) fn closes_after(host: &Host, seconds: u32) -> anyhow::Result<()> {
        let setting = format!("net.mptcp.close_timeout={seconds}");
        host.exec("sysctl", &["-qw", &setting]).map(|_| ())
    }

    pub(super) fn connect(host: &Host, to: &TcpListener) -> anyhow::Result<TcpStream> {
        let made =
            host.within(|| Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)))?;
        let socket = made?;
        socket.connect(&to.local_addr()?.into())?;
        Ok(socket.into())
    }
}
