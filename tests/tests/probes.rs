//! The daemon's own probes, on real links: who is answered for, and who is not.

use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Cut, Host, Lab, testbed};
use detector_user::{
    clock,
    core::{Endpoint, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time},
    netns::Namespaces,
    source::probe::Prober,
};
use nix::{
    libc::{EAGAIN, ENETDOWN, ENETUNREACH, ENODEV, EOPNOTSUPP, EPERM},
    net::if_::if_nametoindex,
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Far more than an answer in the lab takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
/// How long to listen for what must not come.
const A_WHILE: Duration = Duration::from_millis(500);
const OPEN: u16 = 9000;
const SHUT: u16 = 9001;

/// A prober in a host's namespace, and what it tells.
struct Asker {
    prober: Prober,
    signals: Receiver<Signal>,
    link: u32,
    next: u64,
}

/// Where the calling thread is, and nowhere else.
fn start(signals: Sender<Signal>) -> anyhow::Result<Prober> {
    Ok(Prober::start(signals, Namespaces::only_own()?)?)
}

impl Asker {
    fn on(host: &Host) -> anyhow::Result<Self> {
        let (sender, signals) = channel(32 * 1024);
        let (prober, link) = host.within(move || (start(sender), if_nametoindex("eth0")))?;
        Ok(Self {
            prober: prober?,
            signals,
            link: link?,
            next: 1,
        })
    }

    fn neighbour(&self, addr: impl Into<IpAddr>) -> ProbeTarget {
        ProbeTarget::Neighbour {
            addr: addr.into(),
            link: self.link,
        }
    }

    fn send(&mut self, target: ProbeTarget, give_up_after: Duration) -> ProbeId {
        let probe = ProbeId(self.next);
        self.next += 1;
        self.prober.send(probe, target, give_up_after);
        probe
    }

    async fn event(&mut self) -> anyhow::Result<ProbeEvent> {
        let signal = timeout(PATIENT, self.signals.recv())
            .await
            .context("the prober says nothing")?;
        match signal {
            Some(Signal::Probe(event)) => Ok(event),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Sends one and takes its first event, which is never the answer.
    async fn first(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeOutcome> {
        let probe = self.send(target, PATIENT);
        let event = self.event().await?;
        ensure!((event.probe, event.target) == (probe, target), "{event:?}");
        Ok(event.outcome)
    }

    /// Asks and takes both events.
    async fn answer(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeAnswer> {
        let before = clock::now();
        let probe = self.send(target, PATIENT);
        let sent = self.event().await;
        let sent = sent.with_context(|| format!("{target} is not sent"))?;
        let answered = self.event().await;
        let answered = answered.with_context(|| format!("{target} is not answered"))?;
        ensure!(sent.outcome == ProbeOutcome::Sent, "{sent:?}");
        ensure!(
            (sent.probe, answered.probe) == (probe, probe),
            "{sent:?} {answered:?}"
        );
        ensure!(answered.target == target, "{answered:?}");
        let times = [before, sent.at, answered.at, clock::now()];
        ensure!(times.is_sorted(), "{target}: {times:?}");
        match answered.outcome {
            ProbeOutcome::Answered(answer) => Ok(answer),
            other => anyhow::bail!("{target}: {other:?}"),
        }
    }

    /// Asks all of them, and sees that each is sent and none is answered.
    async fn silence(&mut self, targets: &[ProbeTarget], give_up: Duration) -> anyhow::Result<()> {
        for &target in targets {
            self.send(target, give_up);
        }
        for target in targets {
            let event = self.event().await?;
            ensure!(event.outcome == ProbeOutcome::Sent, "{target}: {event:?}");
        }
        self.quiet(give_up + A_WHILE).await
    }

    async fn quiet(&mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.signals.recv()).await {
            Err(_) => Ok(()),
            Ok(signal) => anyhow::bail!("told {signal:?}"),
        }
    }
}

/// A lab whose links are in use: the kernel sees a carrier on its own time, and until then
/// takes frames and drops them.
async fn ready(hosts: usize) -> anyhow::Result<Lab> {
    let lab = Lab::new(hosts)?;
    for host in lab.hosts() {
        testbed::until("the link is up", PATIENT, async || {
            let shown = host.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
            Ok(shown.contains("state UP").then_some(()))
        })
        .await?;
    }
    Ok(lab)
}

fn connect(addr: impl Into<IpAddr>, port: u16) -> ProbeTarget {
    let addr = addr.into();
    ProbeTarget::Connect(Endpoint { addr, port })
}

fn listen(host: &Host) -> anyhow::Result<[TcpListener; 2]> {
    let (v4, v6) = (host.v4(), host.v6());
    let (v4, v6) =
        host.within(|| (TcpListener::bind((v4, OPEN)), TcpListener::bind((v6, OPEN))))?;
    Ok([v4?, v6?])
}

/// Every kind of probe that can be sent to the host.
fn all(asker: &Asker, host: &Host) -> [ProbeTarget; 6] {
    let (v4, v6) = (host.v4(), host.v6());
    [
        asker.neighbour(v4),
        asker.neighbour(v6),
        connect(v4, OPEN),
        connect(v6, OPEN),
        connect(v4, SHUT),
        connect(v6, SHUT),
    ]
}

fn wanted(target: ProbeTarget) -> ProbeAnswer {
    match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour,
        ProbeTarget::Connect(Endpoint { port: OPEN, .. }) => ProbeAnswer::SynAck,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
    }
}

#[tokio::test]
async fn a_living_host_answers_every_probe_and_its_programs_notice_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        for _ in 0..20 {
            for target in all(&asker, peer) {
                assert_eq!(asker.answer(target).await?, wanted(target), "{target}");
            }
        }
        // The first connection that the program gets is the first real one.
        for listener in listeners {
            let addr = listener.local_addr()?;
            let real = us.within(|| TcpStream::connect(addr))??;
            assert_eq!(listener.accept()?.1, real.local_addr()?);
        }
        assert_eq!(asker.prober.malformed(), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn this_host_itself_can_be_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(1).await?;
        let us = lab.host(1);
        let _listeners = listen(us)?;
        let mut asker = Asker::on(us)?;
        for target in [
            connect(us.v4(), OPEN),
            connect(us.v6(), OPEN),
            connect(us.v4().to_ipv6_mapped(), OPEN),
            connect(us.v4(), SHUT),
            connect(us.v6(), SHUT),
            connect([127, 0, 0, 1], SHUT),
        ] {
            assert_eq!(asker.answer(target).await?, wanted(target), "{target}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cut_host_answers_nothing_until_it_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        let targets = all(&asker, peer);
        for cut in Cut::ALL {
            asker.answer(targets[0]).await?;
            lab.cut(&[2], cut)?;
            let silent = asker.silence(&targets, SHORT).await;
            silent.with_context(|| cut.as_str())?;
            lab.heal(&[2])?;
            for target in targets {
                assert_eq!(asker.answer(target).await?, wanted(target), "{target}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_answer_after_giving_up_is_not_reported() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        // All of them are answered, some microseconds later.
        let targets = all(&asker, peer);
        asker.silence(&targets, Duration::ZERO).await?;
        for target in targets {
            assert_eq!(asker.answer(target).await?, wanted(target), "{target}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_syn_is_ever_sent_again() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            // Its hardware address is known: the SYN leaves at once.
            asker.answer(connect(addr, SHUT)).await?;
        }
        lab.cut(&[2], Cut::SilentDrop)?;
        let targets = [connect(peer.v4(), SHUT), connect(peer.v6(), SHUT)];
        let far_beyond = Duration::from_secs(3);
        let begun = clock::now();
        asker.silence(&targets, far_beyond).await?;
        assert!(clock::now().since(begun) > far_beyond);
        assert_eq!(counter(us, "TCPSynRetrans")?, 0);
        Ok(())
    })
    .await
}

/// A counter of the host's /proc/net/netstat, which has lines of names and lines of values.
fn counter(host: &Host, name: &str) -> anyhow::Result<u64> {
    let text = host.within(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let lines: Vec<&str> = text.lines().collect();
    let mut values = lines.chunks(2).filter_map(|pair| {
        let place = pair[0].split(' ').position(|word| word == name)?;
        pair.get(1)?.split(' ').nth(place)?.parse().ok()
    });
    values.next().with_context(|| format!("no {name}: {text}"))
}

#[tokio::test]
async fn what_cannot_be_sent_has_failed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let failed = |errno: i32| ProbeOutcome::Failed {
            errno: errno as u32,
        };
        let on = |link| ProbeTarget::Neighbour {
            addr: peer.v4().into(),
            link,
        };
        let loopback = us.within(|| if_nametoindex("lo"))??;
        assert_eq!(asker.first(on(0xffff)).await?, failed(ENODEV));
        assert_eq!(asker.first(on(loopback)).await?, failed(EOPNOTSUPP));
        let nowhere = connect([192, 0, 2, 1], OPEN);
        assert_eq!(asker.first(nowhere).await?, failed(ENETUNREACH));

        // Administratively down, and then up without a carrier.
        let down = || us.exec("ip", &["link", "set", "eth0", "down"]).map(drop);
        let no_carrier = || {
            us.exec("ip", &["link", "set", "eth0", "up"])?;
            lab.cut(&[1], Cut::PortDown).map(drop)
        };
        for change in [&down as &dyn Fn() -> anyhow::Result<()>, &no_carrier] {
            assert_eq!(
                asker.answer(asker.neighbour(peer.v4())).await?,
                ProbeAnswer::Neighbour
            );
            change()?;
            for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
                let target = asker.neighbour(addr);
                fails_with(&mut asker, target, failed(ENETDOWN)).await?;
            }
            us.exec("ip", &["link", "set", "eth0", "up"])?;
            us.exec(
                "ip",
                &[
                    "addr",
                    "replace",
                    &format!("{}/64", us.v6()),
                    "dev",
                    "eth0",
                    "nodad",
                ],
            )?;
            lab.heal(&[1])?;
            let target = asker.neighbour(peer.v4());
            testbed::until("the link is up again", PATIENT, async || {
                Ok((asker.first(target).await? == ProbeOutcome::Sent).then_some(()))
            })
            .await?;
            asker.event().await?;
        }
        Ok(())
    })
    .await
}

/// The links are read once a second at most: what was read may be that old.
async fn fails_with(
    asker: &mut Asker,
    target: ProbeTarget,
    wanted: ProbeOutcome,
) -> anyhow::Result<()> {
    testbed::until("the link is seen to be down", PATIENT, async || {
        let outcome = asker.first(target).await?;
        ensure!(
            outcome == wanted || outcome == ProbeOutcome::Sent,
            "{outcome:?}"
        );
        Ok((outcome == wanted).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_request_of_the_peer_s_own_is_an_answer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        // From now on it answers no ARP.
        peer.within(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "8"))??;
        let mut asker = Asker::on(us)?;
        let target = asker.neighbour(peer.v4());
        asker.silence(&[target], SHORT).await?;

        let probe = asker.send(target, PATIENT);
        assert_eq!(asker.event().await?.outcome, ProbeOutcome::Sent);
        peer.exec("ip", &["neigh", "flush", "all"])?;
        let from = peer.within(|| UdpSocket::bind((peer.v4(), 0)))??;
        from.send_to(b"x", SocketAddr::from((us.v4(), 7)))?;
        let event = asker.event().await?;
        let answered = ProbeOutcome::Answered(ProbeAnswer::Neighbour);
        assert_eq!((event.probe, event.outcome), (probe, answered));
        Ok(())
    })
    .await
}

const REJECT: &str = "table inet t { chain c { type filter hook HOOK priority 0; \
     tcp dport 9000 reject with icmpx WHAT; }; }";

fn reject(host: &Host, hook: &str, what: &str) -> anyhow::Result<()> {
    let rules = REJECT.replace("HOOK", hook).replace("WHAT", what);
    host.exec("nft", &["flush ruleset"])?;
    host.exec("nft", &[&rules]).map(drop)
}

#[tokio::test]
async fn what_others_say_for_the_peer_is_no_answer_and_what_it_says_itself_is() -> anyhow::Result<()>
{
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let targets = [connect(peer.v4(), OPEN), connect(peer.v6(), OPEN)];
        for what in ["port-unreachable", "admin-prohibited"] {
            // The peer's own packet filter.
            reject(peer, "input", what)?;
            for target in targets {
                assert_eq!(
                    asker.answer(target).await?,
                    ProbeAnswer::Reset,
                    "{what} {target}"
                );
            }
            peer.exec("nft", &["flush ruleset"])?;

            // This host's packet filter, which says the same of a peer that may be dead.
            reject(us, "output", what)?;
            for target in targets {
                let event = asker.first(target).await?;
                let is_answer = matches!(event, ProbeOutcome::Answered(_));
                assert!(!is_answer, "{what} {target}: {event:?}");
                asker.quiet(A_WHILE).await?;
            }
            us.exec("nft", &["flush ruleset"])?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_waits_is_bounded() -> anyhow::Result<()> {
    const AT_MOST: usize = 4096;
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (peer, mut asker) = (lab.host(2), Asker::on(lab.host(1))?);
        lab.cut(&[2], Cut::SilentDrop)?;
        for target in [asker.neighbour(peer.v4()), connect(peer.v4(), OPEN)] {
            // Few enough at a time for the queue, which is bounded by itself.
            let (mut sent, mut refused) = (Vec::new(), 0);
            for _ in 0..20 {
                for _ in 0..500 {
                    asker.send(target, PATIENT);
                }
                for _ in 0..500 {
                    let event = asker.event().await?;
                    match event.outcome {
                        ProbeOutcome::Sent => sent.push(event.at),
                        ProbeOutcome::Failed { errno } if errno == EAGAIN as u32 => refused += 1,
                        other => anyhow::bail!("{target}: {other:?}"),
                    }
                }
            }
            println!("{target}: {} sent, {refused} refused", sent.len());
            // A connect does not wait for longer, whatever is asked for.
            let together = Duration::from_millis(900);
            let begun = sent[0];
            sent.retain(|at| at.since(begun) < together);
            assert!((1..=AT_MOST).contains(&sent.len()), "{}", sent.len());
            assert!(refused > 0);
        }
        asker.quiet(PATIENT + A_WHILE).await?;
        // And room again.
        lab.heal(&[2])?;
        asker.answer(asker.neighbour(peer.v4())).await?;
        asker.answer(connect(peer.v4(), OPEN)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_left() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        for target in all(&asker, peer) {
            asker.answer(target).await?;
        }
        // The raw sockets are kept for the next probe, a connect is not kept at all.
        assert_eq!(sockets(us)?, ["packet", "raw6"]);
        drop(listeners);
        assert_eq!(sockets(peer)?, [""; 0]);
        lab.cut(&[2], Cut::SilentDrop)?;
        asker.silence(&all(&asker, peer), SHORT).await?;
        assert_eq!(sockets(us)?, ["packet", "raw6"]);
        // Some wait while it is dropped.
        for target in all(&asker, peer) {
            asker.send(target, PATIENT);
        }
        asker.event().await?;
        drop(asker);
        testbed::until("all sockets are closed", PATIENT, async || {
            Ok(sockets(us)?.is_empty().then_some(()))
        })
        .await
    })
    .await
}

/// The sockets in a host's namespace, by the file of /proc/net that lists them.
fn sockets(host: &Host) -> anyhow::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for table in ["packet", "raw", "raw6", "tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{table}");
        let text = host.within(|| fs::read_to_string(&path))?.context(path)?;
        found.extend(text.lines().skip(1).map(|_| table));
    }
    Ok(found)
}

/// Tells this test program that it runs without the capability.
const WITHOUT_NET_RAW: &str = "DETECTOR_TEST_WITHOUT_NET_RAW";

/// The program runs itself again without the capability: a thread alone cannot lose it here.
#[tokio::test]
async fn without_cap_net_raw_only_connects_are_left() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        if env::var_os(WITHOUT_NET_RAW).is_none() {
            let test = "without_cap_net_raw_only_connects_are_left";
            let output = Command::new("setpriv")
                .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"])
                .arg(env::current_exe()?)
                .args(["--exact", test, "--nocapture"])
                .env(WITHOUT_NET_RAW, "1")
                .output()
                .context("cannot run setpriv: is util-linux installed?")?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "{said}{output:?}");
            ensure!(said.contains("1 passed"), "{said}");
            return Ok(());
        }
        let lab = ready(2).await?;
        let peer = lab.host(2);
        let mut asker = Asker::on(lab.host(1))?;
        let errno = EPERM as u32;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let target = asker.neighbour(addr);
            assert_eq!(asker.first(target).await?, ProbeOutcome::Failed { errno });
            let answer = asker.answer(connect(addr, SHUT)).await?;
            assert_eq!(answer, ProbeAnswer::Reset);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_loop_s_delay_loses_no_word() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let (sender, mut signals) = channel(1);
        let prober = us.within(move || start(sender))??;
        for probe in 0..100 {
            prober.send(ProbeId(probe), connect(peer.v4(), SHUT), PATIENT);
        }
        let mut last: BTreeMap<ProbeId, (usize, Time)> = BTreeMap::new();
        while last.values().filter(|(events, _)| *events == 2).count() < 100 {
            let signal = timeout(PATIENT, signals.recv()).await?;
            let Some(Signal::Probe(event)) = signal else {
                anyhow::bail!("{signal:?}");
            };
            let (events, at) = last.entry(event.probe).or_default();
            assert!(*at <= event.at);
            (*events, *at) = (*events + 1, event.at);
        }
        Ok(())
    })
    .await
}
