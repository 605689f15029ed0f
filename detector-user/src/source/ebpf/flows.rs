//! The thread that reads the map of flows. One reading takes up to [`MAX_READINGS`] steps for each
//! flow that the map holds, which is too much for the loop: just when peers die in bulk.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io, mem,
    sync::Arc,
};

use anyhow::Context as _;
use aya::maps::{HashMap, MapData, MapError};
use detector_ebpf::{FlowKey, FlowRecord};
use tokio::sync::oneshot;
use tracing::warn;
use zerocopy::FromBytes;

use super::{counts::Counts, decode, keys::KernelKeys, watch::WatchSet};
use crate::{model::Time, netns::Namespace, signals::SignalSender, worker::Inbox};

/// The most entries that are read if the map changes meanwhile, as a multiple of its size.
const MAX_READINGS: usize = 4;

type FlowKeyBytes = [u8; size_of::<FlowKey>()];
type FlowRecordBytes = [u8; size_of::<FlowRecord>()];

/// The watched endpoints, and the jobs for the thread that reads the map of flows.
pub(super) struct Wanted {
    pub watched: WatchSet<KernelKeys>,
    job: Job,
    /// Namespaces whose flows are removed. They are held until then: meanwhile the kernel cannot
    /// reuse their numbers.
    gone: BTreeMap<u32, Option<Arc<Namespace>>>,
}

/// What one reading of the map is for.
#[derive(Default)]
struct Job {
    heal: Option<Heal>,
    /// To remove flows that are no longer watched, or whose namespace is not: the kernel side
    /// handles only watched flows, and would not see them close.
    forget: bool,
}

/// To report the latest record of every flow that has one since this time.
struct Heal {
    since: Time,
    /// Dropped without an answer if that failed.
    done: oneshot::Sender<()>,
}

impl Wanted {
    pub fn new(watched: WatchSet<KernelKeys>) -> Self {
        Self {
            watched,
            job: Job::default(),
            gone: BTreeMap::new(),
        }
    }

    /// Requests a report of the latest record of every flow that has one since this time; `done` is
    /// answered after the last one.
    pub fn heal(&mut self, since: Time, done: oneshot::Sender<()>) {
        self.job.heal = Some(Heal { since, done });
    }

    /// Requests the removal of flows that are no longer watched.
    pub fn forget_unwatched(&mut self) {
        self.job.forget = true;
    }

    /// Requests the removal of the flows of namespaces that are `gone`; those `here` are watched again.
    pub fn forget_elsewhere(
        &mut self,
        gone: impl Iterator<Item = (u32, Option<Arc<Namespace>>)>,
        here: &BTreeSet<u32>,
    ) {
        self.gone.extend(gone);
        self.gone.retain(|netns, _| !here.contains(netns));
        self.job.forget |= !self.gone.is_empty();
    }

    fn take_job(&mut self) -> Option<Job> {
        let is_wanted = self.job.forget || self.job.heal.is_some();
        is_wanted.then(|| mem::take(&mut self.job))
    }

    fn wants(&self, key: &FlowKeyBytes, bytes: &FlowRecordBytes) -> bool {
        let is_gone = |key: FlowKey| self.gone.contains_key(&key.netns);
        let is_watched = decode::record(bytes).is_ok_and(|record| {
            let ports = [record.remote_port, record.local_port];
            self.watched.covers(record.remote_addr, ports)
        });
        is_watched && !FlowKey::read_from_bytes(key).is_ok_and(is_gone)
    }
}

/// The kernel's map of flows.
pub(super) struct Flows {
    pub map: HashMap<MapData, FlowKeyBytes, FlowRecordBytes>,
    /// The most entries that it holds.
    pub most: usize,
    pub counts: Arc<Counts>,
    pub signals: SignalSender,
}

impl Flows {
    /// Carries out jobs until it is time to stop.
    pub fn run(mut self, wanted: &Inbox<Wanted>) -> Result<(), Infallible> {
        while let Some(job) = wanted.wait(Wanted::take_job) {
            match self.carry_out(&job, wanted) {
                Ok(()) => {
                    if let Some(heal) = job.heal {
                        // Nobody waits any more when the source is dropped.
                        let _ = heal.done.send(());
                    }
                }
                Err(error) => warn!("the flows are left as they are: {error:#}"),
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, job: &Job, wanted: &Inbox<Wanted>) -> anyhow::Result<()> {
        let going: BTreeSet<u32> = wanted.take(|wanted| wanted.gone.keys().copied().collect());
        for (key, bytes) in self.entries()? {
            if wanted.is_stopped() {
                return Ok(());
            }
            if let Some(heal) = &job.heal {
                self.heal(heal.since, &key, &bytes)?;
            }
            if job.forget {
                // What is watched does not change meanwhile.
                wanted.take(|wanted| match wanted.wants(&key, &bytes) {
                    true => Ok(()),
                    false => self.remove(&key),
                })?;
            }
        }
        if job.forget {
            wanted.take(|wanted| wanted.gone.retain(|netns, _| !going.contains(netns)));
        }
        Ok(())
    }

    /// Reports a flow's latest record. If it is the last one, the kernel side will not remove it.
    fn heal(
        &mut self,
        since: Time,
        key: &FlowKeyBytes,
        bytes: &FlowRecordBytes,
    ) -> anyhow::Result<()> {
        let is_known = |record: FlowRecord| record.at_ns < since.as_nanos();
        if decode::record(bytes).is_ok_and(is_known) {
            return Ok(());
        }
        if FlowKey::read_from_bytes(key).is_ok_and(|key| key.is_final != 0) {
            self.remove(key)?;
        }
        if let Some(signal) = self.counts.signal(bytes) {
            // The loop takes no more signals when the daemon stops.
            let _ = self.signals.blocking_send(signal);
        }
        Ok(())
    }

    /// The map's entries. Programs change the map meanwhile, and if the entry that was read last is
    /// gone the kernel starts over: so entries may come twice, and the reading is bounded.
    fn entries(&self) -> anyhow::Result<BTreeMap<FlowKeyBytes, FlowRecordBytes>> {
        let mut entries = BTreeMap::new();
        for entry in self.map.iter().take(MAX_READINGS * self.most) {
            match entry {
                Ok((key, bytes)) => {
                    entries.insert(key, bytes);
                }
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("cannot read the map of flows"),
            }
        }
        Ok(entries)
    }

    fn remove(&mut self, key: &FlowKeyBytes) -> anyhow::Result<()> {
        match self.map.remove(key) {
            Ok(()) => self.counts.removed(),
            // The flow closed meanwhile.
            Err(MapError::KeyNotFound) => {}
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot remove a flow from the map"),
        }
        Ok(())
    }
}
