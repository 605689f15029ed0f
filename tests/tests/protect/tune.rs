//! New connections with peers are tuned.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{
    Cgroup, Daemon, Host, Lab, PEER_PORT, Process, Scene, Traffic, dial, peer::Kind, testbed,
};
use detector_user::{
    config::{Config, Tuning},
    effect::protect::{Protection, Tuned},
    model::{Endpoint, PeerName},
    process::Finder,
};
use nix::sys::signal::Signal;

use super::{LIMIT, SOON, attached, nothing_is_attached, protecting, service, target};

/// What `ss` says of the host's one socket with this filter.
fn socket(host: &Host, filter: &str) -> anyhow::Result<String> {
    let shown = host.exec("ss", &["-tinoHO", "state", "established", filter])?;
    let mut lines = shown.lines();
    let line = lines
        .next()
        .with_context(|| format!("no socket: {filter}"))?;
    ensure!(lines.next().is_none(), "more than one socket: {shown}");
    Ok(line.to_owned())
}

/// In milliseconds.
fn rto_of(socket: &str) -> anyhow::Result<f64> {
    let rto = socket
        .split_whitespace()
        .find_map(|word| word.strip_prefix("rto:"));
    Ok(rto.context("no rto")?.parse()?)
}

/// With an RTO min of 20 ms and the lab's RTT of less than a millisecond; an ACK that the peer
/// held back for 40 ms may have been taken in. The kernel's own RTO min is 200 ms, and what is
/// not tuned is above it.
const TUNED_RTO_MS: f64 = 200.0;

fn is_tuned(socket: &str) -> anyhow::Result<bool> {
    let rto = rto_of(socket)?;
    let keepalive = socket.contains("timer:(keepalive,");
    ensure!(
        (rto < TUNED_RTO_MS) == keepalive,
        "rto and keepalive go together: {socket}"
    );
    Ok(keepalive)
}

fn tuning(cgroup: &Cgroup, peers: &[SocketAddr]) -> anyhow::Result<Protection> {
    let config = Config {
        tune_sockets: target(&cgroup.target()),
        ..Config::default()
    };
    let mut protection = Protection::load(&config, &Finder::new()?)?;
    let endpoint = |peer: &SocketAddr| Endpoint {
        addr: peer.ip(),
        port: peer.port(),
    };
    let name = PeerName::from_canonical("http://peer:9000");
    let endpoints = peers.iter().map(endpoint).collect();
    protection.watch(&BTreeMap::from([(name, endpoints)]));
    Ok(protection)
}

fn only_tuned(protection: &Protection) -> anyhow::Result<Tuned> {
    let sockets = protection.tuned().context("nothing is to be tuned")?.list();
    ensure!(sockets.len() == 1, "not one socket: {sockets:?}");
    sockets.into_iter().next().context("not one socket")
}

#[tokio::test]
async fn new_connections_with_peers_are_tuned_in_the_cgroup_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(3)?;
        let _servers = [
            Traffic::grpc_server(lab.host(2)).await?,
            Traffic::grpc_server(lab.host(3)).await?,
        ];
        let (inside, outside) = (lab.host(1).in_cgroup(&cgroup), lab.host(1));
        let peer = lab.host(2);
        let mut protection = tuning(&cgroup, &[service(peer.v4()), service(peer.v6())])?;
        assert_eq!(protection.sockets_tuned(), 0);

        // One quiet connection each: a busy one's timer is not the keepalive's.
        let quiet = async |from: &Host, url: String, filter: String| -> anyhow::Result<bool> {
            let mut client = Traffic::quiet_grpc_client(from, &url).await?;
            let shown = testbed::until("the connection is idle", SOON, async || {
                let shown = socket(outside, &filter)?;
                Ok((!shown.contains("timer:(on,")).then_some(shown))
            })
            .await?;
            client.process.kill().await?;
            testbed::until("the connection is gone", SOON, async || {
                Ok(socket(outside, &filter).is_err().then_some(()))
            })
            .await?;
            is_tuned(&shown)
        };
        let to = |address: IpAddr| format!("dst {}", service(address));
        let v4 = || to(peer.v4().into());
        assert!(quiet(&inside, peer.url(), v4()).await?);
        assert!(quiet(&inside, peer.url_v6(), to(peer.v6().into())).await?);
        assert!(!quiet(outside, peer.url(), v4()).await?);
        let stranger = lab.host(3);
        assert!(!quiet(&inside, stranger.url(), to(stranger.v4().into())).await?);
        drop(protection);
        assert!(!quiet(&inside, peer.url(), v4()).await?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn accepted_connections_are_tuned_and_closed_ones_forgotten() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        // The peer dials our service on the peers' own port. We listen on IPv6, so that it is
        // ::ffff:10.77.0.2 to us.
        let _server = Traffic::grpc_server(&us.in_cgroup(&cgroup)).await?;
        let mut protection = tuning(&cgroup, &[service(peer.v4())])?;
        let mut client = Traffic::grpc_client(peer, &us.url(), Kind::Ping, 1, 20).await?;

        let tuned = only_tuned(&protection)?;
        assert_eq!(tuned.local, service(us.v4()));
        assert_eq!(tuned.remote.ip(), peer.v4());
        assert_eq!(tuned.options, ["rto_min", "delayed_ack_max", "keepalive"]);
        assert_eq!(protection.sockets_tuned(), 1);
        // The handshake was measured before it was tuned: that wears off with the next ones.
        testbed::until("our time-out is short", SOON, async || {
            let ours = socket(us, &format!("sport = :{PEER_PORT}"))?;
            Ok((rto_of(&ours)? < TUNED_RTO_MS).then_some(()))
        })
        .await?;
        // Theirs is not: the peer has no such program.
        let theirs = socket(peer, &format!("dport = :{PEER_PORT}"))?;
        assert!(rto_of(&theirs)? > 200.0, "{theirs}");

        client.process.kill().await?;
        testbed::until("the closed connection is forgotten", SOON, async || {
            Ok((protection.sockets_tuned() == 0).then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn only_what_is_asked_for_is_set() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(2)?;
        let peer = lab.host(2);
        let _server = Traffic::grpc_server(peer).await?;
        let config = Config {
            tune_sockets: target(&cgroup.target()),
            tune: Tuning {
                rto_min: None,
                keepalive_idle: None,
                user_timeout: Some(Duration::from_secs(30)),
                ..Tuning::default()
            },
            ..Config::default()
        };
        let mut protection = Protection::load(&config, &Finder::new()?)?;
        let endpoint = Endpoint {
            addr: peer.v4().into(),
            port: PEER_PORT,
        };
        let name = PeerName::from_canonical("http://peer:9000");
        protection.watch(&BTreeMap::from([(name, vec![endpoint])]));
        let inside = lab.host(1).in_cgroup(&cgroup);
        let _client = Traffic::grpc_client(&inside, &peer.url(), Kind::Ping, 1, 20).await?;
        assert_eq!(only_tuned(&protection)?.options, ["user_timeout"]);
        let shown = socket(lab.host(1), &format!("dport = :{PEER_PORT}"))?;
        assert!(rto_of(&shown)? > 200.0, "{shown}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_tune_command_prints_each_connection_and_leaves_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let url = lab.host(2).url();
        let mut command = Daemon::command(lab.host(1))?;
        command.args(["--output", "json", "tune", &cgroup.target()]);
        command.args(["--peer", &url, "--user-timeout", "30s"]);
        let mut tune = Process::start("detector tune", command)?;
        let watching = tune.stderr().find(SOON, |line| {
            line.contains("connections with peers are tuned")
                .then_some(())
        });
        watching.await.with_context(|| tune.stderr_tail(20))?;
        assert_eq!(attached(&cgroup)?, ["tune_sockets"]);

        // The peer's address reaches the program a moment later.
        let inside = lab.host(1).in_cgroup(&cgroup);
        let line = testbed::until("a connection is printed", SOON, async || {
            dial(&inside, service(lab.host(2).v4()), &[])?;
            Ok(tune.stdout().all().first().cloned())
        })
        .await?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        assert_eq!(line["peer"], url);
        assert_eq!(line["remote"], service(lab.host(2).v4()).to_string());
        let all = ["rto_min", "delayed_ack_max", "keepalive", "user_timeout"];
        assert_eq!(line["options"], serde_json::json!(all));

        // Of those that were printed one is open.
        let client = Traffic::grpc_client(&inside, &url, Kind::Ping, 1, 20).await?;
        let open = socket(lab.host(1), &format!("dport = :{PEER_PORT}"))?;
        let sockets = testbed::until("the open connection is listed", SOON, async || {
            tune.signal(Signal::SIGUSR1)?;
            let list = tune.stdout().all().into_iter().find_map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(&line).ok()?;
                line.get_mut("sockets").map(serde_json::Value::take)
            });
            Ok(list)
        })
        .await?;
        assert_eq!(sockets.as_array().map(Vec::len), Some(1), "{sockets}");
        let local = sockets[0]["local"].as_str().context("no local address")?;
        assert!(open.contains(local), "{local} is not that of {open}");
        assert_eq!(sockets[0]["options"], serde_json::json!(all));
        drop(client);

        tune.signal(Signal::SIGINT)?;
        assert!(tune.ended(SOON).await?.success());
        nothing_is_attached(&cgroup).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_shows_which_connections_are_tuned() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let scene = Scene::new(protecting(&cgroup)).await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let list = || -> anyhow::Result<Vec<serde_json::Value>> {
            let list = ["--output", "json", "tune", "--list"];
            let lines = scene.daemon.cli(us, &list)?;
            Ok(lines
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?)
        };
        assert_eq!(list()?, Vec::<serde_json::Value>::new());

        let url = peer.url();
        let mut inside = Traffic::quiet_grpc_client(&us.in_cgroup(&cgroup), &url).await?;
        let _outside = Traffic::quiet_grpc_client(us, &url).await?;
        let sockets = list()?;
        let [socket] = &sockets[..] else {
            anyhow::bail!("not one socket: {sockets:?}");
        };
        assert_eq!(socket["peer"], peer.url());
        assert_eq!(socket["remote"], service(peer.v4()).to_string());
        let options = ["rto_min", "delayed_ack_max", "keepalive"];
        assert_eq!(socket["options"], serde_json::json!(options));

        // Both are shown among the peer's flows, and one as tuned.
        let flows = testbed::until("both connections are explained", SOON, async || {
            let flows = scene.daemon.explain(&peer.url()).await?.flows;
            Ok((flows.len() == 2).then_some(flows))
        })
        .await?;
        for flow in flows {
            let is_listed = socket["cookie"] == flow.cookie;
            assert_eq!(
                is_listed,
                socket["local"] == flow.local.as_str(),
                "{flow:?}"
            );
            let expected: &[&str] = if is_listed { &options } else { &[] };
            assert_eq!(flow.tuned, expected, "{flow:?}");
        }

        inside.process.kill().await?;
        testbed::until(
            "the closed connection is no longer listed",
            SOON,
            async || Ok(list()?.is_empty().then_some(())),
        )
        .await
    })
    .await
}
