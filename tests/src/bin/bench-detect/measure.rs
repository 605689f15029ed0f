//! Makes the cuts and takes the times.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{Cut, DaemonOptions, Scene, SceneOptions, Traffic, clock, peer::Kind, words};
use serde::Serialize;
use tokio::time::sleep;

use crate::Options;

/// A cut that takes longer than this to detect is a failure, not a measurement.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// RustFS's settings: PING 5 s and 20 s, call 30 s.
const BASELINE_WITHIN: Duration = Duration::from_secs(60);

/// What one cut showed, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub kind: &'static str,
    pub suspect_ms: f64,
    pub open_ms: f64,
    pub reason: String,
    /// From the peer's return to the Closed breaker.
    pub closed_ms: f64,
    /// When the client with RustFS's settings noticed, where that was awaited.
    pub baseline_ms: Option<f64>,
    pub baseline_error: Option<String>,
}

/// All cuts, one after the other.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let scene = Scene::new(SceneOptions {
        hosts: 2,
        daemon: DaemonOptions {
            source: options.source.clone(),
            args: options.detector_args.clone(),
            show_log: false,
            ..DaemonOptions::default()
        },
    })
    .await?;
    println!(
        "{} cuts, {} of them until RustFS's settings notice; {} uploading flows",
        options.cuts, options.baseline_cuts, options.flows
    );
    let mut clients = Clients::start(&scene, options).await?;
    let mut measured = Vec::new();
    for number in 0..options.cuts {
        let baseline = has_baseline(number, options.cuts, options.baseline_cuts);
        let cut = measure(&scene, &clients, number, baseline)
            .await
            .with_context(|| format!("cut {} of {}", number + 1, options.cuts))?;
        println!("{}", progress(number + 1, options.cuts, &cut));
        measured.push(cut);
        if baseline {
            // Connections that were silent for so long are backed off for as long again:
            // the next cut is to find fresh ones.
            clients.stop().await?;
            clients = Clients::start(&scene, options).await?;
        }
    }
    scene.daemon.stop().await?;
    Ok(measured)
}

/// Spreads `baselines` evenly over the cuts.
fn has_baseline(number: u32, cuts: u32, baselines: u32) -> bool {
    let before = |n: u32| u64::from(n) * u64::from(baselines) / u64::from(cuts);
    before(number + 1) > before(number)
}

async fn measure(
    scene: &Scene,
    clients: &Clients,
    number: u32,
    baseline: bool,
) -> anyhow::Result<Measured> {
    clients.succeed(clock::now_ns()).await?;
    scene.alive(2).await?;
    // So that the cuts do not all fall on the same moment of the calls' and PINGs' rhythm.
    sleep(Duration::from_millis(300 + u64::from(number) * 137 % 700)).await;

    let kind = Cut::ALL[number as usize % Cut::ALL.len()];
    let cut = scene.cut(2, kind)?;
    let url = scene.lab.host(2).url();
    let doubted = |s: &PeerState| matches!(s.verdict(), Verdict::Suspect | Verdict::Dead);
    let suspect = scene
        .daemon
        .await_since(cut.at_ns, &url, OPEN_WITHIN, doubted)
        .await?;
    let (open, opened) = scene.open_after(cut, 2, OPEN_WITHIN).await?;
    let noticed = match baseline {
        true => Some(
            clients
                .rustfs
                .error_since(cut.at_ns, BASELINE_WITHIN)
                .await?,
        ),
        false => None,
    };
    let heal = scene.heal(2)?;
    let (_, closed) = scene.closed_after(heal, 2, CLOSED_WITHIN).await?;
    let since_cut = |at_ns| milliseconds(clock::between(cut.at_ns, at_ns));
    Ok(Measured {
        kind: kind.as_str(),
        suspect_ms: since_cut(suspect.at_ns),
        open_ms: milliseconds(opened),
        reason: words::reason(open.state.reason()),
        closed_ms: milliseconds(closed),
        baseline_ms: noticed.as_ref().map(|(at_ns, _)| since_cut(*at_ns)),
        baseline_error: noticed.map(|(_, error)| error),
    })
}

/// Who calls the peer.
struct Clients {
    uploads: Traffic,
    rustfs: Traffic,
}

impl Clients {
    async fn start(scene: &Scene, options: &Options) -> anyhow::Result<Self> {
        let (us, url) = (scene.lab.host(1), scene.lab.host(2).url());
        Ok(Self {
            uploads: Traffic::grpc_client(us, &url, Kind::Put, options.flows, 100).await?,
            rustfs: Traffic::grpc_client(us, &url, Kind::Ping, 1, 20).await?,
        })
    }

    async fn succeed(&self, since_ns: u64) -> anyhow::Result<()> {
        self.uploads.ok_since(since_ns, CLOSED_WITHIN).await?;
        self.rustfs.ok_since(since_ns, CLOSED_WITHIN).await?;
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.uploads.process.kill().await?;
        self.rustfs.process.kill().await
    }
}

fn milliseconds(time: Duration) -> f64 {
    // Microseconds are as fine as the measurement is.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn progress(number: u32, cuts: u32, cut: &Measured) -> String {
    let baseline = cut
        .baseline_ms
        .map(|ms| format!("  RustFS's settings {ms:.0} ms"))
        .unwrap_or_default();
    format!(
        "{number:>3}/{cuts} {:<11}  suspect {:>6.1} ms  open {:>6.1} ms ({})  closed {:>6.1} ms{baseline}",
        cut.kind, cut.suspect_ms, cut.open_ms, cut.reason, cut.closed_ms,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_are_spread_and_as_many_as_asked() {
        for (cuts, baselines) in [(30, 5), (30, 30), (30, 0), (7, 3), (1, 1)] {
            let with = (0..cuts).filter(|n| has_baseline(*n, cuts, baselines));
            assert_eq!(with.count(), baselines as usize, "{baselines} of {cuts}");
        }
    }
}
