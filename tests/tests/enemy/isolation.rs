//! This node's own switch fails, and one of its peers has no connection: it was last heard when it
//! answered a probe.

use detector_api::v1::PeerState;
use detector_tests::{
    Cut, DaemonOptions, Scene, SceneOptions, testbed,
    trio::{request_loops, said},
};

use crate::{A_WHILE, LIMIT, SOON};

/// A witness that was probed in vain is as silent as one that was heard just before.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_connections_is_no_death_of_its_own() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            hosts: 3,
            daemon: DaemonOptions::default(),
        })
        .await?;
        let _loops = request_loops(&scene.lab, 1, 2, 1, 20_000).await?;
        scene.alive(2).await?;
        scene.alive(3).await?;
        let cut = scene.lab.cut_switch(Cut::SilentDrop)?;
        let (busy, without) = (scene.lab.host(2).url(), scene.lab.host(3).url());
        let (a, b) = tokio::join!(
            scene.daemon.never_dead(&busy, A_WHILE * 2),
            scene.daemon.never_dead(&without, A_WHILE * 2),
        );
        println!("{}", said(&scene.daemon, &without));
        a.and(b)?;
        let isolated = |state: &PeerState| state.isolated;
        scene
            .daemon
            .await_since(cut.at_ns, &busy, SOON, isolated)
            .await?;
        scene.lab.heal_switch()?;
        scene.alive(2).await?;
        scene.alive(3).await?;
        scene.daemon.stop().await
    })
    .await
}
