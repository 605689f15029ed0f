//! Clients of the gRPC socket that mean harm: each is refused with a reason or hung up on, and nobody
//! else notices.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_api::v1::{
    ListLocksRequest, Operation, OperationReport, Outcome, ReportRequest, WatchPeersRequest,
    detector_client::DetectorClient,
};
use detector_tests::{Scene, testbed};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{LIMIT, a_cut_is_found, scene};

const GIBIBYTE: usize = 1 << 30;
/// The most that is taken of what nobody asked for: what sockets and HTTP/2 windows hold.
const TAKEN: usize = 16 << 20;
const STREAMS: usize = 10_000;
const CHANNELS: usize = 6;
/// The most streams of all clients (`MAX_STREAMS` of the daemon).
const MOST_STREAMS: usize = 1024;
const HALF_OPEN: usize = 300;
/// The most connections of one process.
const SHARE: usize = 16;
const REPORTS: usize = 1024;
const LOCKS: usize = 1_000_000;

/// All at once, and a cut is found meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_clients_send_a_verdict_is_prompt_and_memory_bounded() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let opened = ten_thousand_streams(&scene).await?;
        let half_open = half_open(&scene)?;
        let channel = detector_tests::connect(scene.daemon.socket()).await?;
        let naming = tokio::spawn(a_million_locks(channel.clone()));
        let socket = scene.daemon.socket().to_owned();
        let flood = tokio::task::spawn_blocking(move || a_gigabyte(UnixStream::connect(socket)?));
        a_cut_is_found(&scene).await?;
        a_large_message(&scene).await?;
        let taken = flood.await??;
        println!("{taken} of {GIBIBYTE} bytes were taken");
        ensure!(taken < TAKEN, "{taken} bytes");
        naming.await??;
        all_but_a_few_locks_are_counted(channel).await?;
        // Once more, with all that they have left behind.
        a_cut_is_found(&scene).await?;
        drop((opened, half_open));
        scene.daemon.stop().await
    })
    .await
}

type Watch = Streaming<detector_api::v1::WatchPeersResponse>;

/// Those that were opened; the others were refused, and told why.
async fn ten_thousand_streams(scene: &Scene) -> anyhow::Result<Vec<Watch>> {
    let mut calls = JoinSet::new();
    for _ in 0..CHANNELS {
        let channel = detector_tests::connect(scene.daemon.socket()).await?;
        for _ in 0..STREAMS.div_ceil(CHANNELS) {
            let mut client = DetectorClient::new(channel.clone());
            calls.spawn(async move { client.watch_peers(WatchPeersRequest::default()).await });
        }
    }
    let (mut opened, mut refused, mut cut) = (Vec::new(), 0, 0);
    while let Some(called) = calls.join_next().await {
        match called? {
            Ok(stream) => opened.push(stream.into_inner()),
            // The client's own library hangs up where too much is left unread.
            Err(status) if status.message().contains("h2 protocol error") => cut += 1,
            Err(status) => {
                is_refused(&status, Code::ResourceExhausted, "streams are open")?;
                refused += 1;
            }
        }
    }
    println!(
        "{} streams are open, {refused} refused, {cut} cut",
        opened.len()
    );
    ensure!(opened.len() <= MOST_STREAMS && refused > MOST_STREAMS);
    Ok(opened)
}

fn is_refused(status: &Status, code: Code, why: &str) -> anyhow::Result<()> {
    ensure!(
        status.code() == code && status.message().contains(why),
        "{status}"
    );
    Ok(())
}

/// Connections that send a part of HTTP/2's first bytes; those beyond a process's share are closed.
fn half_open(scene: &Scene) -> anyhow::Result<Vec<UnixStream>> {
    let mut held = Vec::new();
    let mut closed = 0;
    for _ in 0..HALF_OPEN {
        let mut stream = UnixStream::connect(scene.daemon.socket())?;
        // The daemon may have hung up.
        let _ = stream.write(b"PRI * HTT");
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        match stream.read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => held.push(stream),
            // HTTP/2's own settings come first where the connection is served.
            Ok(1..) => held.push(stream),
            Ok(0) | Err(_) => closed += 1,
        }
    }
    println!(
        "{} half-open connections are held, {closed} closed",
        held.len()
    );
    ensure!(held.len() <= SHARE && closed >= HALF_OPEN - SHARE);
    // Room for the others.
    held.truncate(held.len().saturating_sub(4));
    Ok(held)
}

/// Returns how much was taken before the daemon hung up, or took no more.
fn a_gigabyte(mut stream: UnixStream) -> anyhow::Result<usize> {
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    // An empty SETTINGS frame; then DATA of a stream that nobody has opened.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])?;
    let mut frame = vec![0_u8; 9 + (16 << 10)];
    frame[..9].copy_from_slice(&[0, 0x40, 0, 0, 0, 0, 0, 0, 1]);
    let mut taken = 0;
    while taken < GIBIBYTE {
        match stream.write(&frame) {
            Ok(written) => taken += written,
            Err(_) => break,
        }
    }
    Ok(taken)
}

/// One message that is larger than any may be. Who goes on sending it after it was refused is hung up
/// on: which of the two the client hears of is chance.
async fn a_large_message(scene: &Scene) -> anyhow::Result<()> {
    let channel = detector_tests::connect(scene.daemon.socket()).await?;
    let request = ReportRequest {
        reports: vec![report("x".repeat(32 << 20))],
        dropped: 0,
    };
    let sent = DetectorClient::new(channel).report(request).await;
    let status = sent.err().context("32 MiB were taken")?;
    println!("32 MiB in a message: {status}");
    match status.code() {
        Code::ResourceExhausted => is_refused(&status, Code::ResourceExhausted, "h2"),
        _ => is_refused(&status, Code::OutOfRange, "too large"),
    }
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
        let names = first..first + REPORTS;
        let request = ReportRequest {
            reports: names.map(|n| report(format!("bucket/{n}"))).collect(),
            dropped: 0,
        };
        client.report(request).await?;
    }
    Ok(())
}

async fn all_but_a_few_locks_are_counted(channel: Channel) -> anyhow::Result<()> {
    let mut client = DetectorClient::new(channel);
    let listed = client.list_locks(ListLocksRequest::default()).await?;
    let listed = listed.into_inner();
    println!("{} locks are kept", listed.locks.len());
    ensure!(listed.locks.len() <= 1024, "{}", listed.locks.len());
    ensure!(
        listed.beyond_bound as usize >= LOCKS - 2048,
        "{}",
        listed.beyond_bound
    );
    Ok(())
}
