//! Services are protected by their cgroups: what is refused and tuned, and what is not.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{
    Cgroup, Cut, Daemon, DaemonOptions, Host, Lab, METRICS, PEER_PORT, Process, Scene,
    SceneOptions, Traffic, dial, get,
    peer::{Dialed, Kind},
    testbed,
};
use detector_user::{
    config::{Config, Target, Tuning},
    core::{Breaker, Endpoint, Mode, PeerName, PeerState, Reason, Time, Verdict},
    effect::protect::Protection,
};
use nix::{libc::EHOSTUNREACH, sys::signal::Signal};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
/// A refusal takes microseconds; a process that gets no CPU for a moment takes longer.
const AT_ONCE: Duration = Duration::from_millis(50);

fn target(text: &str) -> Vec<Target> {
    vec![Target::parse(text).expect("a target")]
}

fn refusing(text: &str) -> anyhow::Result<Protection> {
    let config = Config {
        refuse_connects: target(text),
        ..Config::default()
    };
    Ok(Protection::load(&config)?)
}

fn state(name: &str, breaker: Breaker, addresses: &[IpAddr]) -> PeerState {
    PeerState {
        peer: PeerName::from_canonical(name),
        verdict: Verdict::Dead,
        breaker,
        would_be_breaker: breaker,
        reason: Reason::NoEvidence,
        isolated: false,
        generation: 1,
        revision: 1,
        mode: Mode::Enforce,
        addresses: addresses.to_vec(),
        changed_at: Time::default(),
        last_heard: None,
        detection_latency: None,
    }
}

fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.v4().into(), host.v6().into()]
}

fn service(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), PEER_PORT)
}

fn was_refused(dialed: Dialed) -> bool {
    let at_once = AT_ONCE.as_micros() as u64;
    matches!(dialed, Dialed::Failed { errno: EHOSTUNREACH, took_us } if took_us < at_once)
}

/// Makes the host's neighbour entries for the peer permanent: a connect to it hangs for as long
/// as it may, where a failed address resolution would end it after three seconds.
fn never_unresolved(host: &Host, peer: &Host) -> anyhow::Result<()> {
    for address in addresses(peer) {
        let address = address.to_string();
        let entry = ["neigh", "replace", &address, "dev", "eth0"];
        let nowhere = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"];
        host.exec("ip", &[entry.as_slice(), &nowhere].concat())?;
    }
    Ok(())
}

#[track_caller]
fn assert_refused(dialed: Dialed) {
    assert!(was_refused(dialed), "{dialed:?}");
}

#[tokio::test]
async fn connects_to_a_dead_peer_are_refused_at_once_in_the_cgroup_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(3)?;
        let _server = Traffic::grpc_server(lab.host(3)).await?;
        let (inside, outside) = (lab.host(1).in_cgroup(&cgroup), lab.host(1));
        let (dead, alive) = (lab.host(2), lab.host(3));
        lab.cut(&[2], Cut::SilentDrop)?;
        never_unresolved(outside, dead)?;
        let mut protection = refusing(&cgroup.target())?;

        assert_eq!(dial(&inside, service(dead.v4()), &[])?, Dialed::Hung);
        let open = |breaker| state("http://dead:9000", breaker, &addresses(dead));
        protection.publish(&open(Breaker::Open));
        assert_refused(dial(&inside, service(dead.v4()), &[])?);
        assert_refused(dial(&inside, service(dead.v6()), &[])?);
        let mapped = dead.v4().to_ipv6_mapped();
        assert_refused(dial(&inside, service(mapped), &[])?);
        let counted = [(PeerName::from_canonical("http://dead:9000"), 3)];
        assert_eq!(protection.refused(), counted);

        // Nothing else.
        assert_eq!(dial(outside, service(dead.v4()), &[])?, Dialed::Hung);
        for address in addresses(alive) {
            assert_eq!(dial(&inside, service(address), &[])?, Dialed::Connected);
        }
        assert_eq!(
            dial(&inside, service(dead.v4()), &["--udp"])?,
            Dialed::Connected
        );

        protection.publish(&open(Breaker::HalfOpen));
        assert_eq!(dial(&inside, service(dead.v4()), &[])?, Dialed::Hung);
        assert_eq!(dial(&inside, service(mapped), &[])?, Dialed::Hung);
        assert_eq!(protection.refused(), counted);

        protection.publish(&open(Breaker::Open));
        assert_refused(dial(&inside, service(dead.v4()), &[])?);
        drop(protection);
        assert_eq!(dial(&inside, service(dead.v4()), &[])?, Dialed::Hung);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_daemon_s_own_connects_pass_whatever_cgroup_it_is_in() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let mut protection = refusing(&cgroup.target())?;
        let peer = "http://peer:9000";
        protection.publish(&state(peer, Breaker::Open, &addresses(lab.host(2))));

        let joined = cgroup.join()?;
        for address in addresses(lab.host(2)) {
            let connect = || TcpStream::connect_timeout(&service(address), SOON);
            lab.host(1).within(connect)??;
        }
        // A child of it is not the daemon.
        assert_refused(dial(lab.host(1), service(lab.host(2).v4()), &[])?);
        drop(joined);
        assert_eq!(protection.refused(), [(PeerName::from_canonical(peer), 1)]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_unit_is_protected_once_it_runs_and_again_after_a_restart() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let unit = Cgroup::name();
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let mut protection = refusing(&unit)?;
        let peer = lab.host(2);
        protection.publish(&state("http://a:1", Breaker::Open, &addresses(peer)));
        for run in 1..=2 {
            let cgroup = Cgroup::named(&unit)?;
            let inside = lab.host(1).in_cgroup(&cgroup);
            testbed::until(&format!("run {run} is protected"), SOON, async || {
                protection.chores();
                let dialed = dial(&inside, service(peer.v4()), &[])?;
                ensure!(
                    was_refused(dialed) || dialed == Dialed::Connected,
                    "{dialed:?}"
                );
                Ok(was_refused(dialed).then_some(()))
            })
            .await?;
        }
        Ok(())
    })
    .await
}

/// Nobody renews what it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_refuses_nothing_for_long() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let (inside, peer) = (lab.host(1).in_cgroup(&cgroup), service(lab.host(2).v4()));
        let mut protection = refusing(&cgroup.target())?;
        protection.publish(&state("http://a:1", Breaker::Open, &[peer.ip()]));
        assert_refused(dial(&inside, peer, &[])?);
        testbed::until("connects pass", SOON, async || {
            Ok((dial(&inside, peer, &[])? == Dialed::Connected).then_some(()))
        })
        .await?;
        protection.chores();
        assert_refused(dial(&inside, peer, &[])?);
        Ok(())
    })
    .await
}

/// Attached beside each other: neither hides the other's refusals.
#[tokio::test]
async fn other_programs_on_the_cgroup_go_on() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let lab = Lab::new(3)?;
        let inside = lab.host(1).in_cgroup(&cgroup);
        let mut both = [refusing(&cgroup.target())?, refusing(&cgroup.target())?];
        for (protection, peer) in both.iter_mut().zip([lab.host(2), lab.host(3)]) {
            protection.publish(&state("http://a:1", Breaker::Open, &addresses(peer)));
        }
        for peer in [lab.host(2), lab.host(3)] {
            assert_refused(dial(&inside, service(peer.v4()), &[])?);
        }
        Ok(())
    })
    .await
}

/// What is attached to the cgroup, as `bpftool` shows it.
fn attached(cgroup: &Cgroup) -> anyhow::Result<Vec<String>> {
    let shown = Command::new("bpftool")
        .args(["--json", "cgroup", "show"])
        .arg(cgroup.path())
        .output()
        .context("cannot run bpftool: apt-get install bpftool")?;
    let programs: Vec<serde_json::Value> = match shown.stdout.trim_ascii() {
        [] => Vec::new(),
        json => serde_json::from_slice(json)?,
    };
    let mut names: Vec<_> = programs
        .iter()
        .filter_map(|program| program["name"].as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

async fn nothing_is_attached(cgroup: &Cgroup) -> anyhow::Result<()> {
    testbed::until("the cgroup has no program", SOON, async || {
        Ok(attached(cgroup)?.is_empty().then_some(()))
    })
    .await
}

fn protecting(cgroup: &Cgroup) -> SceneOptions {
    let daemon = DaemonOptions::default();
    SceneOptions {
        daemon: daemon.args(["--protect", &cgroup.target()]),
        ..SceneOptions::default()
    }
}

async fn metric(host: &Host, line: &str) -> anyhow::Result<()> {
    testbed::until(line, SOON, async || {
        let page = get(host, METRICS.parse()?, "/metrics")?;
        Ok(page.lines().any(|l| l == line).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn protect_refuses_connects_from_open_on_until_the_peer_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let scene = Scene::new(protecting(&cgroup)).await?;
        let (h1, peer) = (scene.lab.host(1), service(scene.lab.host(2).v4()));
        let inside = h1.in_cgroup(&cgroup);
        let _traffic = scene.traffic_to(2).await?;
        assert_eq!(dial(&inside, peer, &[])?, Dialed::Connected);
        let all = ["refuse_connect4", "refuse_connect6", "tune_sockets"];
        assert_eq!(attached(&cgroup)?, all);

        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        assert_refused(dial(&inside, peer, &[])?);
        assert_refused(dial(&inside, peer, &[])?);
        let url = scene.lab.host(2).url();
        let line = format!("detector_connects_refused_total{{peer=\"{url}\"}} 2");
        metric(h1, &line).await?;

        let heal = scene.heal(2)?;
        scene.closed_after(heal, 2, Duration::from_secs(15)).await?;
        assert_eq!(dial(&inside, peer, &[])?, Dialed::Connected);
        scene.daemon.stop().await?;
        nothing_is_attached(&cgroup).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_leaves_no_refusal() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let scene = Scene::new(protecting(&cgroup)).await?;
        let peer = service(scene.lab.host(2).v4());
        let inside = scene.lab.host(1).in_cgroup(&cgroup);
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        assert_refused(dial(&inside, peer, &[])?);

        scene.daemon.kill().await?;
        nothing_is_attached(&cgroup).await?;
        scene.lab.heal(&[2])?;
        testbed::until("connects work again", SOON, async || {
            let dialed = dial(&inside, peer, &[])?;
            assert!(!was_refused(dialed), "{dialed:?}");
            Ok((dialed == Dialed::Connected).then_some(()))
        })
        .await
    })
    .await
}

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
/// held back for 40 ms may have been taken in. The kernel's own RTO min is 200 ms.
const TUNED_RTO_MS: f64 = 150.0;

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
    let mut protection = Protection::load(&config)?;
    let endpoint = |peer: &SocketAddr| Endpoint {
        addr: peer.ip(),
        port: peer.port(),
    };
    let name = PeerName::from_canonical("http://peer:9000");
    let endpoints = peers.iter().map(endpoint).collect();
    protection.watch(&BTreeMap::from([(name, endpoints)]));
    Ok(protection)
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

        let [tuned] = &protection.tuned()[..] else {
            anyhow::bail!("{:?}", protection.tuned());
        };
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
        let mut protection = Protection::load(&config)?;
        let endpoint = Endpoint {
            addr: peer.v4().into(),
            port: PEER_PORT,
        };
        let name = PeerName::from_canonical("http://peer:9000");
        protection.watch(&BTreeMap::from([(name, vec![endpoint])]));
        let inside = lab.host(1).in_cgroup(&cgroup);
        let _client = Traffic::grpc_client(&inside, &peer.url(), Kind::Ping, 1, 20).await?;
        let tuned = protection.tuned();
        assert_eq!(tuned.len(), 1, "{tuned:?}");
        assert_eq!(tuned[0].options, ["user_timeout"]);
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

        tune.signal(Signal::SIGINT)?;
        assert!(tune.ended(SOON).await?.success());
        nothing_is_attached(&cgroup).await
    })
    .await
}
