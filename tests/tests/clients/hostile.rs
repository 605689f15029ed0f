//! Clients of the gRPC socket that mean harm, all at once: each is refused with a reason or hung up
//! on, and nobody else notices.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_api::v1::{
    ListLocksRequest, Operation, OperationReport, Outcome, ReportRequest, WatchPeersRequest,
    detector_client::DetectorClient,
};
use detector_tests::{METRICS, Scene, clock, testbed};
use tonic::{Code, Status, transport::Channel};

use super::{
    LIMIT, a_cut_is_found,
    frames::{CONTINUATION, DATA, END_STREAM, Frames, HEADERS, PING, RESET, text},
    scene,
};

const GIBIBYTE: usize = 1 << 30;
/// The most that is taken of what nobody asked for: what sockets and windows of HTTP/2 hold.
const TAKEN: usize = 8 << 20;
const STREAMS: usize = 10_000;
/// Connections with many streams.
const CROWDED: usize = 6;
/// The most streams of one process, and of one connection.
const MOST_STREAMS: usize = 1024;
const STREAMS_OF_ONE: usize = 256;
const HALF_OPEN: usize = 300;
/// The most connections of one process.
const SHARE: usize = 16;
const REPORTS: usize = 1024;
const LOCKS: u64 = 1_000_000;
/// The most locks that are kept.
const LOCKS_KEPT: usize = 256;
/// An answer takes milliseconds.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_clients_send_others_are_served_and_a_cut_is_found() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let socket = scene.daemon.socket();
        let channel = detector_tests::connect(socket).await?;
        let deaf = never_reads(socket)?;
        let crowds = ten_thousand_streams(socket)?;
        one_more_is_told_why(channel.clone()).await?;
        let slow = slow_requests(socket)?;
        let half_open = half_open(socket)?;
        another_process_is_served(&scene)?;
        let flood = flood(&scene)?;
        a_cut_is_found(&scene).await?;
        another_process_is_served(&scene)?;
        flood
            .join()
            .map_err(|_| anyhow::anyhow!("a flood ended"))??;
        // Its own reports would wait for them.
        drop((deaf, crowds, slow, half_open));
        a_large_message_is_told_why(channel.clone()).await?;
        let naming = tokio::spawn(a_million_locks(channel.clone()));
        // Once more, with all that they have left behind.
        a_cut_is_found(&scene).await?;
        naming.await??;
        most_locks_are_only_counted(channel).await?;
        scene.daemon.stop().await
    })
    .await
}

/// The program's own client, a process with a share of its own.
fn another_process_is_served(scene: &Scene) -> anyhow::Result<()> {
    let (host, peer) = (scene.lab.host(1), scene.lab.host(2).url());
    let begun = clock::now_ns();
    let explained = scene.daemon.cli(host, &["explain", &peer])?;
    let took = clock::between(begun, clock::now_ns());
    println!("another process is served within {took:?}");
    ensure!(explained.contains(&peer), "{explained}");
    ensure!(took < SERVED_WITHIN, "{took:?}");
    Ok(())
}

/// Asks for everything until nothing more is taken, and reads no answer.
fn never_reads(socket: &Path) -> anyhow::Result<Frames> {
    let mut frames = Frames::connect(socket)?;
    let mut asked = 0;
    for stream in (1..).step_by(2).take(STREAMS) {
        let asks = frames
            .whole_call(stream, "ListPeers")
            .and_then(|()| frames.send(PING, 0, 0, &[0; 8]));
        if asks.is_err() {
            break;
        }
        asked += 1;
    }
    println!("{asked} questions of a client that never reads were taken");
    ensure!(asked < STREAMS, "all were taken");
    Ok(frames)
}

/// What became of the streams of a connection.
#[derive(Debug, Default)]
struct Crowd {
    opened: usize,
    /// With a status, which says why.
    refused: usize,
    /// Beyond what the daemon's settings allow.
    reset: BTreeSet<u32>,
}

fn ten_thousand_streams(socket: &Path) -> anyhow::Result<Vec<Frames>> {
    let crowds: io::Result<Vec<_>> = (0..CROWDED).map(|_| crowd(socket)).collect();
    let (crowds, held): (Vec<_>, Vec<_>) = crowds?.into_iter().unzip();
    for crowd in &crowds {
        let (opened, refused, reset) = (crowd.opened, crowd.refused, crowd.reset.len());
        println!("{opened} streams are open, {refused} refused, {reset} reset");
        ensure!(opened <= STREAMS_OF_ONE);
    }
    let opened: usize = crowds.iter().map(|crowd| crowd.opened).sum();
    // The lab's own client has one more.
    ensure!(opened < MOST_STREAMS, "{opened} streams are open");
    Ok(held)
}

/// Opens its part of the streams on one connection, whatever the daemon's settings say, and waits
/// until each is opened or refused.
fn crowd(socket: &Path) -> io::Result<(Crowd, Frames)> {
    const ALL: usize = STREAMS.div_ceil(CROWDED);
    let mut frames = Frames::connect(socket)?;
    let mut reader = frames.reader()?;
    let reading = thread::spawn(move || -> io::Result<Crowd> {
        let mut crowd = Crowd::default();
        while crowd.opened + crowd.refused + crowd.reset.len() < ALL {
            let frame = reader.next()?;
            match frame.kind {
                HEADERS if frame.flags & END_STREAM == 0 => crowd.opened += 1,
                HEADERS => crowd.refused += 1,
                RESET => _ = crowd.reset.insert(frame.stream),
                _ => {}
            }
        }
        Ok(crowd)
    });
    for stream in (1..).step_by(2).take(ALL) {
        frames.whole_call(stream, "WatchPeers")?;
    }
    let crowd = reading
        .join()
        .map_err(|_| io::Error::other("no reader"))??;
    Ok((crowd, frames))
}

async fn one_more_is_told_why(channel: Channel) -> anyhow::Result<()> {
    let mut client = DetectorClient::new(channel);
    let watch = client.watch_peers(WatchPeersRequest::default()).await;
    let status = watch.err().context("one more stream")?;
    is_refused(&status, Code::ResourceExhausted, "streams are open")
}

fn is_refused(status: &Status, code: Code, why: &str) -> anyhow::Result<()> {
    ensure!(
        status.code() == code && status.message().contains(why),
        "{status}"
    );
    Ok(())
}

/// Calls whose messages never come, and headers that never end.
fn slow_requests(socket: &Path) -> anyhow::Result<Vec<Frames>> {
    let slow = || -> io::Result<Frames> {
        let mut frames = Frames::connect(socket)?;
        for stream in (1..).step_by(2).take(32) {
            frames.call(stream, "Report")?;
            frames.send(DATA, 0, stream, &[0, 0, 0x10, 0, 0, 0])?;
        }
        frames.send(HEADERS, 0, 65, &[0x83])?;
        Ok(frames)
    };
    Ok((0..3).map(|_| slow()).collect::<io::Result<_>>()?)
}

/// Connections that send a part of HTTP/2's first bytes; those beyond the share of this process are
/// told why and closed.
fn half_open(socket: &Path) -> anyhow::Result<Vec<UnixStream>> {
    let mut held = Vec::new();
    let mut closed = 0;
    for _ in 0..HALF_OPEN {
        let mut stream = UnixStream::connect(socket)?;
        // The daemon may have hung up.
        let _ = stream.write(b"PRI * HTT");
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        match stream.read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => held.push(stream),
            Ok(1..) => held.push(stream),
            Ok(0) | Err(_) => closed += 1,
        }
    }
    println!(
        "{} half-open connections are held, {closed} closed",
        held.len()
    );
    ensure!((1..SHARE).contains(&held.len()) && closed >= HALF_OPEN - SHARE);
    // Leaves room for the rest of this test.
    held.truncate(held.len().saturating_sub(2));
    Ok(held)
}

type Flood = thread::JoinHandle<anyhow::Result<()>>;

/// Each sends a gigabyte in its own way, as far as that is taken.
fn flood(scene: &Scene) -> anyhow::Result<Flood> {
    let mut metrics = scene.lab.host(1).within(|| TcpStream::connect(METRICS))??;
    let socket = scene.daemon.socket().to_owned();
    Ok(thread::spawn(move || {
        a_gigabyte_in_a_message(&socket)?;
        a_gigabyte_of_headers(&socket)?;
        metrics.set_write_timeout(Some(Duration::from_secs(3)))?;
        metrics.write_all(
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n",
        )?;
        let chunk = [b'x'; 16 << 10];
        is_cut_off("to the metrics port", || metrics.write_all(&chunk))
    }))
}

/// Its length comes first, and tells that it is too large; the windows do not allow it, either.
fn a_gigabyte_in_a_message(socket: &Path) -> anyhow::Result<()> {
    let mut frames = Frames::connect(socket)?;
    frames.call(1, "Report")?;
    frames.send(DATA, 0, 1, &[0, 0x40, 0, 0, 0])?;
    let chunk = [b'x'; 16 << 10];
    is_cut_off("in a message", || frames.send(DATA, 0, 1, &chunk))?;
    ensure!(
        frames.farewell().is_some(),
        "it was not told that it is cut off"
    );
    Ok(())
}

fn a_gigabyte_of_headers(socket: &Path) -> anyhow::Result<()> {
    let mut frames = Frames::connect(socket)?;
    frames.send(HEADERS, 0, 1, &[0x83, 0x86])?;
    let mut block = Vec::new();
    while block.len() < 15 << 10 {
        text(&mut block, b"\x00\x01x", &"x".repeat(100));
    }
    is_cut_off("of headers", || frames.send(CONTINUATION, 0, 1, &block))?;
    let reason = frames.farewell().context("it was not told why")?;
    ensure!(reason.contains("too_"), "{reason}");
    Ok(())
}

/// Sends until the daemon has hung up or takes no more, which is soon.
fn is_cut_off(what: &str, mut send: impl FnMut() -> io::Result<()>) -> anyhow::Result<()> {
    const CHUNK: usize = 16 << 10;
    let chunks = (0..GIBIBYTE / CHUNK).take_while(|_| send().is_ok());
    let taken = chunks.count() * CHUNK;
    println!("{taken} bytes {what} were taken");
    ensure!(taken < TAKEN, "{taken} bytes {what} were taken");
    Ok(())
}

/// More than a message may have, from a client that waits to be asked for more.
async fn a_large_message_is_told_why(channel: Channel) -> anyhow::Result<()> {
    let request = ReportRequest {
        reports: vec![report("x".repeat(3 << 20))],
        dropped: 0,
    };
    let sent = DetectorClient::new(channel).report(request).await;
    let status = sent.err().context("3 MiB were taken")?;
    is_refused(&status, Code::OutOfRange, "too large")
}

fn report(lock: String) -> OperationReport {
    OperationReport {
        operation: Operation::Lock.into(),
        outcome: Outcome::Succeeded.into(),
        lock,
        ..OperationReport::default()
    }
}

async fn a_million_locks(channel: Channel) -> anyhow::Result<()> {
    let mut client = DetectorClient::new(channel);
    for first in (0..LOCKS).step_by(REPORTS) {
        let names = first..first + REPORTS as u64;
        let request = ReportRequest {
            reports: names.map(|n| report(format!("bucket/{n}"))).collect(),
            dropped: 0,
        };
        client.report(request).await?;
    }
    Ok(())
}

async fn most_locks_are_only_counted(channel: Channel) -> anyhow::Result<()> {
    let mut client = DetectorClient::new(channel);
    let listed = client.list_locks(ListLocksRequest::default()).await?;
    let listed = listed.into_inner();
    let (kept, beyond) = (listed.locks.len(), listed.beyond_bound);
    println!("{kept} locks are kept, {beyond} counted");
    ensure!(kept == LOCKS_KEPT && beyond >= LOCKS - LOCKS_KEPT as u64);
    Ok(())
}
