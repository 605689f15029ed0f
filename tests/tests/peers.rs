//! The lab's own storage peers: the properties of their traffic on which the other tests rely.

use std::{net::SocketAddr, time::Duration};

use detector_tests::{
    Cut, Lab, PEER_PORT, Starvation, Traffic,
    baseline::{self, Method, is_silence},
    clock,
    peer::{Event, Kind},
    testbed,
};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn grpc_clients_load_both_directions_over_both_families() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        for url in [lab.host(2).url(), lab.host(2).url_v6()] {
            for kind in [Kind::Ping, Kind::Put, Kind::Get] {
                let mut client = Traffic::grpc_client(lab.host(1), &url, kind, 2, 50).await?;
                client.process.kill().await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_grpc_client_redials_after_a_kill_of_its_server() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let mut server = Traffic::grpc_server(lab.host(2)).await?;
        let url = lab.host(2).url();
        let client = Traffic::grpc_client(lab.host(1), &url, Kind::Ping, 1, 50).await?;
        let killed = clock::now_ns();
        server.process.kill().await?;
        client.error_since(killed, SOON).await?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}

/// A cut ends neither calls nor connections: that is what the detector is for.
#[tokio::test]
async fn a_cut_hangs_a_grpc_client_without_an_error() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let url = lab.host(2).url();
        let client = Traffic::grpc_client(lab.host(1), &url, Kind::Put, 2, 50).await?;
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let quiet = Duration::from_secs(3);
        assert!(client.error_since(cut.at_ns, quiet).await.is_err());
        lab.heal(&[2])?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn http_uploads_run_and_a_stopped_server_closes_its_window() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let server = Traffic::http_server(lab.host(2)).await?;
        let client = Traffic::http_client(lab.host(1), lab.host(2), 1).await?;
        server.process.signal(Signal::SIGSTOP)?;
        testbed::until("the upload meets a closed window", SOON, async || {
            // A pending zero-window probe is timer:(persist,…).
            let filter = format!("dport = :{PEER_PORT}");
            let sockets = lab.host(1).exec("ss", &["-tinoH", &filter])?;
            Ok(sockets.contains("persist").then_some(()))
        })
        .await?;
        server.process.signal(Signal::SIGCONT)?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_late_server_answers_late_and_a_stalling_one_closes_its_window() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let begun = clock::now_ns();
        let mut late = Traffic::grpc_server_at(peer, PEER_PORT, 2000).await?;
        let _client = Traffic::grpc_client(us, &peer.url(), Kind::Ping, 1, 10).await?;
        assert!(clock::between(begun, clock::now_ns()) >= Duration::from_secs(2));
        late.process.kill().await?;

        let _stalling = Traffic::http_server_at(peer, PEER_PORT, 0, 60_000).await?;
        let _uploads = Traffic::http_client(us, peer, 1).await?;
        zero_window(&lab).await
    })
    .await
}

/// A pending zero-window probe is timer:(persist,…).
async fn zero_window(lab: &Lab) -> anyhow::Result<()> {
    testbed::until("the upload meets a closed window", SOON, async || {
        let filter = format!("dport = :{PEER_PORT}");
        let sockets = lab.host(1).exec("ss", &["-tinoH", &filter])?;
        Ok(sockets.contains("persist").then_some(()))
    })
    .await
}

/// What is in flight when nothing is: neither unacknowledged nor unsent bytes.
#[tokio::test]
async fn waiting_callers_and_pools_have_nothing_in_flight() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let sockets = || {
            let filter = format!("dport = :{PEER_PORT}");
            us.exec("ss", &["-tnH", "state", "established", &filter])
        };
        let nothing_in_flight = |text: &str| {
            let queues = text
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1));
            queues.into_iter().all(|send_queue| send_queue == "0")
        };
        let mut server = Traffic::grpc_server(peer).await?;
        let mut waiting = Traffic::grpc_client(us, &peer.url(), Kind::Wait, 3, 1).await?;
        testbed::until("three callers wait", SOON, async || {
            let text = sockets()?;
            Ok((text.lines().count() == 3 && nothing_in_flight(&text)).then_some(()))
        })
        .await?;
        waiting.process.kill().await?;
        server.process.kill().await?;

        let _server = Traffic::http_server(peer).await?;
        let target = SocketAddr::from((peer.v4(), PEER_PORT));
        let _pool = Traffic::pool(us, target, 5).await?;
        testbed::until("five connections are idle", SOON, async || {
            let text = sockets()?;
            Ok((text.lines().count() == 5 && nothing_in_flight(&text)).then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn callers_behind_one_channel_all_wait_through_a_pause() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let server = Traffic::grpc_server(peer).await?;
        let queue = Traffic::queue(us, &peer.url(), 50).await?;
        let stopped = clock::now_ns();
        server.process.signal(Signal::SIGSTOP)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.process.signal(Signal::SIGCONT)?;
        for number in 0..50 {
            queue
                .event(stopped, SOON, |event| match event {
                    Event::Call { channel, ok, .. } => (*channel == number).then_some(*ok),
                    _ => None,
                })
                .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_starved_program_gets_its_share_and_no_more() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let busy = Traffic::start(lab.host(1), &["spin"])?;
        let pid = busy.process.pid();
        let starvation = Starvation::new(lab.host(1), &[pid], 0.2, 2)?;
        let before = cpu_ticks(pid)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        // 100 ticks a second: at most 60 of 300, and twice that on a machine that is late.
        let starved = cpu_ticks(pid)? - before;
        assert!(starved < 120, "{starved} ticks in 3 s");
        drop(starvation);
        testbed::until("it runs freely again", SOON, async || {
            let before = cpu_ticks(pid)?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok((cpu_ticks(pid)? - before > 15).then_some(()))
        })
        .await
    })
    .await
}

/// The process's time in user mode (proc_pid_stat(5), field 14).
fn cpu_ticks(pid: nix::unistd::Pid) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').nth(11).unwrap_or_default();
    Ok(ticks.parse()?)
}

/// Each baseline believes that a peer which is cut off is dead, after its own time.
#[tokio::test]
async fn baselines_notice_a_cut() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let _server = Traffic::grpc_server(peer).await?;
        let _answers = Traffic::baseline_peer(peer).await?;
        let _load = Traffic::grpc_client(us, &peer.url(), Kind::Put, 4, 100).await?;
        let at = SocketAddr::from((peer.v4(), baseline::PORT)).to_string();
        let counter = ["baseline", "--retransmits", &peer.v4().to_string()].map(str::to_owned);
        let counter = Traffic::start(us, &counter.each_ref().map(String::as_str))?;
        let others = Traffic::start(other, &["baseline", "--phi", &at, "--user-timeout", &at])?;
        let rustfs = Traffic::rustfs_client(other, &peer.url(), 3).await?;
        for (from, method) in [
            (&counter, Method::Retransmits),
            (&others, Method::Phi),
            (&others, Method::PhiAkka),
            (&others, Method::UserTimeout),
        ] {
            from.believes(0, method, false, SOON).await?;
        }
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        // How long each takes is the benchmark's business; which is which is seen by how long
        // it takes at least.
        for (from, method, at_least) in [
            (&counter, Method::Retransmits, 0),
            (&others, Method::Phi, 400),
            (&others, Method::PhiAkka, 3000),
            (&others, Method::UserTimeout, 4000),
        ] {
            let at = from.believes(cut.at_ns, method, true, SOON).await?;
            let after = clock::between(cut.at_ns, at).as_millis();
            println!("{}: {after} ms", method.label());
            assert!(after >= at_least, "{method:?}: {after} ms");
        }
        let (_, error) = rustfs.error_since(cut.at_ns, SOON).await?;
        assert!(is_silence(&error), "{error}");
        lab.heal(&[2])?;
        others
            .believes(cut.at_ns, Method::UserTimeout, false, SOON)
            .await?;
        Ok(())
    })
    .await
}
