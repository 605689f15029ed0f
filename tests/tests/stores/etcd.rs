//! Debian's etcd: the members of its first start are on its command line, the others in its data.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use detector_api::v1::Breaker;
use detector_tests::{Cut, Daemon, DaemonOptions, Host, Lab, Process, post, testbed};

use super::LIMIT;

/// The daemon asks every 15 s.
const TOLD_WITHIN: Duration = Duration::from_secs(40);
const CLIENTS: u16 = 2379;

fn peer(host: &Host) -> String {
    format!("http://{}:2380", host.v4())
}

/// Starts a member with this initial cluster, by a configuration file as Debian's unit may.
fn start(host: &Host, initial: &str, state: &str, directory: &Path) -> anyhow::Result<Process> {
    let (name, at) = (host.name(), host.v4());
    let clients = format!("http://{at}:{CLIENTS}");
    let file = directory.join(format!("{name}.yml"));
    let settings = format!(
        "name: '{name}'\ndata-dir: {}\nlisten-peer-urls: {1}\ninitial-advertise-peer-urls: {1}\n\
         listen-client-urls: {clients}\nadvertise-client-urls: {clients}\n\
         initial-cluster: \"{initial}\"\ninitial-cluster-state: {state}\nlog-outputs: [stderr]\n\
         enable-grpc-gateway: true\n",
        directory.join(&name).display(),
        peer(host),
    );
    fs::write(&file, settings)?;
    let mut etcd = host.command("etcd");
    etcd.arg("--config-file").arg(&file);
    Process::start(&format!("etcd on {name}"), etcd)
        .context("is etcd installed? `cargo xtask setup` unpacks Debian's etcd-server")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_joins_an_etcd_later_is_found_and_its_loss_noticed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let lab = Lab::new(2)?;
        let [own, later] = [1, 2].map(|number| lab.host(number));
        let first = format!("h1={}", peer(own));
        let _own = start(own, &first, "new", directory.path())?;
        let options = DaemonOptions::default().args(["--profile", "etcd"]);
        let daemon = Daemon::start(own, &options).await?;
        testbed::until("it tells that it is alone", TOLD_WITHIN, async || {
            let listed = daemon.cli(own, &["peers"])?;
            Ok(listed
                .contains("1 node, from the members of pid ")
                .then_some(()))
        })
        .await?;

        let body = format!(r#"{{"peerURLs":["{}"]}}"#, peer(later));
        let clients = (own.v4(), CLIENTS).into();
        post(own, clients, "/v3/cluster/member/add", &body)?;
        let both = format!("{first},h2={}", peer(later));
        let _later = start(later, &both, "existing", directory.path())?;
        let is_alive = |state: &detector_api::v1::PeerState| {
            state.breaker() == Breaker::Closed && state.last_heard_age.is_some()
        };
        daemon
            .await_state(&peer(later), TOLD_WITHIN, is_alive)
            .await?;
        super::await_names(&daemon, [peer(later)]).await?;

        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let is_open = |state: &detector_api::v1::PeerState| state.breaker() == Breaker::Open;
        daemon
            .await_since(cut.at_ns, &peer(later), super::SOON, is_open)
            .await?;
        daemon.stop().await
    })
    .await
}
