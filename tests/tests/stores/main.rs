//! `detector run --rustfs` finds the peers of the programs on its host, and protects these.

mod etcd;
mod etcd_leader;

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::{Breaker, ListPeersRequest};
use detector_tests::{
    Cgroup, Cut, CutMoment, Daemon, DaemonOptions, Host, Lab, PEER_PORT, Traffic, binary, dial,
    name_server,
    peer::{Dialed, Event},
    testbed,
};
use nix::libc::EHOSTUNREACH;

const LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);

fn options(flag: &str) -> DaemonOptions {
    DaemonOptions::default().args([flag])
}

/// Waits until the daemon watches these hosts, and no others.
async fn await_peers(daemon: &Daemon, hosts: &[&Host]) -> anyhow::Result<()> {
    await_names(daemon, hosts.iter().map(|host| host.url())).await
}

/// Waits until the daemon watches peers of these names, and no others.
async fn await_names(
    daemon: &Daemon,
    wanted: impl IntoIterator<Item = String>,
) -> anyhow::Result<()> {
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    let mut last = BTreeSet::new();
    let found = testbed::until("the peers are found", SOON, async || {
        let listed = daemon.client().list_peers(ListPeersRequest {}).await?;
        let peers = listed.into_inner().peers.into_iter();
        last = peers.map(|state| state.peer).collect();
        Ok((last == wanted).then_some(()))
    });
    let found = found.await;
    found.with_context(|| format!("{last:?} are watched, {wanted:?} are wanted"))
}

/// Waits until the programs are attached to the cgroup.
async fn await_protection(cgroup: &Cgroup) -> anyhow::Result<()> {
    testbed::until("the cgroup is protected", SOON, async || {
        let mut bpftool = Command::new("bpftool");
        let shown = bpftool.args(["cgroup", "show"]).arg(cgroup.path()).output();
        let shown = shown.context("cannot run bpftool: apt-get install bpftool")?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let all = ["refuse_connect4", "refuse_connect6", "tune_sockets"];
        Ok(all.iter().all(|name| shown.contains(name)).then_some(()))
    })
    .await
}

/// The blocked reads return, and connects from the cgroup are refused.
async fn is_protected(
    daemon: &Daemon,
    rustfs: &Traffic,
    inside: &Host,
    (cut, peer): (CutMoment, &Host),
) -> anyhow::Result<()> {
    let url = peer.url();
    let open = daemon.await_since(cut.at_ns, &url, SOON, |state| {
        state.breaker() == Breaker::Open
    });
    open.await?;
    let dialed = dial(inside, (peer.v4(), PEER_PORT).into(), &[])?;
    let refused =
        matches!(dialed, Dialed::Failed { errno: EHOSTUNREACH, took_us } if took_us < 600_000);
    ensure!(refused, "{dialed:?}");
    for connection in 0..2 {
        let freed = rustfs.event(cut.at_ns, SOON, |event| match event {
            Event::Error { channel, error, .. } if *channel == connection => Some(error.clone()),
            _ => None,
        });
        let error = freed.await?;
        ensure!(error.contains("os error 103"), "{error}");
    }
    Ok(())
}

/// Three hosts: one with a unit, its peer with a server, and another.
struct Site {
    _server: Traffic,
    lab: Lab,
    unit: Cgroup,
}

impl Site {
    async fn new() -> anyhow::Result<Self> {
        let unit = Cgroup::new()?;
        let lab = Lab::new(3)?;
        Ok(Self {
            _server: Traffic::http_server(lab.host(2)).await?,
            lab,
            unit,
        })
    }

    fn hosts(&self) -> [&Host; 3] {
        [1, 2, 3].map(|number| self.lab.host(number))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_s_peers_are_found_and_it_is_protected() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let site = Site::new().await?;
        let (lab, unit, [own, peer, other]) = (&site.lab, &site.unit, site.hosts());
        let inside = own.in_cgroup(unit);
        let volumes = "http://10.77.0.{1...3}:9000/data{1...4}";
        let rustfs = Traffic::rustfs(&inside, volumes, None, peer).await?;
        let daemon = Daemon::start(own, &options("--rustfs")).await?;
        await_peers(&daemon, &[peer, other]).await?;
        await_protection(unit).await?;

        let listed = daemon.cli(own, &["peers"])?;
        let name = unit
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        for part in [
            "3 nodes of pool 1, from RUSTFS_VOLUMES of pid ",
            &format!("({name})"),
        ] {
            ensure!(listed.contains(part), "{part}: {listed}");
        }
        let quorum = daemon.cli(own, &["quorum"])?;
        ensure!(quorum.contains("pool1"), "{quorum}");

        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        is_protected(&daemon, &rustfs, &inside, (cut, peer)).await?;
        daemon.stop().await
    })
    .await
}

/// Its network and its names are its own, and the host has no way to look these up.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_s_peers_are_found_as_it_names_them() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let container = Cgroup::named(&format!("docker-{}.scope", "0a1b2c3d".repeat(8)))?;
        let lab = Lab::new(3)?;
        let [host, own, peer] = [1, 2, 3].map(|number| lab.host(number));
        let _server = Traffic::http_server(peer).await?;
        let etc = tempfile::tempdir()?;
        let hosts = format!("127.0.0.1 localhost\n{} store1\n", own.v4());
        fs::write(etc.path().join("hosts"), hosts)?;
        fs::write(etc.path().join("resolv.conf"), "nameserver 127.0.0.11\n")?;
        let _names = name_server::start(own, peer.v4())?;
        let inside = own.in_cgroup(&container);
        let volumes = "http://Store{1...2}:9000/data{1...4}";
        let rustfs = Traffic::rustfs(&inside, volumes, Some(etc.path()), peer).await?;
        let daemon = Daemon::start(host, &options("--rustfs")).await?;
        let resolved = daemon.await_state("http://store2:9000", SOON, |state| {
            state.addresses == [peer.v4().to_string()]
        });
        resolved.await?;
        await_protection(&container).await?;
        // The node itself is no peer.
        await_names(&daemon, ["http://store2:9000".to_owned()]).await?;
        let listed = daemon.cli(host, &["peers", "--output", "json"])?;
        ensure!(listed.contains("(container 0a1b2c3d0a1b)"), "{listed}");

        let cut = lab.cut(&[3], Cut::SilentDrop)?;
        let open = daemon.await_since(cut.at_ns, "http://store2:9000", SOON, |state| {
            state.breaker() == Breaker::Open
        });
        open.await?;
        let (_, error) = rustfs.error_since(cut.at_ns, SOON).await?;
        ensure!(error.contains("os error 103"), "{error}");
        daemon.stop().await
    })
    .await
}

const POD: &str = "4fe0a9c6-1d5c-4b5f-9c3e-2d6f0a1b7c8d";

/// Each run has a cgroup, a network and volumes of its own, and the selector stays the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_followed_to_another_network_and_other_peers() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let slice = format!("kubepods-pod{}.slice", POD.replace('-', "_"));
        let pod = Cgroup::named(&slice)?;
        let lab = Lab::new(5)?;
        let [host, first, second, third, fourth] = [1, 2, 3, 4, 5].map(|n| lab.host(n));
        let _servers = [
            Traffic::http_server(second).await?,
            Traffic::http_server(fourth).await?,
        ];
        let daemon = Daemon::start(host, &options(&format!("--rustfs=pod:{POD}"))).await?;
        testbed::until("it says that there is none", SOON, async || {
            let listed = daemon.cli(host, &["peers"])?;
            Ok(listed
                .contains("no process of rustfs is found")
                .then_some(()))
        })
        .await?;

        let run = Cgroup::named(&format!("{slice}/cri-containerd-1.scope"))?;
        let volumes = "http://10.77.0.{2...3}:9000/data{1...2}";
        let rustfs = Traffic::rustfs(&first.in_cgroup(&run), volumes, None, second).await?;
        await_peers(&daemon, &[second]).await?;
        let from = daemon.cli(host, &["peers"])?;
        ensure!(from.contains(&format!("(pod {POD})")), "{from}");
        drop(rustfs);
        drop(run);

        let run = Cgroup::named(&format!("{slice}/cri-containerd-2.scope"))?;
        let inside = third.in_cgroup(&run);
        let volumes = "http://10.77.0.{3...5}:9000/data{1...4}";
        let rustfs = Traffic::rustfs(&inside, volumes, None, fourth).await?;
        await_peers(&daemon, &[second, fourth]).await?;
        await_protection(&pod).await?;
        let cut = lab.cut(&[5], Cut::SilentDrop)?;
        is_protected(&daemon, &rustfs, &inside, (cut, fourth)).await?;
        daemon.stop().await
    })
    .await
}

/// However the node spells itself, and with RustFS's own port in the place of a missing one.
#[tokio::test(flavor = "multi_thread")]
async fn the_node_itself_is_no_peer_and_doctor_tells_each_node_apart() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let site = Site::new().await?;
        let (lab, unit, [own, peer, silent]) = (&site.lab, &site.unit, site.hosts());
        lab.cut(&[3], Cut::SilentDrop)?;
        let hosts = [
            "LOCALHOST".to_owned(),
            "127.0.0.1:9000".to_owned(),
            "127.7.7.7:9001".to_owned(),
            "[::1]".to_owned(),
            "[::ffff:10.77.0.1]:9002".to_owned(),
            own.v4().to_string(),
            format!("[{}]:9000", own.v6()),
            format!("[{}]", peer.v6()),
            silent.v4().to_string(),
            "no-such-host.invalid".to_owned(),
        ];
        let volumes = hosts.map(|host| format!("http://{host}/data")).join(" ");
        let _rustfs = Traffic::rustfs(&own.in_cgroup(unit), &volumes, None, peer).await?;
        let daemon = Daemon::start(own, &options("--rustfs")).await?;
        let others = [peer.url_v6(), silent.url(), "http://no-such-host.invalid:9000".to_owned()];
        await_names(&daemon, others).await?;

        let mut doctor = own.command(&binary()?.to_string_lossy());
        let told = doctor.args(["doctor", "--rustfs"]).output()?;
        let told = String::from_utf8(told.stdout)?;
        ensure!(told.matches("this node itself").count() == 7, "{told}");
        let name = unit.path().display().to_string();
        for part in [
            &format!("cgroup: {name}"),
            &format!("ok        node {}: {}, and it answers", peer.url_v6(), peer.v6()),
            &format!("degraded  node {}: {}: does not answer", silent.url(), silent.v4()),
            "missing   node http://no-such-host.invalid:9000: no-such-host.invalid does not resolve",
        ] {
            ensure!(told.contains(part), "{part} is missing in\n{told}");
        }
        daemon.stop().await
    })
    .await
}

/// What a process says is wrong, and nothing is changed for it.
#[tokio::test(flavor = "multi_thread")]
async fn absurd_volumes_are_said_and_change_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let [own, peer] = [1, 2].map(|number| lab.host(number));
        let _server = Traffic::http_server(peer).await?;
        let volumes = "http://10.77.0.{1...1000000000}:9000/data{1...4}";
        let absurd = Traffic::rustfs(own, volumes, None, peer).await?;
        let daemon = Daemon::start(own, &options("--rustfs").peer(peer.url())).await?;
        testbed::until("it says what is wrong", SOON, async || {
            let listed = daemon.cli(own, &["peers"])?;
            let said = listed.contains("{1...1000000000} has more than 10000 values");
            Ok(said.then_some(()))
        })
        .await?;
        await_peers(&daemon, &[peer]).await?;
        drop(absurd);
        daemon.stop().await
    })
    .await
}
