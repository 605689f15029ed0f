//! Streams of random data in both directions on a connection that is probed without a pause, by the
//! prober and by segments that are sent as fast as possible: what arrives is what was sent.

use std::{
    env, fmt, fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    process,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use detector_tests::{Host, clock, testbed};
use detector_user::{
    model::{FlowId, ProbeAnswer, ProbeOutcome, ProbeTarget, Signal},
    source::ebpf::SequenceReader,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Asker, LIMIT, Pair, SHORT, pair, ready};

/// How long each of the streams runs.
const STREAM: Duration = Duration::from_millis(1500);

/// Names the seed of the streams' content, which each run prints.
const SEED: &str = "DETECTOR_TEST_SEED";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    None,
    /// As fast as the prober takes it.
    Prober,
    /// Raw segments without and with an octet, without a pause.
    Plain,
    Octet,
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_whole_through_a_flood() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let seed = match env::var(SEED) {
            Ok(seed) => seed.parse().context(SEED)?,
            Err(_) => clock::now_ns() ^ u64::from(process::id()),
        };
        println!("{SEED}={seed}");
        for loss in [0, 2] {
            lab.loss(1, loss)?;
            for flood in [Flood::None, Flood::Prober, Flood::Plain, Flood::Octet] {
                let run = tokio::task::block_in_place(|| run(us, peer, flood, seed));
                run.with_context(|| format!("{flood:?} with {loss} % loss"))?;
            }
        }
        Ok(())
    })
    .await
}

fn run(us: &Host, peer: &Host, flood: Flood, seed: u64) -> anyhow::Result<()> {
    let pair = pair(us, peer, peer.v4())?;
    let before = Counters::read(us)?;
    // Made before anything is timed.
    let (mut asker, reader) = (Asker::on(us)?, SequenceReader::load()?);
    let is_over = AtomicBool::new(false);
    let (sent, asked) = thread::scope(|scope| -> anyhow::Result<_> {
        let flooding = scope.spawn(|| match flood {
            Flood::None => Ok(0),
            Flood::Prober => ask(&mut asker, pair.target, &is_over),
            Flood::Plain => us.within(|| send_raw(&reader, pair.target, &[], &is_over))?,
            Flood::Octet => us.within(|| send_raw(&reader, pair.target, &[0], &is_over))?,
        });
        let sent = both_ways(&pair, seed);
        is_over.store(true, Relaxed);
        let asked = join(flooding)?;
        Ok((sent?, asked))
    })?;
    let changes = Counters::read(us)?.since(before);
    println!(
        "{flood:?}: {asked} questions, {} MiB, {changes}",
        sent >> 20
    );
    let at_least = if flood == Flood::None { 0 } else { 10 };
    ensure!(asked >= at_least, "hardly a flood: {asked} questions");
    Ok(())
}

fn join<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Streams both ways, and sees that each comes as it was sent, and ends there; how much it was.
fn both_ways(pair: &Pair, seed: u64) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let (ours, theirs) = (&pair.ours, &pair.theirs);
        let there = scope.spawn(|| write(ours, seed));
        let back = scope.spawn(|| write(theirs, !seed));
        let came_there = scope.spawn(|| read(theirs));
        let came_back = read(ours)?;
        let (sent_there, sent_back) = (join(there)?, join(back)?);
        ensure!(join(came_there)? == sent_there, "there: not what was sent");
        ensure!(came_back == sent_back, "back: not what was sent");
        ensure!(sent_there.0 > 0 && sent_back.0 > 0, "nothing was sent");
        Ok(sent_there.0 + sent_back.0)
    })
}

/// How many bytes, and their sum.
type Sum = (u64, u32);

fn write(mut stream: &TcpStream, seed: u64) -> anyhow::Result<Sum> {
    let until = clock::now_ns() + STREAM.as_nanos() as u64;
    let (mut random, mut sent) = (fastrand::Rng::with_seed(seed), 0);
    let (mut chunk, mut sum) = (vec![0; 16 << 10], crc32fast::Hasher::new());
    while clock::now_ns() < until {
        random.fill(&mut chunk);
        stream.write_all(&chunk).context("cannot write")?;
        sum.update(&chunk);
        sent += chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok((sent, sum.finalize()))
}

fn read(mut stream: &TcpStream) -> anyhow::Result<Sum> {
    let (mut buffer, mut came) = (vec![0; 64 << 10], 0);
    let mut sum = crc32fast::Hasher::new();
    loop {
        let length = stream.read(&mut buffer).context("cannot read")?;
        if length == 0 {
            return Ok((came, sum.finalize()));
        }
        sum.update(&buffer[..length]);
        came += length as u64;
    }
}

/// Asks through the prober without a pause; how often it took the question.
fn ask(asker: &mut Asker, target: ProbeTarget, is_over: &AtomicBool) -> anyhow::Result<u64> {
    let (mut asked, mut answered) = (0, 0u64);
    while !is_over.load(Relaxed) {
        asker.send(target, SHORT);
        match asker.signals.blocking_recv() {
            Some(Signal::Probe(event)) => match event.outcome {
                ProbeOutcome::Sent => asked += 1,
                ProbeOutcome::Answered(ProbeAnswer::Ack) => answered += 1,
                // Too soon, or one waits.
                ProbeOutcome::Failed { .. } => thread::yield_now(),
                other => anyhow::bail!("{other:?}"),
            },
            other => anyhow::bail!("{other:?}"),
        }
    }
    println!("{answered} of {asked} questions were answered");
    // Some are lost, where one in fifty is.
    ensure!(answered * 10 >= asked * 8, "{answered} of {asked}");
    Ok(asked)
}

/// Sends segments on the flow without a pause, each from where the flow stands then.
fn send_raw(
    reader: &SequenceReader,
    target: ProbeTarget,
    octet: &[u8],
    is_over: &AtomicBool,
) -> anyhow::Result<u64> {
    let ProbeTarget::Flow { flow, .. } = target else {
        unreachable!("a pair is a flow");
    };
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    // It receives everything that the peer sends, and no code reads it.
    socket.set_recv_buffer_size(1)?;
    let host = |addr: IpAddr| SocketAddr::new(addr, 0).into();
    socket.bind(&host(flow.local.ip()))?;
    socket.connect(&host(flow.remote.ip()))?;
    let mut asked = 0;
    while !is_over.load(Relaxed) {
        let Some(at) = reader.read(&flow)? else {
            break;
        };
        let window = (at.rcv_wnd >> (at.window_scales >> 4)) as u16;
        let seq = at.snd_una.wrapping_sub(1);
        let stamp = (at.sent_ns / 1_000_000) as u32;
        let stamps = [stamp.wrapping_add(at.tsoffset), at.ts_recent];
        let segment = segment(&flow, [seq, at.rcv_wup], window, stamps, octet);
        socket.send(&segment)?;
        asked += 1;
    }
    Ok(asked)
}

/// An ACK with timestamps.
fn segment(flow: &FlowId, ats: [u32; 2], window: u16, stamps: [u32; 2], data: &[u8]) -> Vec<u8> {
    let ports = [flow.local.port(), flow.remote.port()];
    let mut segment = ports.map(u16::to_be_bytes).concat();
    segment.extend(ats.map(u32::to_be_bytes).concat());
    segment.extend([8 << 4, 0x10]);
    segment.extend(window.to_be_bytes());
    segment.extend([0, 0, 0, 0, 1, 1, 8, 10]);
    segment.extend(stamps.map(u32::to_be_bytes).concat());
    segment.extend(data);
    let mut summed = segment.clone();
    summed.extend([0].iter().take(data.len() % 2));
    for addr in [flow.local.ip(), flow.remote.ip()] {
        if let IpAddr::V4(addr) = addr {
            summed.extend(addr.octets());
        }
    }
    summed.extend([0, 6]);
    summed.extend((segment.len() as u16).to_be_bytes());
    let words = summed.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// What our kernel counted of congestion: the names are those of /proc/net/netstat.
struct Counters([u64; 5]);

const NAMES: [&str; 5] = [
    "TCPDSACKRecv",
    "TCPDSACKIgnoredDubious",
    "TCPFastRetrans",
    "TCPTimeouts",
    "TCPDSACKUndo",
];

impl Counters {
    fn read(host: &Host) -> anyhow::Result<Self> {
        let text = host.within(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
        let lines: Vec<&str> = text.lines().collect();
        let find = |name| {
            let found = lines.chunks_exact(2).find_map(|pair| {
                let place = pair[0].split(' ').position(|word| word == name)?;
                pair[1].split(' ').nth(place)?.parse().ok()
            });
            found.unwrap_or_default()
        };
        Ok(Self(NAMES.map(find)))
    }

    fn since(self, before: Self) -> Self {
        let mut changes = self.0;
        for (change, before) in changes.iter_mut().zip(before.0) {
            *change -= before;
        }
        Self(changes)
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in NAMES.iter().zip(self.0) {
            write!(f, "{name} {value} ")?;
        }
        Ok(())
    }
}
