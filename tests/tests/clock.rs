//! Clocks that are set, and a machine that sleeps: no verdict, no time-out and no date goes wrong.
//! Only guests run these tests (`cargo xtask test-vm clock suspend`).

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use detector_api::{
    PeerWatch,
    v1::{Breaker, PeerState, Verdict},
};
use detector_tests::{
    Cut, CutMoment, Daemon, DaemonOptions, Lab, Observed, Traffic, clock, guest, testbed,
    trio::{PROMPT, SOON, request_loops, said, served},
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(140);
/// Longer than any detection time, destroy delay and time to live.
const A_WHILE: Duration = Duration::from_secs(4);
const HOUR: i64 = 3600;
/// How long the override holds: less than the clock is set.
const HOLDS: Duration = Duration::from_secs(600);
/// For how long the machine sleeps, in seconds: longer than any state is valid and any host is waited
/// for.
const NIGHT: u32 = 20;

fn is_alive(state: &PeerState) -> bool {
    state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
}

fn is_dead(state: &PeerState) -> bool {
    state.verdict() == Verdict::Dead && state.breaker() == Breaker::Open
}

/// The daemon on h1, with connections to h2 and h3.
struct Watched {
    peer: String,
    other: String,
    daemon: Daemon,
    options: DaemonOptions,
    socket: PathBuf,
    lab: Lab,
    _traffic: Vec<Traffic>,
    _directory: TempDir,
}

impl Watched {
    async fn new() -> anyhow::Result<Self> {
        let lab = Lab::new(3)?;
        let (mut traffic, options) = served(&lab, &[2, 3]).await?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("detector.sock");
        let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
        for peer in [2, 3] {
            traffic.push(request_loops(&lab, 1, peer, 3, 100).await?);
            let url = lab.host(peer).url();
            daemon.await_state(&url, SOON, is_alive).await?;
        }
        Ok(Self {
            peer: lab.host(2).url(),
            other: lab.host(3).url(),
            daemon,
            options,
            socket,
            lab,
            _traffic: traffic,
            _directory: directory,
        })
    }

    /// Neither peer is found dead, and a client believes the daemon all the time.
    async fn all_is_well(&self, watch: &PeerWatch) -> anyhow::Result<()> {
        let states = watch.states();
        let (peer, other, stale) = tokio::join!(
            self.daemon.never_dead(&self.peer, A_WHILE),
            self.daemon.never_dead(&self.other, A_WHILE),
            tokio::time::timeout(A_WHILE, states.until_stale()),
        );
        ensure!(stale.is_err(), "the states expired: {}", watch.status());
        peer.and(other)
    }

    /// h2, which was cut off, is found dead as soon as ever after `since_ns`, and h3 is not.
    async fn dies(&self, since_ns: u64) -> anyhow::Result<Observed> {
        let (dead, lives) = tokio::join!(
            self.daemon
                .await_since(since_ns, &self.peer, PROMPT, is_dead),
            self.daemon.never_dead(&self.other, A_WHILE),
        );
        let dead = dead.with_context(|| said(&self.daemon, &self.peer))?;
        println!("dead after {:?}", clock::between(since_ns, dead.at_ns));
        lives?;
        Ok(dead)
    }

    async fn returns(&self) -> anyhow::Result<()> {
        let healed = self.lab.heal(&[2])?;
        let back = self
            .daemon
            .await_since(healed.at_ns, &self.peer, SOON, is_alive);
        back.await.map(|_| ())
    }

    /// How long the override of h3 still holds, by the wall clock as it is now.
    async fn override_left(&self) -> anyhow::Result<Duration> {
        let state = self.daemon.peer(&self.other).await?;
        let held = state.r#override.context("h3 has no override")?;
        let until = held.until.context("it has an end")?.try_into()?;
        Ok(clock::until_wall(until))
    }

    /// The date of h2's death is that of this moment.
    async fn is_dated(&self, cut: CutMoment, dead: &Observed) -> anyhow::Result<()> {
        let state = self.daemon.peer(&self.peer).await?;
        let date = state.changed_at.context("it has a date")?.try_into()?;
        let at = clock::of_wall(date);
        // The two clocks are not read at the same moment.
        let slack = 500_000_000;
        let is_right = (cut.at_ns.saturating_sub(slack)..=dead.at_ns + slack).contains(&at);
        let wrong = i128::from(at) - i128::from(dead.at_ns);
        ensure!(is_right, "its date is wrong by {wrong} ns: {date:?}");
        Ok(())
    }
}

fn is_all_of_it(left: Duration) -> anyhow::Result<()> {
    let least = HOLDS / 2;
    ensure!((least..=HOLDS).contains(&left), "it holds for {left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_changes_nothing() -> anyhow::Result<()> {
    if !guest::is_here() {
        return Ok(());
    }
    testbed::run(LIMIT, async {
        let mut all = Watched::new().await?;
        let watch = PeerWatch::start(&all.socket);
        ensure!(watch.ready(SOON).await, "{}", watch.status());
        let holds = format!("{}s", HOLDS.as_secs());
        let args = [
            "override", &all.other, "closed", "--for", &holds, "--reason", "a test",
        ];
        all.daemon.cli(all.lab.host(1), &args)?;

        guest::step_wall_clock(HOUR)?;
        all.all_is_well(&watch).await?;
        is_all_of_it(all.override_left().await?)?;
        let cut = all.lab.cut(&[2], Cut::SilentDrop)?;
        let dead = all.dies(cut.at_ns).await?;
        all.is_dated(cut, &dead).await?;

        guest::step_wall_clock(-2 * HOUR)?;
        all.daemon
            .stays_open(dead.at_ns, &all.peer, A_WHILE)
            .await?;
        all.is_dated(cut, &dead).await?;
        all.returns().await?;
        all.all_is_well(&watch).await?;

        // What is on the disk was written before.
        all.daemon.stop().await?;
        guest::step_wall_clock(2 * HOUR)?;
        all.daemon = Daemon::start_at(all.lab.host(1), &all.options, &all.socket).await?;
        is_all_of_it(all.override_left().await?)?;
        all.daemon.await_state(&all.peer, SOON, is_alive).await?;
        all.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_finds_who_died_and_nobody_else() -> anyhow::Result<()> {
    if !guest::is_here() {
        return Ok(());
    }
    testbed::run(LIMIT, async {
        let all = Watched::new().await?;
        let watch = PeerWatch::start(&all.socket);
        ensure!(watch.ready(SOON).await, "{}", watch.status());
        all.lab.cut(&[2], Cut::SilentDrop)?;
        let slept = tokio::task::block_in_place(|| guest::suspend(NIGHT))?;
        println!("it slept for {slept:?}");
        let least = Duration::from_secs(u64::from(NIGHT) / 2);
        ensure!(slept >= least, "not at all");
        all.dies(clock::now_ns()).await?;
        all.returns().await?;
        all.all_is_well(&watch).await?;
        all.daemon.stop().await
    })
    .await
}
