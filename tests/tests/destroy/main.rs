//! The teardown of sockets, with the kernel's own socket table.

mod calls;
mod flow_map;
mod kernel;
mod which;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use detector_tests::{Lab, PEER_PORT, testbed};
use detector_user::{
    effect::destroy::Destroyer,
    model::{Bounds, Destroyed, FlowId, PeerName, Signal, Spare, Teardown, Time},
    netlink::sock_diag::{SockDiag, Socket},
    netns::Namespaces,
    signals::{self, SignalSender},
};
use nix::{libc::ECONNABORTED, unistd::gettid};
use tokio::sync::mpsc::Receiver;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// h1 has the sockets and the destroyer; h2 is their peer.
struct Stand {
    destroyer: Destroyer,
    answers: Receiver<Signal>,
    sock_diag: SockDiag,
    listener: TcpListener,
    lab: Lab,
}

/// Where the calling thread is, and nowhere else.
fn start(signals: SignalSender) -> anyhow::Result<Destroyer> {
    Destroyer::spawn(signals, Namespaces::only_own()?, Bounds::new(4))
}

/// Both ends of a connection.
struct Pair {
    ours: TcpStream,
    theirs: TcpStream,
}

impl Stand {
    fn new() -> anyhow::Result<Self> {
        let lab = Lab::new(2)?;
        let (sender, answers) = signals::channel(8);
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PEER_PORT));
        Ok(Self {
            destroyer: lab.host(1).within(|| start(sender))??,
            answers,
            sock_diag: lab.host(1).within(SockDiag::open)??,
            listener: lab.host(2).within(|| TcpListener::bind(any))??,
            lab,
        })
    }

    fn v4(&self) -> SocketAddr {
        SocketAddr::from((self.lab.host(2).v4(), PEER_PORT))
    }

    fn connect(&self, addr: SocketAddr) -> anyhow::Result<Pair> {
        let ours = self.lab.host(1).within(|| TcpStream::connect(addr))??;
        let (theirs, _) = self.listener.accept()?;
        Ok(Pair { ours, theirs })
    }

    /// All sockets of h1 whose peer is h2.
    fn sockets(&mut self) -> anyhow::Result<Vec<Socket>> {
        let host = self.lab.host(2);
        let addrs = BTreeSet::<IpAddr>::from([host.v4().into(), host.v6().into()]);
        Ok(self.sock_diag.sockets(&addrs)?.flows)
    }

    fn is_there(&mut self, cookie: u64) -> anyhow::Result<bool> {
        let sockets = self.sockets()?;
        Ok(sockets.iter().any(|socket| socket.reading.cookie == cookie))
    }

    /// As the core names the socket of this stream.
    fn named(&mut self, stream: &TcpStream) -> anyhow::Result<(FlowId, u64)> {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let local = canonical(stream.local_addr()?);
        let sockets = self.sockets()?;
        let found = sockets
            .iter()
            .find(|socket| socket.reading.id.local == local);
        let reading = &found.context("the stream is not in the dump")?.reading;
        Ok((reading.id, reading.cookie))
    }

    async fn destroy(
        &mut self,
        silent_since: Time,
        sockets: &[(FlowId, u64)],
    ) -> anyhow::Result<Destroyed> {
        let asked = Teardown {
            peer: PeerName::from_canonical(&self.lab.host(2).url()),
            addr: self.lab.host(2).v4().into(),
            generation: 3,
            sockets: sockets.to_vec(),
            spare: Spare::HeardSince(silent_since),
        };
        self.destroyer.request(asked.clone());
        let answer = tokio::time::timeout(SOON, self.answers.recv()).await?;
        match answer {
            Some(Signal::SocketsDestroyed {
                peer,
                generation,
                result,
                ..
            }) => {
                assert_eq!((peer, generation), (asked.peer, asked.generation));
                Ok(result)
            }
            other => bail!("an answer was expected, not {other:?}"),
        }
    }
}

fn result(destroyed: u32, spared: u32, gone: u32, failed: u32) -> Destroyed {
    Destroyed {
        destroyed,
        spared,
        gone,
        failed,
    }
}

/// Starts a thread, and returns when it is inside a blocking call.
async fn blocked<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    let (sender, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(gettid());
        call()
    });
    let stat = format!("/proc/self/task/{}/stat", told.recv()?);
    testbed::until("the thread sleeps", SOON, async || {
        let stat = std::fs::read_to_string(&stat)?;
        // The state follows the name, which is in parentheses.
        let is_asleep = stat.rsplit(')').next().is_some_and(|s| s.starts_with(" S"));
        Ok(is_asleep.then_some(()))
    })
    .await?;
    Ok(thread)
}

#[track_caller]
fn assert_aborted<T: std::fmt::Debug>(returned: io::Result<T>) {
    let error = returned.expect_err("the socket was destroyed");
    assert_eq!(error.raw_os_error(), Some(ECONNABORTED), "{error}");
}
