//! The baselines of one lab: some run all the time, and the slow ones run only where they are
//! awaited.

use std::{collections::BTreeMap, time::Duration};

use detector_tests::{
    Traffic,
    baseline::{self, Method, is_silence},
    peer::Event,
    testbed,
};

use tokio::time::sleep;

use crate::{load::at, site::Site};

const HEALTHY_WITHIN: Duration = Duration::from_secs(20);

/// Before this time a phi-accrual detector uses its guess of the first interval.
const HEARTBEATS_FOR: Duration = Duration::from_secs(6);

/// Running baselines.
#[derive(Debug)]
pub struct Baselines {
    running: Vec<(Method, usize)>,
    programs: Vec<Traffic>,
}

impl Baselines {
    /// The baselines that decide within two seconds.
    pub async fn fast(site: &Site) -> anyhow::Result<Self> {
        let peer = at(&site.peer(), baseline::PORT);
        let phi = Traffic::start(site.observer(), &["baseline", "--phi", &peer.to_string()])?;
        let counter = Traffic::start(
            site.us(),
            &["baseline", "--retransmits", &peer.ip().to_string()],
        )?;
        phi.believes(0, Method::Phi, false, HEALTHY_WITHIN).await?;
        let none = counter.believes(0, Method::Retransmits, false, HEALTHY_WITHIN);
        none.await?;
        Ok(Self {
            running: vec![(Method::Phi, 0), (Method::Retransmits, 1)],
            programs: vec![phi, counter],
        })
    }

    /// The slower baselines.
    pub async fn slow(site: &Site) -> anyhow::Result<Self> {
        let peer = at(&site.peer(), baseline::PORT);
        let user_timeout = Traffic::start(
            site.observer(),
            &["baseline", "--user-timeout", &peer.to_string()],
        )?;
        let now = Traffic::rustfs_client(site.observer(), &site.grpc(), 20).await?;
        let before = Traffic::rustfs_client(site.observer(), &site.grpc(), 3).await?;
        // One of its own: to the one that runs all the time every short cut is a sample of a late
        // heartbeat, and it forgives longer and longer ones.
        let phi = Traffic::start(site.observer(), &["baseline", "--phi", &peer.to_string()])?;
        for (program, method) in [
            (&user_timeout, Method::UserTimeout),
            (&phi, Method::PhiAkka),
        ] {
            program.believes(0, method, false, HEALTHY_WITHIN).await?;
        }
        sleep(HEARTBEATS_FOR).await;
        Ok(Self {
            running: vec![
                (Method::UserTimeout, 0),
                (Method::RustfsNow, 1),
                (Method::RustfsBefore, 2),
                (Method::PhiAkka, 3),
            ],
            programs: vec![user_timeout, now, before, phi],
        })
    }

    /// Waits until none of them believes that the peer is dead.
    pub async fn settled(&self) -> anyhow::Result<()> {
        testbed::until("the baselines are well", HEALTHY_WITHIN, async || {
            let all_well = self.running.iter().all(|&(method, program)| {
                let events = self.programs[program].process.stdout().all();
                let last = events.iter().rev().find_map(|line| {
                    let event: Event = serde_json::from_str(line).ok()?;
                    says_dead(&event, method)
                });
                last == Some(false)
            });
            Ok(all_well.then_some(()))
        })
        .await
    }

    /// The baselines' programs, to be starved with the daemon.
    pub fn programs(&self) -> impl Iterator<Item = &Traffic> {
        self.programs.iter()
    }

    /// When each baseline began to believe that the peer is dead, at `since_ns` or later; `None` if
    /// it did not within the time.
    pub async fn dead_since(
        &self,
        since_ns: u64,
        within: Duration,
    ) -> BTreeMap<Method, Option<u64>> {
        let deadline = tokio::time::Instant::now() + within;
        let mut found = BTreeMap::new();
        for (method, program) in &self.running {
            let lines = self.programs[*program].process.stdout();
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let at = lines.find(left, |line| {
                let event: Event = serde_json::from_str(line).ok()?;
                (event.at_ns() >= since_ns && says_dead(&event, *method) == Some(true))
                    .then(|| event.at_ns())
            });
            found.insert(*method, at.await);
        }
        found
    }

    /// How often each baseline began to believe it from `since_ns` to `until_ns`.
    pub fn alarms(&self, since_ns: u64, until_ns: u64) -> BTreeMap<Method, u32> {
        let count = |&(method, program): &(Method, usize)| {
            let events = self.programs[program].process.stdout().all();
            let beliefs = events.iter().filter_map(|line| {
                let event: Event = serde_json::from_str(line).ok()?;
                let dead = says_dead(&event, method)?;
                (since_ns..until_ns)
                    .contains(&event.at_ns())
                    .then_some(dead)
            });
            (method, episodes(beliefs))
        };
        self.running.iter().map(count).collect()
    }
}

/// What an event says about the peer, if anything.
fn says_dead(event: &Event, method: Method) -> Option<bool> {
    match event {
        Event::Believed {
            method: m, dead, ..
        } => (*m == method).then_some(*dead),
        Event::Ok { .. } => Some(false),
        Event::Error { error, .. } => is_silence(error).then_some(true),
        _ => None,
    }
}

/// How often a belief turns to dead.
pub fn episodes(beliefs: impl Iterator<Item = bool>) -> u32 {
    let mut was_dead = false;
    let mut count = 0;
    for dead in beliefs {
        count += u32::from(dead && !was_dead);
        was_dead = dead;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_death_is_told_by_many_calls() {
        let beliefs = [false, true, true, true, false, true];
        assert_eq!(episodes(beliefs.into_iter()), 2);
        assert_eq!(episodes([false].into_iter()), 0);
    }
}
