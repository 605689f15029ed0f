//! RustFS as a StatefulSet: pods die, their machines too, and they come back elsewhere.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::{
    Cut, clock,
    store::{
        SmallLoad,
        pods::{self, Kube, Readiness},
    },
    testbed,
};

const LIMIT: Duration = Duration::from_secs(240);

/// How often each survivor is asked while a pod is away.
const TIMES: usize = 6;

/// Those that are asked whether they are ready.
struct Survivors(BTreeMap<usize, Readiness>);

impl Survivors {
    fn ask<const N: usize>(kube: &Kube, pods: [usize; N]) -> Self {
        Self(pods.into_iter().map(|pod| (pod, kube.ask(pod))).collect())
    }

    async fn again(&self) -> anyhow::Result<()> {
        for asked in self.0.values() {
            asked.again(TIMES).await?;
        }
        Ok(())
    }

    /// A busy machine may be late once, with whatever fell upon the verdict. Without the detector
    /// every question is late.
    fn were_late_at_most_once(&self, when: &str) -> anyhow::Result<()> {
        for (pod, asked) in &self.0 {
            let worst = asked.was_late_at_most(1);
            let worst = worst.with_context(|| format!("rustfs-{pod} is not ready: {when}"))?;
            println!("{when}: rustfs-{pod} is ready within {worst:?}");
        }
        Ok(())
    }
}

/// As the kubelet asks: each second, with 3 s of patience. Everybody's address is new after each
/// start, and a machine that is cut off never says so.
#[tokio::test(flavor = "multi_thread")]
async fn no_survivor_is_late_when_pods_and_machines_go() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut kube = Kube::start().await?;

        let survivors = Survivors::ask(&kube, [0, 1, 3]);
        let killed = clock::now_ns();
        kube.kill(2).await?;
        kube.refused(killed, &[1, 2, 4], 2).await?;
        survivors.again().await?;
        kube.start_pod(2, 3)?;
        kube.settled(&[1, 2, 3, 4]).await?;
        // It closes its connections, so that SYNs alone go unanswered: the first question takes 2.6 s.
        survivors.were_late_at_most_once("a pod is killed and comes back")?;
        drop(survivors);

        let survivors = Survivors::ask(&kube, [0, 1, 2]);
        let load = SmallLoad::start(kube.pod(0).host()).await?;
        let cut = kube.lab.cut(&[4], Cut::PortDown)?;
        kube.refused(cut.at_ns, &[1, 2, 3], 3).await?;
        survivors.again().await?;
        let seen = kube.peers_seen_in(1)?;
        let of_peer = seen.lines().find(|line| line.contains(&pods::name(3)));
        ensure!(of_peer.is_some_and(|line| line.contains("dead")), "{seen}");

        // The store has it twice; who is cut off has no name any more.
        kube.start_pod(3, 1)?;
        kube.settled(&[1, 2, 3]).await?;
        survivors.again().await?;
        survivors
            .were_late_at_most_once("a machine is cut off and its pod comes back elsewhere")?;
        load.none_failed(cut.at_ns).await
    })
    .await
}
