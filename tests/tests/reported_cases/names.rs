//! A name with several addresses, or with another address than before.

use anyhow::{Context as _, ensure};
use detector_api::v1::{PathState, PeerState};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Lab, Names, Traffic, clock, testbed,
    trio::{PROMPT, report, request_loops},
};

use crate::{A_WHILE, LIMIT, SOON, is_alive, is_dead};

const TWIN: &str = "http://twin:9000";

/// h1's daemon watches a name; h2 and h3 serve.
struct Named {
    daemon: Daemon,
    names: Names,
    _servers: [Traffic; 2],
    lab: Lab,
}

impl Named {
    async fn new(hosts: &[usize]) -> anyhow::Result<Self> {
        let lab = Lab::new(3)?;
        let addresses: Vec<_> = hosts.iter().map(|&h| lab.host(h).v4().into()).collect();
        let names = Names::new("twin", &addresses)?;
        let servers = [
            Traffic::grpc_server(lab.host(2)).await?,
            Traffic::grpc_server(lab.host(3)).await?,
        ];
        let options = DaemonOptions::default().peer(TWIN).hosts(names.file());
        let daemon = Daemon::start(lab.host(1), &options).await?;
        Ok(Self {
            daemon,
            names,
            _servers: servers,
            lab,
        })
    }
}

/// grpc-go 3353: two A records, one host dead. Calls to it fail, calls to the other continue.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_addresses_is_dead() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let named = Named::new(&[2, 3]).await?;
        let to_h2 = request_loops(&named.lab, 1, 2, 3, 20_000).await?;
        let to_h3 = request_loops(&named.lab, 1, 3, 3, 20_000).await?;
        named.daemon.await_state(TWIN, SOON, is_alive).await?;
        let address = named.lab.host(3).v4().to_string();
        let cut = named.lab.cut(&[3], Cut::SilentDrop)?;
        let is_its = |path: &&PathState| path.address == address;
        let path_dead = |state: &PeerState| {
            let path = state.paths.iter().find(is_its);
            path.is_some_and(|path| path.verdict() == detector_api::v1::Verdict::Dead)
        };
        let (seen, lives) = tokio::join!(
            named.daemon.await_since(cut.at_ns, TWIN, PROMPT, path_dead),
            named.daemon.never_dead(TWIN, A_WHILE),
        );
        report(&named.daemon, "one path dead", cut.at_ns, &seen?);
        lives?;
        to_h3
            .error_since(cut.at_ns, SOON)
            .await
            .context("h3's calls")?;
        to_h2.ok_since(clock::now_ns(), SOON).await?;
        let ended = to_h2.error_since(cut.at_ns, A_WHILE / 8).await;
        ensure!(ended.is_err(), "the living host's call: {ended:?}");
        named.daemon.stop().await
    })
    .await
}

/// grpc-go 4513: the name moves after the death; it is looked up when its host dies, not at the
/// next half minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_after_the_death_is_followed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let named = Named::new(&[2]).await?;
        let _loops = request_loops(&named.lab, 1, 2, 3, 20_000).await?;
        named.daemon.await_state(TWIN, SOON, is_alive).await?;
        let cut = named.lab.cut(&[2], Cut::SilentDrop)?;
        named
            .daemon
            .await_since(cut.at_ns, TWIN, PROMPT, is_dead)
            .await?;
        let moved = clock::now_ns();
        let h3 = named.lab.host(3).v4();
        named.names.set("twin", &[h3.into()])?;
        let followed = |state: &PeerState| state.addresses == [h3.to_string()];
        let seen = named
            .daemon
            .await_since(moved, TWIN, PROMPT * 2, followed)
            .await?;
        report(&named.daemon, "followed", moved, &seen);
        named.daemon.await_state(TWIN, SOON, is_alive).await?;
        named.daemon.stop().await
    })
    .await
}
