//! The kubelet's question whether a pod is ready.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::Client;
use crate::Log;

/// How often it is asked, and how long the kubelet waits for the answer.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);

/// How long so many questions may take at most.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Readiness {
    asked: Log<Asked>,
    asking: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Asked {
    took: Duration,
    /// Why the pod is not ready.
    error: Option<String>,
}

impl Readiness {
    pub(super) fn ask(client: Client) -> Self {
        let asked = Log::default();
        let log = asked.clone();
        let asking = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let begun = Instant::now();
                let ready = timeout(PATIENCE, client.ready()).await;
                let ready = ready.unwrap_or_else(|_| anyhow::bail!("not within {PATIENCE:?}"));
                log.push(Asked {
                    took: begun.elapsed(),
                    error: ready.err().map(|error| format!("{error:#}")),
                });
            }
        });
        Self { asked, asking }
    }

    /// Waits for the answers to so many questions more.
    pub async fn again(&self, times: usize) -> anyhow::Result<()> {
        let (from, mut left) = (self.asked.position(), times);
        let answered = self.asked.find_from(from, ANSWERED_WITHIN, |_| {
            left -= 1;
            (left == 0).then_some(())
        });
        answered.await.context("the kubelet asks no more")
    }

    /// Fails unless the pod was ready each time but so many; says how long it took at worst.
    pub fn was_late_at_most(&self, times: usize) -> anyhow::Result<Duration> {
        let all = self.asked.all();
        let late: Vec<&Asked> = all.iter().filter(|asked| asked.error.is_some()).collect();
        ensure!(
            late.len() <= times,
            "{} of {} times: {late:#?}",
            late.len(),
            all.len()
        );
        let worst = all.iter().map(|asked| asked.took).max();
        worst.context("it was never asked")
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
