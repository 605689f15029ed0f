use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_tests::{Host, Lab, PEER_PORT, clock};
use detector_user::{
    core::{Endpoint, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal},
    netns::Namespaces,
    source::probe::Prober,
};
use nix::{
    net::if_::if_nametoindex,
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    },
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    Options,
    report::{Cost, Idle, Report},
};

/// Probes that wait for their answers at a time when one kind is measured.
const WINDOW: usize = 32;
/// Peers are asked in turn, those that are due together at each of these.
const TICK: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_millis(500);
const SHUT: u16 = PEER_PORT + 1;

/// The net that all peers are in: the asker is 10.80.0.1, the other half is one host.
const ASKER: &str = "10.80.0.1/16";
const PEERS: &str = "10.80.128.0/17";

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let lab = Lab::new(2)?;
    let (us, peer) = (lab.host(1), lab.host(2));
    us.exec("ip", &["addr", "add", ASKER, "dev", "eth0"])?;
    peer.exec("ip", &["route", "add", "local", PEERS, "dev", "lo"])?;
    // Connects go by one neighbour: the kernel's table of neighbours has room for 1,024 in all
    // namespaces together (net.ipv4.neigh.default.gc_thresh3). ARP probes need no entry.
    let gateway = peer.v4().to_string();
    us.exec("ip", &["route", "add", PEERS, "via", &gateway])?;
    // The way back: the peers ask for the asker, too.
    peer.exec("ip", &["route", "add", "10.80.0.1/32", "dev", "eth0"])?;
    let _listener = peer.within(|| TcpListener::bind(("0.0.0.0", PEER_PORT)))??;
    let mut bench = Bench::on(us)?;

    let v4 = IpAddr::from(peer.v4());
    let neighbour = |addr: IpAddr| ProbeTarget::Neighbour {
        addr,
        link: bench.link,
    };
    let connect = |addr, port| ProbeTarget::Connect(Endpoint { addr, port });
    let kinds = [
        ("ARP", neighbour(v4), ProbeAnswer::Neighbour),
        ("NDP", neighbour(peer.v6().into()), ProbeAnswer::Neighbour),
        (
            "connect, SYN-ACK",
            connect(v4, PEER_PORT),
            ProbeAnswer::SynAck,
        ),
        ("connect, RST", connect(v4, SHUT), ProbeAnswer::Reset),
    ];
    let mut costs = Vec::new();
    for (name, target, answer) in kinds {
        costs.push(bench.cost(name, target, answer, options.probes).await?);
    }
    let mut idle = Vec::new();
    for peers in [10, 100, 1000] {
        let link = bench.link;
        let ask = move |addr| ProbeTarget::Neighbour { addr, link };
        idle.push(bench.idle("ARP", us, peers, &ask, options).await?);
        let ask = |addr| connect(addr, PEER_PORT);
        idle.push(bench.idle("connect", us, peers, &ask, options).await?);
    }
    Report::new(options, costs, idle)
}

/// Times in nanoseconds: of the process, and of the prober's thread.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    pub user: u64,
    pub system: u64,
    pub thread: u64,
}

impl Cpu {
    fn now() -> anyhow::Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        Ok(Self {
            user: u64::try_from(usage.user_time().num_nanoseconds())?,
            system: u64::try_from(usage.system_time().num_nanoseconds())?,
            thread: prober_thread()?,
        })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
            thread: self.thread - earlier.thread,
        }
    }
}

/// Nanoseconds that the prober's thread was on a CPU, from its schedstat.
fn prober_thread() -> anyhow::Result<u64> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "probe" {
            let text = fs::read_to_string(task.join("schedstat"))?;
            let first = text
                .split_whitespace()
                .next()
                .context("an empty schedstat")?;
            return Ok(first.parse()?);
        }
    }
    bail!("no thread of the prober")
}

struct Bench {
    prober: Prober,
    signals: Receiver<Signal>,
    link: u32,
    next: u64,
}

impl Bench {
    fn on(host: &Host) -> anyhow::Result<Self> {
        let (sender, signals) = channel(4096);
        let (prober, link) = host.within(move || (start(sender), if_nametoindex("eth0")))?;
        Ok(Self {
            prober: prober?,
            signals,
            link: link?,
            next: 1,
        })
    }

    fn send(&mut self, target: ProbeTarget) {
        self.prober.send(ProbeId(self.next), target, GIVE_UP);
        self.next += 1;
    }

    async fn event(&mut self) -> anyhow::Result<ProbeEvent> {
        match timeout(GIVE_UP, self.signals.recv()).await? {
            Some(Signal::Probe(event)) => Ok(event),
            other => bail!("instead of a probe's event: {other:?}"),
        }
    }

    async fn cost(
        &mut self,
        name: &str,
        target: ProbeTarget,
        wanted: ProbeAnswer,
        probes: u64,
    ) -> anyhow::Result<Cost> {
        // The first one opens the socket and finds the neighbour.
        let (mut sent, mut answered) = (0, 0);
        let mut before = Cpu::now()?;
        let mut begun = clock::now_ns();
        for round in 0..=probes.div_ceil(WINDOW as u64) {
            if round == 1 {
                (sent, answered) = (0, 0);
                before = Cpu::now()?;
                begun = clock::now_ns();
            }
            for _ in 0..WINDOW {
                self.send(target);
            }
            let until = answered + WINDOW;
            while answered < until {
                let event = self.event().await.with_context(|| name.to_owned())?;
                match event.outcome {
                    ProbeOutcome::Sent => sent += 1,
                    ProbeOutcome::Answered(answer) if answer == wanted => answered += 1,
                    other => bail!("{name}: {other:?}"),
                }
            }
        }
        ensure!(sent == answered, "{name}: {sent} sent, {answered} answered");
        let took = clock::between(begun, clock::now_ns());
        Ok(Cost::new(name, sent, Cpu::now()?.since(before), took))
    }

    async fn idle(
        &mut self,
        kind: &str,
        us: &Host,
        peers: u16,
        ask: &dyn Fn(IpAddr) -> ProbeTarget,
        options: &Options,
    ) -> anyhow::Result<Idle> {
        let addr = |peer: u64| {
            let [high, low] = (0x8000 + peer as u16).to_be_bytes();
            IpAddr::from(Ipv4Addr::new(10, 80, high, low))
        };
        let (before, packets, begun) = (Cpu::now()?, packets(us)?, clock::now_ns());
        let (mut due, mut sent, mut answered) = (0_u64, 0_u64, 0_u64);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let elapsed = clock::between(begun, clock::now_ns());
                    if elapsed >= options.duration() {
                        break;
                    }
                    let share = elapsed.as_secs_f64() / options.interval().as_secs_f64();
                    let until = (share * f64::from(peers)) as u64;
                    for probe in due..until {
                        self.send(ask(addr(probe % u64::from(peers))));
                    }
                    due = until;
                }
                Some(signal) = self.signals.recv() => {
                    let Signal::Probe(event) = signal else { continue };
                    match event.outcome {
                        ProbeOutcome::Sent => sent += 1,
                        ProbeOutcome::Answered(_) => answered += 1,
                        failed => bail!("{kind}, {peers} peers: {failed:?}"),
                    }
                }
            }
        }
        let (cpu, took) = (
            Cpu::now()?.since(before),
            clock::between(begun, clock::now_ns()),
        );
        let packets = self::packets(us)? - packets;
        let mut unanswered = due - answered;
        while sent < due || unanswered > 0 {
            // What was on its way at the end is answered within the time for it, or never.
            match self.event().await.map(|event| event.outcome) {
                Ok(ProbeOutcome::Sent) => sent += 1,
                Ok(ProbeOutcome::Answered(_)) => unanswered -= 1,
                Ok(failed) => bail!("{kind}, {peers} peers: {failed:?}"),
                Err(_) => break,
            }
        }
        Ok(Idle::new(kind, peers, due, unanswered, packets, cpu, took))
    }
}

/// Packets in and out by eth0, from the host's /proc/net/dev.
fn packets(host: &Host) -> anyhow::Result<u64> {
    let text = host.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"))
        .with_context(|| format!("no eth0: {text}"))?;
    let fields: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
    match fields[..] {
        [_, received, _, _, _, _, _, _, _, sent, ..] => Ok(received + sent),
        _ => bail!("/proc/net/dev is laid out otherwise: {line}"),
    }
}

/// Where the calling thread is, and nowhere else.
fn start(signals: Sender<Signal>) -> anyhow::Result<Prober> {
    Ok(Prober::start(signals, Namespaces::only_own()?)?)
}
