//! Breaks the lab, watches what the detector says and what becomes of uploads, and mends it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{
    Cut, DaemonOptions, Lab, Scene, SceneOptions, Traffic, clock, trio::request_loops,
};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::fault::Fault;

/// The checklist's bounds: how soon a failure must be noticed, and how soon a node must be back.
const NOTICED: Duration = Duration::from_secs(8);
const BACK: Duration = Duration::from_secs(30);

/// Shorter than the detection time.
const FLAP: Duration = Duration::from_millis(100);
/// A flap that took longer, for lack of a processor, was a cut.
const LONGEST_FLAP: Duration = Duration::from_millis(200);
const BETWEEN_FLAPS: Duration = Duration::from_millis(400);

const PEERS: [usize; 3] = [2, 3, 4];
const LOSS_PERCENT: u8 = 20;
/// Longer segments than this are lost; a request is longer.
const LARGE: u32 = 1000;
const REQUEST: u32 = 20_000;

/// Four hosts: h1 runs the daemon and uploads to the others.
pub struct Stage {
    scene: Scene,
    uploads: Vec<(usize, Traffic)>,
}

impl Stage {
    pub async fn new(options: DaemonOptions) -> anyhow::Result<Self> {
        let hosts = PEERS.len() + 1;
        let daemon = options;
        let scene = Scene::new(SceneOptions { hosts, daemon }).await?;
        let mut uploads = Vec::new();
        for peer in PEERS {
            let loops = request_loops(&scene.lab, 1, peer, 3, REQUEST).await?;
            scene.alive(peer).await?;
            uploads.push((peer, loops));
        }
        Ok(Self { scene, uploads })
    }

    pub async fn end(self) -> anyhow::Result<()> {
        self.scene.daemon.stop().await
    }

    /// Plays a fault for this long, and waits until all is well again. Says what was seen.
    pub async fn play(&self, fault: Fault, hold: Duration) -> anyhow::Result<String> {
        let lab = &self.scene.lab;
        match fault {
            Fault::PowerCut => self.cut(&[2], Cut::PortDown, hold).await,
            Fault::SilentDrop => self.cut(&[2], Cut::SilentDrop, hold).await,
            Fault::TwoNodes => self.cut(&[2, 3], Cut::PortDown, hold).await,
            Fault::OneWay => {
                let begun = clock::now_ns();
                let lost = lab.lose_sent(1, 2)?;
                let seen = self.dies(&[2], begun, hold).await;
                drop(lost);
                self.mended(&[2], seen).await
            }
            Fault::Loss => {
                lab.loss(2, LOSS_PERCENT)?;
                let seen = self.lives(hold).await;
                lab.loss(2, 0)?;
                self.mended(&[2], seen).await
            }
            Fault::LargeSegments => {
                let begun = clock::now_ns();
                let lost = lab.lose_large(1, LARGE)?;
                let seen = self.degrades(begun, hold).await;
                drop(lost);
                self.mended(&PEERS, seen).await
            }
            Fault::Flaps => {
                let seen = self.flaps(lab, hold).await;
                lab.heal(&[2])?;
                self.mended(&[2], seen).await
            }
            Fault::Stop => {
                let server = &self.scene.servers[0].process;
                server.signal(Signal::SIGSTOP)?;
                let seen = self.lives(hold).await;
                server.signal(Signal::SIGCONT)?;
                self.mended(&[2], seen).await
            }
        }
    }

    async fn cut(&self, hosts: &[usize], cut: Cut, hold: Duration) -> anyhow::Result<String> {
        let begun = self.scene.lab.cut(hosts, cut)?;
        let seen = self.dies(hosts, begun.at_ns, hold).await;
        self.scene.lab.heal(hosts)?;
        self.mended(hosts, seen).await
    }

    /// These hosts, and only these, are found dead; uploads to the others go on.
    async fn dies(&self, hosts: &[usize], since: u64, hold: Duration) -> anyhow::Result<String> {
        let ends = Instant::now() + hold;
        let is_dead = |state: &PeerState| {
            state.verdict() == Verdict::Dead && state.breaker() == Breaker::Open
        };
        let mut seen = Vec::new();
        for &host in hosts {
            let dead = self.await_state(host, since, NOTICED, is_dead).await?;
            seen.push(format!("h{host} dead after {}", shown(since, dead)));
        }
        let noticed = clock::now_ns();
        for (host, uploads) in self.uploads.iter().filter(|(n, _)| !hosts.contains(n)) {
            let goes_on = uploads.ok_since(noticed, NOTICED).await;
            goes_on.with_context(|| format!("an upload to h{host}"))?;
            let lives = self.scene.daemon.peer(&self.url(*host)).await?;
            anyhow::ensure!(!is_dead(&lives), "h{host} is dead too");
        }
        sleep_until(ends).await;
        Ok(seen.join(", "))
    }

    /// h2 is never dead while the fault lasts.
    async fn lives(&self, hold: Duration) -> anyhow::Result<String> {
        self.scene.daemon.never_dead(&self.url(2), hold).await?;
        Ok(format!("never dead in {:.1} s", hold.as_secs_f64()))
    }

    async fn degrades(&self, since: u64, hold: Duration) -> anyhow::Result<String> {
        let is_degraded = |state: &PeerState| state.verdict() == Verdict::Degraded;
        let degraded = tokio::select! {
            degraded = self.await_state(2, since, NOTICED, is_degraded) => degraded?,
            lives = self.lives(NOTICED) => {
                lives?;
                bail!("not degraded in {NOTICED:?}");
            }
        };
        let after = shown(since, degraded);
        let lives = self.lives(hold).await?;
        Ok(format!("degraded after {after}, {lives} more"))
    }

    async fn flaps(&self, lab: &Lab, hold: Duration) -> anyhow::Result<String> {
        let all = async {
            let ends = Instant::now() + hold;
            let (mut flaps, mut longest) = (0, Duration::ZERO);
            while Instant::now() < ends {
                let begun = lab.cut(&[2], Cut::SilentDrop)?.at_ns;
                sleep(FLAP).await;
                lab.heal(&[2])?;
                longest = longest.max(clock::between(begun, clock::now_ns()));
                flaps += 1;
                sleep(BETWEEN_FLAPS).await;
            }
            anyhow::Ok((flaps, longest))
        };
        let (flapped, lives) = tokio::join!(all, self.lives(hold));
        let (flaps, longest) = flapped?;
        if longest <= LONGEST_FLAP {
            lives?;
        }
        Ok(format!(
            "{flaps} flaps of at most {longest:.0?}: never dead"
        ))
    }

    /// The fault has ended: all is well again, whatever was seen of it.
    async fn mended(
        &self,
        hosts: &[usize],
        seen: anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let ended = clock::now_ns();
        let is_well = |state: &PeerState| {
            state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
        };
        let mut last = ended;
        for &host in hosts {
            let well = self.await_well(host, is_well).await?;
            last = last.max(well);
            let uploads = self.uploads.iter().find(|(n, _)| *n == host);
            if let Some((_, uploads)) = uploads {
                let works = uploads.ok_since(well.max(ended), BACK).await;
                works.with_context(|| format!("an upload to h{host} after the fault"))?;
            }
        }
        Ok(format!("{}; well after {}", seen?, shown(ended, last)))
    }

    async fn await_state(
        &self,
        host: usize,
        since: u64,
        within: Duration,
        is: impl Fn(&PeerState) -> bool,
    ) -> anyhow::Result<u64> {
        let url = self.url(host);
        let found = self.scene.daemon.await_since(since, &url, within, is).await;
        Ok(found.with_context(|| format!("h{host}"))?.at_ns)
    }

    async fn await_well(
        &self,
        host: usize,
        is: impl Fn(&PeerState) -> bool,
    ) -> anyhow::Result<u64> {
        let url = self.url(host);
        let found = self.scene.daemon.await_state(&url, BACK, is);
        Ok(found
            .await
            .with_context(|| format!("h{host} after the fault"))?
            .at_ns)
    }

    fn url(&self, host: usize) -> String {
        self.scene.lab.host(host).url()
    }
}

fn shown(since: u64, at: u64) -> String {
    format!("{:.2} s", clock::between(since, at).as_secs_f64())
}
