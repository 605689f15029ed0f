//! What the daemon costs while all is well: counts of wake-ups and of memory, which do not depend
//! on how fast the machine is.

use std::time::Duration;

use anyhow::ensure;
use detector_tests::{Daemon, DaemonOptions, Lab, crowd::Crowd, spent, testbed};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(180);

/// A busy machine adds wake-ups: threads wait for each other. So the quietest of some windows
/// counts.
const WINDOWS: u32 = 4;
const WINDOW: Duration = Duration::from_secs(5);

/// How often the threads are woken in a second, by all of the daemon's timers: idle probes are due
/// about three times a second. The test watches, and so gets heartbeats, one a second.
const MOST_WAKE_UPS: f64 = 6.0 + HEARTBEATS;
const HEARTBEATS: f64 = 1.0;

/// The heap and the stacks, and the last minute for `detector report` (`RECENT_BYTES` in
/// detector-user/src/record/recent.rs).
const MOST_MEMORY_KIB: u64 = (8 + 8) * 1024;

/// The same for each peer.
const MOST_FOR_A_PEER_KIB: u64 = 64;

struct Cost {
    peers: u16,
    wake_ups: f64,
    memory_kib: u64,
}

async fn idle(peers: u16) -> anyhow::Result<Cost> {
    let crowd = Crowd {
        peers,
        on_link: false,
    };
    let lab = Lab::new(2)?;
    crowd.settle(&lab)?;
    let options = DaemonOptions {
        peers: crowd.urls(),
        log: "warn".to_owned(),
        ..DaemonOptions::default()
    };
    let daemon = Daemon::start(lab.host(1), &options).await?;
    let _connections = crowd.connect(&lab)?;
    crowd.alive(&daemon).await?;
    let pid = daemon.process().pid();
    let mut least = f64::INFINITY;
    for _ in 0..WINDOWS {
        let before = spent::wake_ups(pid)?;
        sleep(WINDOW).await;
        let wake_ups = spent::wake_ups(pid)? - before;
        least = least.min(wake_ups as f64 / WINDOW.as_secs_f64());
    }
    let memory_kib = spent::anonymous_kib(pid)?;
    crowd.alive(&daemon).await?;
    daemon.stop().await?;
    println!("{peers} peers: {least:.1} wake-ups a second, {memory_kib} KiB");
    Ok(Cost {
        peers,
        wake_ups: least,
        memory_kib,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_woken_no_more_often_however_many_peers_are_idle() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (few, many) = (idle(2).await?, idle(100).await?);
        for cost in [&few, &many] {
            let woken = cost.wake_ups;
            ensure!(woken <= MOST_WAKE_UPS, "{woken} wake-ups a second");
            // The probes are sent.
            ensure!(woken >= 2.0, "{woken} wake-ups a second are too few");
            let memory = cost.memory_kib;
            let most = MOST_MEMORY_KIB + MOST_FOR_A_PEER_KIB * u64::from(cost.peers);
            ensure!(memory <= most, "{memory} KiB are resident, at most {most}");
        }
        let (few, many) = (few.wake_ups, many.wake_ups);
        ensure!(many <= few + 1.0, "{few} with 2 peers, {many} with 100");
        Ok(())
    })
    .await
}
