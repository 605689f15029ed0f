//! Connects to dead peers are refused.

use std::{
    net::{IpAddr, TcpStream},
    time::Duration,
};

use anyhow::ensure;
use detector_tests::{
    Cgroup, Cut, Host, Lab, METRICS, Scene, Traffic, dial, get, kernel, peer::Dialed, testbed,
};
use detector_user::{
    config::Config,
    effect::protect::Protection,
    model::{Breaker, Mode, PeerName, PeerState, Reason, Time, Verdict},
    process::Finder,
};

use super::{LIMIT, SOON, attached, nothing_is_attached, protecting, service, target};

/// A refusal takes microseconds, or longer if a process gets no CPU for a moment. A connect that is
/// not refused hangs even longer; the number of refusals is counted.
const AT_ONCE: Duration = Duration::from_millis(600);

fn refusing(text: &str) -> anyhow::Result<Protection> {
    let config = Config {
        refuse_connects: target(text),
        ..Config::default()
    };
    Ok(Protection::load(&config, &Finder::new()?)?)
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
        presumed_down: false,
        down_since: None,
        srtt: None,
        rtt_variance: None,
        health: None,
        breaker_reason: Reason::RtoUnanswered,
        stalled_flows: 0,
        oldest_stall: None,
        contested: false,
        overridden: None,
        paths: Vec::new(),
    }
}

fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.v4().into(), host.v6().into()]
}

fn was_refused(dialed: Dialed) -> bool {
    let at_once = AT_ONCE.as_micros() as u64;
    let refused = kernel::refused();
    matches!(dialed, Dialed::Failed { errno, took_us } if errno == refused && took_us < at_once)
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

/// What is refused is refused for 3 s, unless it is renewed; a dial may take long to begin.
#[track_caller]
fn refuses(protection: &mut Protection, from: &Host, to: impl Into<IpAddr>) -> anyhow::Result<()> {
    protection.chores();
    assert_refused(dial(from, service(to), &[])?);
    Ok(())
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
        refuses(&mut protection, &inside, dead.v4())?;
        refuses(&mut protection, &inside, dead.v6())?;
        let mapped = dead.v4().to_ipv6_mapped();
        refuses(&mut protection, &inside, mapped)?;
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
        refuses(&mut protection, &inside, dead.v4())?;
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
        refuses(&mut protection, lab.host(1), lab.host(2).v4())?;
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

/// No process renews its refusals.
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

/// Both are attached: neither hides the other's refusals.
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
            both.iter_mut().for_each(Protection::chores);
            assert_refused(dial(&inside, service(peer.v4()), &[])?);
        }
        Ok(())
    })
    .await
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
