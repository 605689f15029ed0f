//! Each source by itself, and which one `auto` chooses on a machine that lacks something.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use detector_api::v1::{Event, Verdict};
use detector_tests::{
    Cut, DaemonOptions, Lab, Scene, SceneOptions, Traffic, Via, peer::Kind, testbed,
};
use detector_user::{
    model::{Bounds, Endpoint, MAX_ADDRESSES, PeerName},
    signals,
    source::{
        Source as _,
        ebpf::{EbpfOptions, EbpfSource},
    },
};

const LIMIT: Duration = Duration::from_secs(60);
/// Slower sources are right as well, only later.
const OPEN_WITHIN: Duration = Duration::from_secs(15);

/// Cuts a busy peer off and brings it back; the evidence is to come from `source`.
async fn sees_a_cut_and_the_return(options: DaemonOptions, source: &str) -> anyhow::Result<Scene> {
    let scene = Scene::new(SceneOptions {
        daemon: options,
        ..SceneOptions::default()
    })
    .await?;
    let _traffic = scene.traffic_to(2).await?;
    let cut = scene.cut(2, Cut::PortDown)?;
    let (open, after) = scene.open_after(cut, 2, OPEN_WITHIN).await?;
    println!("open after {after:?}: {:?}", open.state.reason());
    assert_eq!(open.state.verdict(), Verdict::Dead);
    let explained = scene.daemon.explain(&scene.lab.host(2).url()).await?;
    // A look may see a time-out before eBPF's record of it is read; polling has no records.
    let from_ebpf = |e: &Event| e.source == "ebpf";
    let has_ebpf = explained.events.iter().any(from_ebpf);
    assert_eq!(has_ebpf, source == "ebpf", "{explained:#?}");
    let heal = scene.heal(2)?;
    scene.closed_after(heal, 2, Duration::from_secs(15)).await?;
    Ok(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn ebpf() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default().source("ebpf");
        let scene = sees_a_cut_and_the_return(options, "ebpf").await?;
        scene.daemon.stop().await
    })
    .await
}

/// As in a container, or started with `ip netns exec`.
#[tokio::test(flavor = "multi_thread")]
async fn ebpf_without_tracefs() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default()
            .source("ebpf")
            .via(Via::WithoutTracefs);
        let scene = sees_a_cut_and_the_return(options, "ebpf").await?;
        scene.daemon.stop().await
    })
    .await
}

/// The kernel's map is made as large as the configuration's peers may need.
#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_five_thousand_peers_can_be_watched() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let bounds = Bounds::new(5_000);
        let options = EbpfOptions {
            max_watched: bounds.map_entries(),
            ..EbpfOptions::default()
        };
        let (sender, _signals) = signals::channel(1);
        let mut source = EbpfSource::load(&options, sender)?;
        let endpoints = |peer: u32| {
            let addresses = MAX_ADDRESSES as u32;
            let hosts = (0..addresses).map(|n| Ipv4Addr::from_bits(peer * addresses + n));
            let endpoint = |addr: Ipv4Addr| Endpoint {
                addr: addr.into(),
                port: 9000,
            };
            hosts.map(endpoint).collect::<Vec<_>>()
        };
        let name = |peer: u32| PeerName::from_canonical(&format!("http://node{peer}:9000"));
        let mut peers: BTreeMap<_, _> = (0..5_000).map(|n| (name(n), endpoints(n))).collect();
        source.watch(&peers)?;

        peers.insert(name(5_000), endpoints(5_000));
        let refused = source.watch(&peers).expect_err("the map is full");
        assert!(refused.to_string().contains("max_peers"), "{refused}");
        Ok(())
    })
    .await
}

/// Addresses recur in other network namespaces: what happens there is not this peer's, and
/// the tracepoints see all of it.
async fn another_namespace_says_nothing(options: DaemonOptions) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            daemon: options,
            ..SceneOptions::default()
        })
        .await?;
        let _traffic = scene.traffic_to(2).await?;
        let elsewhere = Lab::new(2)?;
        let (us, namesake) = (elsewhere.host(1), elsewhere.host(2));
        let _server = Traffic::grpc_server(namesake).await?;
        let calls = Traffic::grpc_client(us, &namesake.url(), Kind::Put, 4, 100).await?;
        let url = scene.lab.host(2).url();

        // Its death is not ours.
        elsewhere.cut(&[2], Cut::SilentDrop)?;
        let a_while = Duration::from_secs(3);
        scene.daemon.never_dead(&url, a_while).await?;

        // Nor is its return.
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let (open, _) = scene.open_after(cut, 2, OPEN_WITHIN).await?;
        let heal = elsewhere.heal(&[2])?;
        calls.ok_since(heal.at_ns, OPEN_WITHIN).await?;
        scene.daemon.stays_open(open.at_ns, &url, a_while).await?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ebpf_hears_nothing_from_another_namespace() -> anyhow::Result<()> {
    another_namespace_says_nothing(DaemonOptions::default().source("ebpf")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sock_diag() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default().source("sock-diag");
        let scene = sees_a_cut_and_the_return(options, "sock_diag").await?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_is_ebpf_where_it_can_be_had() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default().source("auto");
        let scene = sees_a_cut_and_the_return(options, "ebpf").await?;
        scene.daemon.stop().await
    })
    .await
}

/// `auto` must still see a cut, and warn with a reason that names `cause`.
async fn falls_back(via: Via, causes: &[&str]) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let options = DaemonOptions::default().source("auto").via(via);
        let scene = sees_a_cut_and_the_return(options, "sock_diag").await?;
        let log = scene.daemon.process().stderr().all();
        let warned = log.iter().any(|line| {
            let line = line.to_lowercase();
            line.contains("warn") && causes.iter().any(|cause| line.contains(cause))
        });
        assert!(warned, "no warning names one of {causes:?}: {log:#?}");
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_falls_back_without_btf() -> anyhow::Result<()> {
    falls_back(Via::WithoutBtf, &["config_debug_info_btf"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_falls_back_without_cap_bpf() -> anyhow::Result<()> {
    let causes = ["cap_bpf", "not permitted", "permission", "eperm"];
    falls_back(Via::WithoutBpf, &causes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_falls_back_in_a_time_namespace() -> anyhow::Result<()> {
    falls_back(Via::TimeNamespace, &["time namespace"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ebpf_that_cannot_be_had_is_an_error_that_says_why() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let options = DaemonOptions::default()
            .source("ebpf")
            .peer("http://10.77.0.2:9000")
            .via(Via::WithoutBtf);
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let mut process = detector_tests::Daemon::spawn(lab.host(1), &options, &socket)?;
        let status = process.ended(Duration::from_secs(10)).await?;
        assert!(!status.success());
        // The log closes with the process: all of stderr is there.
        let named = process.stderr().find(Duration::from_secs(5), |line| {
            line.contains("CONFIG_DEBUG_INFO_BTF").then_some(())
        });
        assert!(named.await.is_some(), "{}", process.stderr_tail(20));
        assert!(!socket.exists());
        Ok(())
    })
    .await
}
