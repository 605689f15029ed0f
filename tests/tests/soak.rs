//! One random fault after the other, for a minute or as long as is asked for: each is found for what
//! it is, nobody else is dead, and nothing of the daemon grows.

use std::{env, fs, net::SocketAddr, str::FromStr, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::v1::Reason;
use detector_tests::{
    Cut, METRICS, Trio, clock, get, testbed,
    trio::{A_WHILE, said},
};
use fastrand::Rng;

/// How long every change is tried; `cargo xtask soak` says another number.
const SECONDS: u64 = 60;
/// And with these faults; `cargo xtask soak` draws others.
const SEED: u64 = 1;
/// What one fault and its end take at the most.
const ONE_FAULT: Duration = Duration::from_secs(120);
/// Faults before the first look at what the daemon uses: by then it has used everything once.
const WARM: usize = 2;

/// What the daemon may use more than after the first faults.
const MORE_KIB: u64 = 24 << 10;
const MORE_FILES: u64 = 24;
const MORE_THREADS: u64 = 6;
/// Flows of two hosts with a handful of connections, and those that are ending.
const MOST_FLOWS: u64 = 256;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut(Cut),
    Deaf,
    WhatWeSendIsLost,
    WhatItSendsIsLost,
    LargeFramesAreLost,
    OneFlowIsLost,
    Flap,
    Loss,
}

const FAULTS: [Fault; 9] = [
    Fault::Cut(Cut::SilentDrop),
    Fault::Cut(Cut::PortDown),
    Fault::Deaf,
    Fault::WhatWeSendIsLost,
    Fault::WhatItSendsIsLost,
    Fault::LargeFramesAreLost,
    Fault::OneFlowIsLost,
    Fault::Flap,
    Fault::Loss,
];

/// Any reason of a death: a fault that begins while another one's traces are there may show by
/// another sign first.
const SILENT: [Reason; 4] = [
    Reason::RtoUnanswered,
    Reason::ProbeUnanswered,
    Reason::HostUnanswered,
    Reason::SendsUnanswered,
];

impl Fault {
    /// Brings it about, sees it found, and ends it.
    async fn befall(self, trio: &Trio) -> anyhow::Result<()> {
        let lab = trio.lab();
        if matches!(self, Self::LargeFramesAreLost | Self::OneFlowIsLost) {
            // What the fault before has lost counts as loss of the path.
            trio.is_clean().await?;
        }
        let begun = clock::now_ns();
        match self {
            Self::Cut(cut) => {
                let cut = trio.scene.cut(2, cut)?;
                trio.dies(cut.at_ns, &SILENT).await?;
                trio.scene.heal(2)?;
            }
            Self::Deaf => {
                let _deaf = lab.host(2).deaf()?;
                trio.dies(begun, &SILENT).await?;
            }
            Self::WhatWeSendIsLost => {
                let _lost = lab.lose_sent(1, 2)?;
                trio.dies(begun, &SILENT).await?;
            }
            Self::WhatItSendsIsLost => {
                let _lost = lab.lose_sent(2, 1)?;
                trio.dies(begun, &SILENT).await?;
            }
            Self::LargeFramesAreLost => {
                let _lost = lab.lose_large(1, 1000)?;
                trio.degrades(begun, Reason::LargeSegmentsLost).await?;
            }
            Self::OneFlowIsLost => {
                let _lost = lab.lose_flow(1, trio.a_port()?, true)?;
                trio.degrades(begun, Reason::FlowsStalled).await?;
            }
            Self::Flap => {
                trio.scene.cut(2, Cut::SilentDrop)?;
                tokio::time::sleep(Duration::from_millis(150)).await;
                trio.scene.heal(2)?;
                trio.daemon().never_dead(&trio.peer(), A_WHILE / 4).await?;
            }
            Self::Loss => {
                lab.loss(2, 20)?;
                let lives = trio.daemon().never_dead(&trio.peer(), A_WHILE / 2).await;
                lab.loss(2, 0)?;
                lives?;
            }
        }
        trio.recovers(clock::now_ns()).await
    }
}

/// What the daemon uses.
#[derive(Clone, Copy, Debug)]
struct Uses {
    resident_kib: u64,
    files: u64,
    threads: u64,
    flows: u64,
}

impl Uses {
    fn now(trio: &Trio) -> anyhow::Result<Self> {
        let of_process = format!("/proc/{}", trio.daemon().process().pid());
        let status = fs::read_to_string(format!("{of_process}/status"))?;
        let number = |text: &str, name: &str| -> anyhow::Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.with_context(|| name.to_owned())?.parse()?)
        };
        let metrics: SocketAddr = METRICS.parse()?;
        let metrics = get(trio.lab().host(1), metrics, "/metrics")?;
        Ok(Self {
            resident_kib: number(&status, "VmRSS:")?,
            threads: number(&status, "Threads:")?,
            files: fs::read_dir(format!("{of_process}/fd"))?.count() as u64,
            flows: number(&metrics, "detector_flows_tracked")?,
        })
    }

    fn is_bounded(&self, first: &Self) -> anyhow::Result<()> {
        ensure!(
            self.resident_kib <= first.resident_kib + MORE_KIB
                && self.files <= first.files + MORE_FILES
                && self.threads <= first.threads + MORE_THREADS
                && self.flows <= MOST_FLOWS,
            "{first:?} has grown to {self:?}"
        );
        Ok(())
    }
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_and_nothing_grows() -> anyhow::Result<()> {
    let asked = from_environment("DETECTOR_SOAK_SECONDS");
    let seconds = asked.unwrap_or(SECONDS);
    let drawn = || asked.map_or(SEED, |_| fastrand::u64(..));
    let seed = from_environment("DETECTOR_SOAK_SEED").unwrap_or_else(drawn);
    println!("seed {seed}: again with DETECTOR_SOAK_SEED={seed} DETECTOR_SOAK_SECONDS={seconds}");
    let limit = Duration::from_secs(seconds);
    testbed::run(limit + ONE_FAULT, async {
        let mut rng = Rng::with_seed(seed);
        let trio = Trio::new().await?;
        let (begun, mut first, mut count) = (clock::now_ns(), None, 0);
        while clock::between(begun, clock::now_ns()) < limit {
            let fault = *rng.choice(&FAULTS).context("a fault")?;
            println!("{count}: {fault:?}");
            let found = fault.befall(&trio).await;
            found.with_context(|| {
                format!(
                    "seed {seed}, {count}: {fault:?}\n{}",
                    said(trio.daemon(), &trio.peer())
                )
            })?;
            count += 1;
            if count > WARM {
                let now = Uses::now(&trio)?;
                now.is_bounded(first.get_or_insert(now))?;
            }
        }
        println!(
            "{count} faults; {:?} and then {:?}",
            first,
            Uses::now(&trio)?
        );
        ensure!(count > WARM, "{count} faults only");
        trio.scene.daemon.stop().await
    })
    .await
}
