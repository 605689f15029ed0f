//! Whatever clients of the daemon do, on purpose or not, no verdict is delayed, and their cost is
//! bounded.

mod frames;
mod hostile;

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_api::v1::{
    ExplainPeerRequest, WatchPeersRequest, detector_client::DetectorClient,
    watch_peers_response::Event,
};
use detector_tests::{Cut, DaemonOptions, METRICS, Scene, SceneOptions, testbed};
use nix::libc::EINPROGRESS;
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(120);
const PROMPT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(15);

/// The most memory that the daemon may use, whatever its clients do; well below the unit's limit.
const RESIDENT_KIB: u64 = 200 * 1024;

async fn scene() -> anyhow::Result<Scene> {
    Scene::new(SceneOptions::default()).await
}

/// A cut is found during all of this, and memory is bounded.
async fn a_cut_is_found(scene: &Scene) -> anyhow::Result<()> {
    let cut = scene.cut(2, Cut::PortDown)?;
    let (_, after) = scene.open_after(cut, 2, PROMPT).await?;
    let resident = resident_kib(scene)?;
    println!("open after {after:?}, {resident} KiB resident");
    ensure!(resident < RESIDENT_KIB, "{resident} KiB");
    let heal = scene.heal(2)?;
    scene.closed_after(heal, 2, SOON).await?;
    Ok(())
}

fn resident_kib(scene: &Scene) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", scene.daemon.process().pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmRSS")?.parse()?)
}

/// A connect takes longer only where the queue of connections stays full: a SYN that finds it full
/// is sent again after a second.
const QUEUED_WITHIN: Duration = Duration::from_millis(1500);

/// This many connections to the metrics port, from the daemon's host. Once the daemon takes no
/// more, the others are only begun: to wait for them is to wait until it hangs up on the first.
fn connections(scene: &Scene, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let metrics: SocketAddr = METRICS.parse()?;
    scene.lab.host(1).within(|| {
        let mut made = Vec::new();
        while made.len() < count {
            match TcpStream::connect_timeout(&metrics, QUEUED_WITHIN) {
                Ok(stream) => made.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => return Err(error.into()),
            }
        }
        println!("{} of {count} connections are made", made.len());
        while made.len() < count {
            made.push(begun(metrics)?);
        }
        Ok(made)
    })?
}

/// A connection that is begun, and is not waited for.
fn begun(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error.into()),
        _ => Ok(socket.into()),
    }
}

/// Another client fetches the metrics, and waits until the daemon answers.
fn scrape(scene: &Scene) -> anyhow::Result<String> {
    let host = scene.lab.host(1);
    let mut stream = host.within(|| TcpStream::connect(METRICS))??;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_that_never_read() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let mut unread = Vec::new();
        for _ in 0..8 {
            let channel = detector_tests::connect(scene.daemon.socket()).await?;
            for _ in 0..125 {
                let mut client = DetectorClient::new(channel.clone());
                unread.push(client.watch_peers(WatchPeersRequest::default()).await?);
            }
        }
        ensure!(unread.len() == 1000);
        a_cut_is_found(&scene).await?;
        drop(unread);
        scene.daemon.stop().await
    })
    .await
}

/// Each has read the states of a thousand peers; what these took is free again.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_have_read_take_little_memory() -> anyhow::Result<()> {
    const PEERS: u32 = 1000;
    const WATCHERS: u64 = 200;
    /// A snapshot is six times as large.
    const EACH_KIB: u64 = 32;
    testbed::run(LIMIT, async {
        let url = |n| format!("http://10.98.{}.{}:9000", n / 250, 1 + n % 250);
        let daemon = DaemonOptions {
            peers: (0..PEERS).map(url).collect(),
            ..DaemonOptions::default()
        };
        let scene = Scene::new(SceneOptions { daemon, hosts: 2 }).await?;
        let mut watchers = Vec::new();
        let mut before = None;
        // The first one shows what one snapshot takes.
        for n in 0..=WATCHERS {
            if n == 1 {
                before = Some(resident_kib(&scene)?);
            }
            let channel = match watchers.last() {
                Some((_, channel)) if n % 100 != 0 => Channel::clone(channel),
                _ => detector_tests::connect(scene.daemon.socket()).await?,
            };
            let mut client = DetectorClient::new(channel.clone());
            let stream = client.watch_peers(WatchPeersRequest::default()).await?;
            let mut stream = stream.into_inner();
            let first = stream.message().await?.and_then(|message| message.event);
            match first {
                Some(Event::Snapshot(snapshot)) if snapshot.peers.len() == PEERS as usize => {}
                other => bail!("no snapshot of all peers: {other:?}"),
            }
            watchers.push((stream, channel));
        }
        let more = resident_kib(&scene)?.saturating_sub(before.context("nobody watched")?);
        println!("{WATCHERS} watchers take {more} KiB");
        ensure!(more < WATCHERS * EACH_KIB, "{more} KiB");
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_that_explain_in_a_loop() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let mut loops = JoinSet::new();
        for _ in 0..10 {
            let channel = detector_tests::connect(scene.daemon.socket()).await?;
            for _ in 0..20 {
                let mut client = DetectorClient::new(channel.clone());
                let peer = scene.lab.host(2).url();
                loops.spawn(async move {
                    loop {
                        let request = ExplainPeerRequest { peer: peer.clone() };
                        if client.explain_peer(request).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        a_cut_is_found(&scene).await?;
        ensure!(
            loops.len() == 200 && loops.try_join_next().is_none(),
            "one has failed"
        );
        loops.shutdown().await;
        scene.daemon.stop().await
    })
    .await
}

/// More than the usual limit of open files, held by an unprivileged process.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_the_metrics_port() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let idle = connections(&scene, 1080)?;
        a_cut_is_found(&scene).await?;
        scene.daemon.peer(&scene.lab.host(2).url()).await?;
        drop(idle);
        let scraped = scrape(&scene)?;
        ensure!(scraped.starts_with("HTTP/1.1 200"), "{scraped}");
        scene.daemon.stop().await
    })
    .await
}

/// As many status pages as the daemon serves at once, and many more, none of which reads a byte.
#[tokio::test(flavor = "multi_thread")]
async fn status_pages_that_never_read() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let mut unread = connections(&scene, 200)?;
        for stream in &mut unread {
            stream.set_nonblocking(true)?;
            // The last of them wait in the queue, or the daemon may have hung up.
            let _ = stream.write(b"GET /status/events HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        a_cut_is_found(&scene).await?;
        // They take some of the connections, and not those that Prometheus needs.
        let scraped = scrape(&scene)?;
        ensure!(scraped.starts_with("HTTP/1.1 200"), "{scraped}");
        let served = unread.iter_mut().filter_map(|stream| {
            let mut head = [0; 12];
            stream.read_exact(&mut head).ok()?;
            Some(head.ends_with(b"200"))
        });
        let (served, refused): (Vec<_>, Vec<_>) = served.partition(|served| *served);
        println!("{} are served, {} refused", served.len(), refused.len());
        ensure!((1..=16).contains(&served.len()) && refused.len() > 100);
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_never_finished() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(400_000));
        let mut half_sent = connections(&scene, 1000)?;
        for stream in &mut half_sent {
            stream.set_nonblocking(true)?;
            // Writes as much as the socket accepts; the daemon may have hung up.
            let _ = stream.write(endless.as_bytes());
        }
        a_cut_is_found(&scene).await?;
        drop(half_sent);
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_every_100_ms() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = scene().await?;
        let _traffic = scene.traffic_to(2).await?;
        let scraper = async {
            let mut every = tokio::time::interval(Duration::from_millis(100));
            loop {
                every.tick().await;
                if let Err(error) = tokio::task::block_in_place(|| scrape(&scene)) {
                    return error;
                }
            }
        };
        tokio::select! {
            error = scraper => return Err(error),
            found = a_cut_is_found(&scene) => found?,
        }
        scene.daemon.stop().await
    })
    .await
}

/// Another program has the port: the daemon does its work, and serves them once it is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_port_that_is_taken_stops_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = detector_tests::Lab::new(2)?;
        let taken = lab
            .host(1)
            .within(|| std::net::TcpListener::bind(METRICS))??;
        let _server = detector_tests::Traffic::grpc_server(lab.host(2)).await?;
        let options = detector_tests::DaemonOptions::default().peer(lab.host(2).url());
        let daemon = detector_tests::Daemon::start(lab.host(1), &options).await?;
        drop(taken);
        let served = daemon.process().stderr().find(SOON, |line| {
            line.contains("metrics are served now").then_some(())
        });
        ensure!(
            served.await.is_some(),
            "{}",
            daemon.process().stderr_tail(20)
        );
        daemon.stop().await
    })
    .await
}
