//! A node in a container: its network namespace is not the daemon's.

use std::{
    collections::BTreeSet, fs, net::IpAddr, os::unix::fs::MetadataExt as _, process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_api::v1::{ExplainPeerResponse, Verdict};
use detector_tests::{
    Cgroup, Cut, Daemon, DaemonOptions, Host, Lab, Traffic, binary, clock, peer::Event, testbed,
};
use detector_user::netlink::sock_diag::SockDiag;

const LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(15);

/// The host with the daemon, a container on it, the peer, and another's container, which
/// nobody has named.
struct Site {
    daemon: Daemon,
    _server: Traffic,
    lab: Lab,
}

const HOST: usize = 1;
const CONTAINER: usize = 2;
const PEER: usize = 3;
const FOREIGN: usize = 4;

impl Site {
    async fn new(source: &str, namespace: &str, lab: Lab) -> anyhow::Result<Self> {
        let peer = lab.host(PEER);
        let server = Traffic::http_server(peer).await?;
        let options = DaemonOptions::default()
            .source(source)
            .peer(peer.url())
            .args(["--network-namespace", namespace]);
        let daemon = Daemon::start(lab.host(HOST), &options).await?;
        Ok(Self {
            daemon,
            _server: server,
            lab,
        })
    }

    /// With the container named by its namespace's file.
    async fn with_container(source: &str) -> anyhow::Result<Self> {
        let lab = Lab::new(4)?;
        let file = file(lab.host(CONTAINER));
        Self::new(source, &file, lab).await
    }

    async fn await_verdict(&self, verdict: Verdict) -> anyhow::Result<()> {
        let url = self.lab.host(PEER).url();
        let is = |state: &detector_api::v1::PeerState| state.verdict() == verdict;
        self.daemon.await_state(&url, SOON, is).await?;
        Ok(())
    }

    async fn explain(&self) -> anyhow::Result<ExplainPeerResponse> {
        self.daemon.explain(&self.lab.host(PEER).url()).await
    }

    /// The namespaces of the flows that the daemon knows.
    async fn namespaces(&self) -> anyhow::Result<BTreeSet<u32>> {
        let explained = self.explain().await?;
        Ok(explained.flows.iter().map(|flow| flow.netns).collect())
    }

    /// Waits until it knows flows in these namespaces and no others.
    async fn await_namespaces(&self, wanted: &BTreeSet<u32>) -> anyhow::Result<()> {
        testbed::until("the flows are known", SOON, async || {
            Ok((self.namespaces().await? == *wanted).then_some(()))
        })
        .await
    }

    /// Removes the container's namespace by its name, and waits until the kernel has done
    /// so: its end of the cable goes with it.
    async fn await_end_of(&self, host: usize) -> anyhow::Result<()> {
        let switch = self
            .lab
            .namespaces()
            .iter()
            .find(|namespace| namespace.ends_with("-sw"))
            .context("the lab has a switch")?;
        let port = format!("p{host}");
        testbed::until("its network namespace is gone", SOON, async || {
            let mut command = Command::new("ip");
            command.args(["-n", switch, "link", "show", &port]);
            let shown = command.output()?;
            Ok((!shown.status.success()).then_some(()))
        })
        .await
    }
}

fn file(host: &Host) -> String {
    format!("/run/netns/{}", host.namespace())
}

fn id(host: &Host) -> anyhow::Result<u32> {
    Ok(u32::try_from(fs::metadata(file(host))?.ino())?)
}

fn remove(host: &Host) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    let removed = command.args(["netns", "del", host.namespace()]).status()?;
    ensure!(removed.success(), "ip netns del: {removed}");
    Ok(())
}

/// Cookies of the host's sockets with the peer.
fn sockets(host: &Host, peer: &Host) -> anyhow::Result<BTreeSet<u64>> {
    let mut sock_diag = host.within(SockDiag::open)??;
    let addrs = BTreeSet::from([IpAddr::from(peer.v4())]);
    let read = sock_diag.read_peers(&addrs)?;
    Ok(read.flows.iter().map(|flow| flow.cookie).collect())
}

async fn a_blocked_program_is_freed(source: &str) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let site = Site::with_container(source).await?;
        let [container, peer, foreign] =
            [CONTAINER, PEER, FOREIGN].map(|number| site.lab.host(number));
        let _uploads = Traffic::http_client(container, peer, 2).await?;
        let blocked = Traffic::blocking_client(container, peer, 2).await?;
        let others = Traffic::blocking_client(foreign, peer, 2).await?;
        site.await_verdict(Verdict::Alive).await?;
        let watched = BTreeSet::from([id(container)?]);
        site.await_namespaces(&watched).await?;
        let untouched = sockets(foreign, peer)?;
        assert_eq!(untouched.len(), 2);

        let cut = site.lab.cut(&[PEER], Cut::SilentDrop)?;
        site.await_verdict(Verdict::Dead).await?;
        let events = site.explain().await?.events;
        let of = |host: &Host| {
            let local = format!("{}:", host.v4());
            let told = events
                .iter()
                .filter(move |event| event.flow.starts_with(&local));
            told.map(|event| event.source.as_str())
                .collect::<BTreeSet<_>>()
        };
        let seen = of(container);
        assert!(seen.contains(source.replace('-', "_").as_str()), "{seen:?}");
        assert!(of(foreign).is_empty());
        for connection in 0..2 {
            let returned = blocked.event(cut.at_ns, SOON, |event| match event {
                Event::Error {
                    at_ns,
                    channel,
                    error,
                    ..
                } if *channel == connection => Some((*at_ns, error.clone())),
                _ => None,
            });
            let (at_ns, error) = returned.await?;
            println!("returned after {:?}", clock::between(cut.at_ns, at_ns));
            assert!(error.contains("os error 103"), "{error}");
        }
        let state = site.daemon.peer(&peer.url()).await?;
        assert_eq!(state.verdict(), Verdict::Dead, "{state:?}");
        let destroyed = testbed::until("it says what it destroyed", SOON, async || {
            Ok(site.explain().await?.destroyed)
        })
        .await?;
        // Two that were blocked, two that were uploading.
        assert!(destroyed.destroyed >= 4, "{destroyed:?}");
        assert_eq!(
            (destroyed.failed, destroyed.spared),
            (0, 0),
            "{destroyed:?}"
        );
        assert!(!site.namespaces().await?.contains(&id(foreign)?));
        // The same peer's, in a namespace that was not named.
        assert_eq!(sockets(foreign, peer)?, untouched);
        let error = others.error_since(cut.at_ns, Duration::ZERO).await;
        assert!(error.is_err(), "{error:?}");
        site.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_program_in_a_container_is_freed() -> anyhow::Result<()> {
    a_blocked_program_is_freed("ebpf").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_program_in_a_container_is_freed_without_ebpf() -> anyhow::Result<()> {
    a_blocked_program_is_freed("sock-diag").await
}

/// The host has no way to the peer, as where containers have networks of their own; and
/// nothing is in flight, so that nobody but the daemon would ever ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_asked_from_the_containers_namespace() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(4)?;
        lab.host(HOST)
            .exec("ip", &["addr", "flush", "dev", "eth0"])?;
        let file = file(lab.host(CONTAINER));
        let site = Site::new("ebpf", &file, lab).await?;
        let peer = site.lab.host(PEER);
        let container = site.lab.host(CONTAINER);
        let _pool =
            Traffic::pool(container, (peer.v4(), detector_tests::PEER_PORT).into(), 3).await?;
        site.await_verdict(Verdict::Alive).await?;
        let from = format!("from {}", id(container)?);
        testbed::until("it answers from there", SOON, async || {
            let probes = site.explain().await?.probes;
            let mut answering = probes.iter().filter(|probe| probe.known_to_answer);
            Ok(answering
                .any(|probe| probe.target.ends_with(&from))
                .then_some(()))
        })
        .await?;

        let cut = site.lab.cut(&[PEER], Cut::SilentDrop)?;
        site.await_verdict(Verdict::Dead).await?;
        println!(
            "dead after {:?}",
            clock::between(cut.at_ns, clock::now_ns())
        );
        // Its sockets are destroyed, and it is asked on.
        testbed::until("they are destroyed", SOON, async || {
            let destroyed = site.explain().await?.destroyed;
            Ok(destroyed.filter(|destroyed| destroyed.destroyed >= 3))
        })
        .await?;
        let heal = site.lab.heal(&[PEER])?;
        site.await_verdict(Verdict::Alive).await?;
        println!(
            "alive after {:?}",
            clock::between(heal.at_ns, clock::now_ns())
        );
        site.daemon.stop().await
    })
    .await
}

/// When a container is stopped, its network must not remain in use, nor its peers be found dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_gone_is_let_go() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let site = Site::with_container("ebpf").await?;
        let [container, peer] = [CONTAINER, PEER].map(|number| site.lab.host(number));
        let mut uploads = Traffic::http_client(container, peer, 4).await?;
        site.await_verdict(Verdict::Alive).await?;
        site.await_namespaces(&BTreeSet::from([id(container)?]))
            .await?;
        uploads.process.kill().await?;
        remove(container)?;
        site.await_end_of(CONTAINER).await?;
        site.await_namespaces(&BTreeSet::new()).await?;
        site.daemon
            .never_dead(&peer.url(), Duration::from_secs(3))
            .await?;
        site.daemon.stop().await
    })
    .await
}

/// A unit that is restarted has another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_followed_into_its_next_container() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let site = Site::new("ebpf", &cgroup.target(), Lab::new(4)?).await?;
        let peer = site.lab.host(PEER);
        // A probe of the daemon's own may be among them for a moment.
        site.await_namespaces(&BTreeSet::new()).await?;
        let first = site.lab.host(CONTAINER).in_cgroup(&cgroup);
        let mut client = Traffic::http_client(&first, peer, 2).await?;
        site.await_namespaces(&BTreeSet::from([id(&first)?]))
            .await?;

        client.process.kill().await?;
        remove(&first)?;
        let second = site.lab.host(FOREIGN).in_cgroup(&cgroup);
        let _client = Traffic::http_client(&second, peer, 2).await?;
        site.await_end_of(CONTAINER).await?;
        site.await_namespaces(&BTreeSet::from([id(&second)?]))
            .await?;
        site.await_verdict(Verdict::Alive).await?;

        let cut = site.lab.cut(&[PEER], Cut::SilentDrop)?;
        site.await_verdict(Verdict::Dead).await?;
        println!(
            "dead after {:?}",
            clock::between(cut.at_ns, clock::now_ns())
        );
        site.daemon.stop().await
    })
    .await
}

/// A process without privilege in a watched service makes itself a network and takes the dead
/// peer's address there. Such a namespace is not the node's.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_anyone_could_make_keeps_no_dead_peer_alive() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cgroup = Cgroup::new()?;
        let site = Site::new("ebpf", &cgroup.target(), Lab::new(4)?).await?;
        let peer = site.lab.host(PEER);
        let service = site.lab.host(CONTAINER).in_cgroup(&cgroup);
        let _client = Traffic::http_client(&service, peer, 2).await?;
        site.await_verdict(Verdict::Alive).await?;
        let watched = BTreeSet::from([id(&service)?]);
        site.await_namespaces(&watched).await?;
        site.lab.cut(&[PEER], Cut::SilentDrop)?;
        site.await_verdict(Verdict::Dead).await?;

        let address = (peer.v4(), detector_tests::PEER_PORT).into();
        let _impostor = Traffic::impostor(&service, address).await?;
        stays_dead(&site).await?;
        // The daemon's own probes are in its own.
        let known = BTreeSet::from([id(&service)?, id(site.lab.host(HOST))?]);
        assert!(site.namespaces().await?.is_subset(&known));
        site.daemon.stop().await
    })
    .await
}

/// The node's own container has the dead peer's address, as load balancers' backends have
/// that of the service.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_hears_from_itself_keeps_no_dead_peer_alive() -> anyhow::Result<()> {
    for source in ["ebpf", "sock-diag"] {
        testbed::run(LIMIT, async {
            let site = Site::with_container(source).await?;
            let [container, peer] = [CONTAINER, PEER].map(|number| site.lab.host(number));
            let _client = Traffic::http_client(container, peer, 2).await?;
            site.await_verdict(Verdict::Alive).await?;
            site.lab.cut(&[PEER], Cut::SilentDrop)?;
            site.await_verdict(Verdict::Dead).await?;

            let address = format!("{}/32", peer.v4());
            // To others it does not answer for it.
            container.exec("sysctl", &["-qw", "net.ipv4.conf.all.arp_ignore=1"])?;
            container.exec("ip", &["addr", "add", &address, "dev", "lo"])?;
            let _server = Traffic::http_server(container).await?;
            let _impostor = Traffic::http_client(container, peer, 2).await?;
            stays_dead(&site).await?;
            site.daemon.stop().await
        })
        .await?;
    }
    Ok(())
}

/// For longer than the daemon takes to find a namespace (1 s), and to see who is back.
async fn stays_dead(site: &Site) -> anyhow::Result<()> {
    let url = site.lab.host(PEER).url();
    let is = |state: &detector_api::v1::PeerState| state.verdict() != Verdict::Dead;
    let other = site.daemon.await_state(&url, Duration::from_secs(3), is);
    match other.await {
        Err(_) => Ok(()),
        Ok(state) => anyhow::bail!("it is dead no more: {state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_watching_a_container_takes() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("detector.toml");
        let named = file(lab.host(2));
        fs::write(&config, format!("network_namespaces = [{named:?}]\n"))?;
        let check = |capabilities: &str| -> anyhow::Result<serde_json::Value> {
            let mut command = lab.host(1).command("setpriv");
            let bounding = format!("--bounding-set={capabilities}");
            command.args([&bounding, "--"]).arg(binary()?);
            command.args(["doctor", "--output", "json", "--config"]);
            let output = command.arg(&config).output()?;
            let text = String::from_utf8(output.stdout)?;
            let mut lines = text.lines().filter_map(|line| {
                let check: serde_json::Value = serde_json::from_str(line).ok()?;
                (check["name"] == format!("network namespace {named}")).then_some(check)
            });
            lines
                .next()
                .with_context(|| format!("no such check: {text}"))
        };
        let able = check("+all")?;
        assert_eq!(able["status"], "ok", "{able}");
        let unable = check("-sys_admin")?;
        assert_eq!(unable["status"], "degraded", "{unable}");
        assert!(unable.to_string().contains("CAP_SYS_ADMIN"), "{unable}");
        remove(lab.host(2))?;
        let gone = check("+all")?;
        assert_eq!(gone["status"], "degraded", "{gone}");
        Ok(())
    })
    .await
}
