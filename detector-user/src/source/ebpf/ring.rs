//! The task that reads the ring. It runs on the loop's own thread: a record wakes that thread, and
//! no other has to run before the loop takes the signal.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, oneshot},
};
use tracing::warn;

use super::{counts::Counts, flows::Wanted};
use crate::{
    clock,
    model::{Signal, Time},
    signals::SignalSender,
    worker::Inbox,
};

/// The most records in a batch.
const MAX_BATCH: usize = 1024;
/// The shortest time between two readings of the whole map, and how many times as long as the
/// reading it is: the loop also needs time for what was read.
const HEAL_SPACING: Duration = Duration::from_millis(100);
const HEAL_SHARE: u32 = 4;
/// A record has its time a moment before it is on the ring or in the map.
const MADE_WITHIN: Duration = Duration::from_millis(100);

pub(super) struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
    counts: Arc<Counts>,
    flows: Arc<Inbox<Wanted>>,
    signals: SignalSender,
    /// Wakes the task to read the count of records that found the ring full, also while the ring is
    /// quiet.
    check: Arc<Notify>,
    /// The count of ring drops that are already healed, and when they were.
    healed_drops: u64,
    healed_at: Time,
    /// All records that were made before this have been sent.
    sent_until: Time,
    heal_after: Duration,
}

impl Ring {
    pub fn new(
        ring: AsyncFd<RingBuf<MapData>>,
        counts: Arc<Counts>,
        flows: Arc<Inbox<Wanted>>,
        signals: SignalSender,
    ) -> Self {
        Self {
            ring,
            counts,
            flows,
            signals,
            check: Arc::default(),
            healed_drops: 0,
            healed_at: Time::default(),
            sent_until: Time::default(),
            heal_after: HEAL_SPACING,
        }
    }

    /// Wakes the task.
    pub fn check(&self) -> Arc<Notify> {
        Arc::clone(&self.check)
    }

    /// Sends a signal for each record until the loop takes no more.
    pub async fn run(mut self) {
        while !self.signals.is_closed() {
            if let Err(error) = self.turn().await {
                return self.signals.fail("ring", format!("{error:#}"));
            }
        }
    }

    async fn turn(&mut self) -> anyhow::Result<()> {
        let (signals, is_empty) = tokio::select! {
            ready = self.ring.readable_mut() => {
                let mut ready = ready.context("cannot wait for the ring")?;
                let drained = drain(ready.get_inner_mut(), &self.counts);
                if drained.1 {
                    ready.clear_ready();
                }
                drained
            }
            () = self.check.notified() => drain(self.ring.get_mut(), &self.counts),
        };
        for signal in signals {
            if self.signals.send(signal).await.is_err() {
                return Ok(());
            }
        }
        if is_empty && let Err(error) = self.heal().await {
            // This is tried again with the next record or within a second.
            warn!("cannot heal what the ring dropped: {error:#}");
        }
        Ok(())
    }

    /// If the ring has been full since the last time, reads the latest records of the flows from the
    /// map. Call this only when the ring is drained. The ring is not read meanwhile: older records must
    /// not follow newer ones.
    async fn heal(&mut self) -> anyhow::Result<()> {
        let now = clock::now();
        let drops = self.counts.ring_drops()?;
        if drops == self.healed_drops {
            self.sent_until = now;
            return Ok(());
        }
        if now.since(self.healed_at) < self.heal_after {
            return Ok(());
        }
        warn!(
            "{} records found the ring full; reading the flows from the map",
            drops - self.healed_drops
        );
        let (done, healed) = oneshot::channel();
        let since = self.sent_until - MADE_WITHIN;
        self.flows.put(|wanted| wanted.heal(since, done));
        healed.await.context("the map of flows was not read")?;
        self.sent_until = now;
        self.healed_drops = drops;
        self.healed_at = clock::now();
        let took = self.healed_at.since(now);
        self.heal_after = HEAL_SPACING.max(took * HEAL_SHARE);
        Ok(())
    }
}

/// Takes up to a batch from the ring; also returns whether that emptied the ring.
fn drain(ring: &mut RingBuf<MapData>, counts: &Counts) -> (Vec<Signal>, bool) {
    let mut signals = Vec::new();
    for _ in 0..MAX_BATCH {
        let Some(item) = ring.next() else {
            return (signals, true);
        };
        signals.extend(counts.signal(&item));
    }
    (signals, false)
}
