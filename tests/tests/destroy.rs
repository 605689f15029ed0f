//! The hand that destroys sockets, against the kernel's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc as std_mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_tests::{Cut, Lab, PEER_PORT, Traffic, binary, peer::Event, testbed};
use detector_user::{
    clock,
    core::{Destroyed, Endpoint, FlowEventKind, FlowId, PeerName, Signal, TcpState, Time},
    effect::destroy::{Destroyer, Request},
    netlink::sock_diag::{SockDiag, Socket},
    netns::Namespaces,
    source::{
        Source as _,
        ebpf::{EbpfOptions, EbpfSource},
    },
};
use nix::{
    libc::ECONNABORTED,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{self as sys, AddressFamily, SockFlag, SockType, sockopt},
    },
    unistd::gettid,
};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// h1 has the sockets and the one who destroys them, h2 is their peer.
struct Stand {
    destroyer: Destroyer,
    answers: mpsc::Receiver<Signal>,
    sock_diag: SockDiag,
    listener: TcpListener,
    lab: Lab,
}

/// Where the calling thread is, and nowhere else.
fn start(signals: mpsc::Sender<Signal>) -> anyhow::Result<Destroyer> {
    Ok(Destroyer::spawn(signals, Namespaces::only_own()?)?)
}

/// Both ends of a connection.
struct Pair {
    ours: TcpStream,
    theirs: TcpStream,
}

impl Stand {
    fn new() -> anyhow::Result<Self> {
        let lab = Lab::new(2)?;
        let (sender, answers) = mpsc::channel(8);
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
        let asked = Request {
            peer: PeerName::from_canonical(&self.lab.host(2).url()),
            generation: 3,
            silent_since,
            sockets: sockets.to_vec(),
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

/// A thread that is inside a blocking call by the time this returns.
async fn blocked<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    let (sender, told) = std_mpsc::channel();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_read_returns_econnaborted() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pair = stand.connect(stand.v4())?;
        let other = stand.connect(stand.v4())?;
        let named = stand.named(&pair.ours)?;
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        pair.ours.write_all(b"a request")?;
        let ours = pair.ours.try_clone()?;
        let read = blocked(move || (&ours).read(&mut [0; 16])).await?;

        let asked = clock::now();
        assert_eq!(stand.destroy(asked, &[named]).await?, result(1, 0, 0, 0));
        println!("answered after {:?}", clock::now().since(asked));
        let returned = read.join().expect("the thread does not panic");
        println!("the read returned within {:?}", clock::now().since(asked));
        assert_aborted(returned);
        assert!(!stand.is_there(named.1)?);
        // It was not asked for.
        let (_, cookie) = stand.named(&other.ours)?;
        assert!(stand.is_there(cookie)?);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_spoken_since_keeps_all_its_sockets() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push(stand.connect(stand.v4())?);
        }
        let mut named = Vec::new();
        for pair in &pairs {
            named.push(stand.named(&pair.ours)?);
        }
        let silent_since = clock::now();
        // Longer than the resolution of what the kernel says.
        tokio::time::sleep(Duration::from_millis(60)).await;
        pairs[1].theirs.write_all(b"x")?;
        pairs[1].ours.read_exact(&mut [0])?;

        let told = stand.destroy(silent_since, &named).await?;
        assert_eq!(told, result(0, 3, 0, 0));
        for pair in &mut pairs {
            pair.theirs.write_all(b"y")?;
            pair.ours.read_exact(&mut [0])?;
        }

        // Nor are they if the one that heard was not to be destroyed.
        let told = stand.destroy(silent_since, &named[2..]).await?;
        assert_eq!(told, result(0, 1, 0, 0));

        // It was that, and nothing else, that spared them.
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(3, 0, 0, 0));
        for mut pair in pairs {
            assert_aborted(pair.ours.read(&mut [0]));
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_socket_is_destroyed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let (us, peer) = (stand.lab.host(1).clone(), stand.lab.host(2).clone());
        let at = |ip: IpAddr| SocketAddr::new(ip, PEER_PORT);

        let v4 = stand.connect(at(peer.v4().into()))?;
        let v6 = stand.connect(at(peer.v6().into()))?;
        let mapped = stand.connect(at(peer.v4().to_ipv6_mapped().into()))?;
        let listener = us.within(|| TcpListener::bind(at(Ipv6Addr::UNSPECIFIED.into())))??;
        let theirs = peer.within(|| TcpStream::connect(at(us.v4().into())))??;
        let (ours, _) = listener.accept()?;
        let accepted = Pair { ours, theirs };
        let ours = us.within(|| bound_to_device("eth0", at(peer.v4().into())))??;
        let (theirs, _) = stand.listener.accept()?;
        let bound = Pair { ours, theirs };

        for (what, pair) in [
            ("IPv4", v4),
            ("IPv6", v6),
            ("dialled as v4-mapped", mapped),
            ("accepted as v4-mapped", accepted),
            ("bound to a device", bound),
        ] {
            let named = stand.named(&pair.ours)?;
            let told = stand.destroy(clock::now(), &[named]).await?;
            assert_eq!(told, result(1, 0, 0, 0), "{what}");
            let mut ours = pair.ours;
            assert_aborted(ours.read(&mut [0]));
        }
        Ok(())
    })
    .await
}

/// SO_BINDTODEVICE, as in a VRF.
fn bound_to_device(device: &str, addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = sys::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    sys::setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
    let addr = sys::SockaddrStorage::from(addr);
    sys::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &addr)?;
    Ok(TcpStream::from(socket))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_nobody_answers_returns_too() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let addr = stand.v4();
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        let host = stand.lab.host(1).clone();
        let connect = thread::spawn(move || host.within(|| TcpStream::connect(addr)));
        let named = testbed::until("a SYN is sent", SOON, async || {
            let sockets = stand.sockets()?;
            let connecting = |socket: &&Socket| socket.reading.state == TcpState::SynSent;
            let found = sockets.iter().find(connecting);
            Ok(found.map(|socket| (socket.reading.id, socket.reading.cookie)))
        })
        .await?;
        let told = stand.destroy(clock::now(), &[named]).await?;
        assert_eq!(told, result(1, 0, 0, 0));
        let returned = connect.join().expect("the thread does not panic")?;
        assert_aborted(returned);
        Ok(())
    })
    .await
}

/// What a program sees that has no time-outs of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmodified_program_gets_its_calls_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let client = Traffic::blocking_client(stand.lab.host(1), stand.lab.host(2), 2).await?;
        let cut = stand.lab.cut(&[2], Cut::SilentDrop)?;
        // The request is out, so both wait in read(); then both dial anew, in vain.
        for (call, state) in [
            ("read", TcpState::Established),
            ("connect", TcpState::SynSent),
        ] {
            let named = testbed::until("both wait", SOON, async || {
                let sockets = stand.sockets()?;
                let waiting = sockets.iter().filter(|s| s.reading.state == state);
                let named: Vec<_> = waiting.map(|s| (s.reading.id, s.reading.cookie)).collect();
                Ok((named.len() == 2).then_some(named))
            })
            .await?;
            let told = stand.destroy(clock::now(), &named).await?;
            assert_eq!(told, result(2, 0, 0, 0), "{call}");
            for connection in 0..2 {
                let error = client.event(cut.at_ns, SOON, |event| match event {
                    Event::Error { channel, error, .. } if *channel == connection => {
                        error.starts_with(call).then(|| error.clone())
                    }
                    _ => None,
                });
                let error = error.await?;
                assert!(error.contains("os error 103"), "{error}");
            }
        }
        Ok(())
    })
    .await
}

/// Nobody waits for them, but their memory and ports are held for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_destroyed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let fin_wait_1 = stand.connect(stand.v4())?;
        let mut last_ack = stand.connect(stand.v4())?;
        last_ack.theirs.shutdown(Shutdown::Write)?;
        assert_eq!(last_ack.ours.read(&mut [0])?, 0);
        let named = [stand.named(&fin_wait_1.ours)?, stand.named(&last_ack.ours)?];
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        drop((fin_wait_1.ours, last_ack.ours));
        for socket in stand.sockets()? {
            assert_eq!(socket.reading.state, TcpState::Closing);
        }
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(2, 0, 0, 0));
        for (_, cookie) in named {
            assert!(!stand.is_there(cookie)?);
        }
        Ok(())
    })
    .await
}

/// Its ports may be another connection's by now.
#[tokio::test(flavor = "multi_thread")]
async fn another_cookie_is_another_socket() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pair = stand.connect(stand.v4())?;
        let (flow, cookie) = stand.named(&pair.ours)?;
        let told = stand.destroy(clock::now(), &[(flow, cookie + 1)]).await?;
        assert_eq!(told, result(0, 0, 1, 0));
        let told = stand
            .destroy(clock::now(), &[(flow, 0), (flow, u64::MAX)])
            .await?;
        assert_eq!(told, result(0, 0, 0, 2));
        pair.theirs.write_all(b"x")?;
        pair.ours.read_exact(&mut [0])?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_namespace_is_out_of_reach() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut elsewhere = Stand::new()?;
        let mut pair = elsewhere.connect(elsewhere.v4())?;
        let (flow, cookie) = elsewhere.named(&pair.ours)?;
        let told = stand.destroy(clock::now(), &[(flow, cookie)]).await?;
        assert_eq!(told, result(0, 0, 0, 1));
        let unknown = FlowId { netns: 0, ..flow };
        let told = stand.destroy(clock::now(), &[(unknown, cookie)]).await?;
        assert_eq!(told, result(0, 0, 1, 0));
        pair.theirs.write_all(b"x")?;
        pair.ours.read_exact(&mut [0])?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_sockets_in_one_request() -> anyhow::Result<()> {
    const SOCKETS: usize = 2000;
    testbed::run(LIMIT, async {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let needed = 2 * SOCKETS as u64 + 200;
        ensure!(
            hard >= needed,
            "needs {needed} files, the hard limit is {hard}"
        );
        setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;

        let mut stand = Stand::new()?;
        let addr = stand.v4();
        let listener = stand.listener.try_clone()?;
        let accept = thread::spawn(move || -> io::Result<Vec<TcpStream>> {
            (0..SOCKETS).map(|_| Ok(listener.accept()?.0)).collect()
        });
        let connect = || -> io::Result<Vec<TcpStream>> {
            (0..SOCKETS).map(|_| TcpStream::connect(addr)).collect()
        };
        let mut ours = stand.lab.host(1).within(connect)??;
        let _theirs = accept.join().expect("the thread does not panic")?;
        let begun = clock::now();
        let sockets = stand.sockets()?;
        println!(
            "one look at {}: {:?}",
            sockets.len(),
            clock::now().since(begun)
        );
        let named: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.reading.id, socket.reading.cookie))
            .collect();
        assert_eq!(named.len(), SOCKETS);

        let begun = clock::now();
        let told = stand.destroy(begun, &named).await?;
        println!("{SOCKETS} destroyed: {:?}", clock::now().since(begun));
        assert_eq!(told, result(SOCKETS as u32, 0, 0, 0));
        for stream in &mut ours {
            assert_aborted(stream.read(&mut [0]));
        }
        Ok(())
    })
    .await
}

/// What the tracepoints tell of our own kills carries ECONNABORTED, which the core takes for
/// no evidence.
#[tokio::test(flavor = "multi_thread")]
async fn the_tracepoints_tell_our_own_kills_apart() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let addr = stand.v4();
        let mut source = EbpfSource::load(&EbpfOptions {
            netns: Some(stand.sock_diag.netns()),
            ..EbpfOptions::default()
        })?;
        let peer = PeerName::from_canonical(&stand.lab.host(2).url());
        let endpoint = Endpoint {
            addr: addr.ip(),
            port: addr.port(),
        };
        source.watch(&BTreeMap::from([(peer, vec![endpoint])]))?;

        let mut pair = stand.connect(addr)?;
        let established = stand.named(&pair.ours)?;
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        pair.ours.write_all(b"a request")?;
        let host = stand.lab.host(1).clone();
        let connect = thread::spawn(move || host.within(|| TcpStream::connect(addr)));
        // Only a flow on which something has happened is told of when it ends.
        event(&mut source, |flow, kind| {
            flow.local == established.0.local && matches!(kind, FlowEventKind::Rto { .. })
        })
        .await?;
        let sockets = stand.sockets()?;
        let named: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.reading.id, socket.reading.cookie))
            .collect();
        assert_eq!(named.len(), 2);
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(2, 0, 0, 0));
        assert_aborted(connect.join().expect("the thread does not panic")?);

        let mut ends = Vec::new();
        while ends.len() < 4 {
            let end = |_: &FlowId, kind: FlowEventKind| match kind {
                FlowEventKind::Closed { errno } => Some(("closed", errno)),
                FlowEventKind::ConnectFailed { errno } => Some(("connect failed", errno)),
                FlowEventKind::ErrorReport { errno } => Some(("error report", errno)),
                _ => None,
            };
            ends.extend(events(&mut source, end).await?);
        }
        ends.sort_unstable();
        let aborted = ECONNABORTED as u32;
        let expected = ["closed", "connect failed", "error report", "error report"];
        assert_eq!(ends, expected.map(|what| (what, aborted)));
        Ok(())
    })
    .await
}

async fn event(
    source: &mut EbpfSource,
    is_it: impl Fn(&FlowId, FlowEventKind) -> bool,
) -> anyhow::Result<()> {
    while events(source, |flow, kind| is_it(flow, kind).then_some(()))
        .await?
        .is_empty()
    {}
    Ok(())
}

/// What `find` makes of the next batch of events.
async fn events<T>(
    source: &mut EbpfSource,
    find: impl Fn(&FlowId, FlowEventKind) -> Option<T>,
) -> anyhow::Result<Vec<T>> {
    let batch = tokio::time::timeout(SOON, source.next())
        .await
        .context("no event")??;
    let found = batch.iter().filter_map(|signal| match signal {
        Signal::Flow(event) => find(&event.flow, event.kind),
        _ => None,
    });
    Ok(found.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_proves_it_and_says_what_is_missing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let program = binary()?;
        let check = |capabilities: &str| -> anyhow::Result<serde_json::Value> {
            let mut command = lab.host(1).command("setpriv");
            let bounding = format!("--bounding-set={capabilities}");
            command.args([&bounding, "--"]).arg(&program);
            let output = command.args(["doctor", "--output", "json"]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let lines: Vec<serde_json::Value> = text
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?;
            let mut lines = lines.into_iter();
            lines
                .find(|check| check["name"] == "destroy sockets")
                .with_context(|| format!("no such check: {text}"))
        };
        let able = check("+all")?;
        assert_eq!(able["status"], "ok", "{able}");
        let unable = check("-net_admin")?;
        assert_eq!(unable["status"], "degraded", "{unable}");
        let told = unable.to_string();
        assert!(told.contains("CAP_NET_ADMIN"), "{told}");
        Ok(())
    })
    .await
}
