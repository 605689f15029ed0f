//! Sends the reports in batches.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tonic::{Code, Status, transport::Channel};

use super::{Entry, QUEUE};
use crate::{
    states::Source,
    v1::{ReportRequest, detector_client::DetectorClient},
};

/// How long reports are collected for a batch.
const INTERVAL: Duration = Duration::from_millis(100);
/// The most reports of one batch.
pub(super) const BATCH: usize = 1024;
/// The most bytes of one batch: the daemon accepts requests of up to 64 KiB.
const BATCH_BYTES: usize = 48 * 1024;
/// How long the daemon may take for one batch.
const LIMIT: Duration = Duration::from_secs(1);
/// How long nothing is sent to a daemon that does not support reports.
const PAUSE: Duration = Duration::from_secs(60);
/// How long the last batches may take together.
const FLUSH: Duration = Duration::from_secs(1);

/// The reports of one watch.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: mpsc::Receiver<Entry>,
    /// Oldest first.
    waiting: VecDeque<Entry>,
    dropped: Arc<AtomicU64>,
    source: Arc<Source>,
    /// Nothing is sent before this time.
    paused: Instant,
}

impl Queue {
    pub(super) fn new(
        entries: mpsc::Receiver<Entry>,
        dropped: Arc<AtomicU64>,
        source: Arc<Source>,
    ) -> Self {
        Self {
            entries,
            waiting: VecDeque::new(),
            dropped,
            source,
            paused: Instant::now(),
        }
    }

    /// Sends until `stopped` completes, and then what is queued, if that is quickly possible.
    pub(crate) async fn run(&mut self, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        loop {
            // A batch that is being sent is not abandoned.
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = self.gather() => {}
            }
            if let Some(client) = self.client() {
                self.send(client).await;
            }
        }
        // What cannot be sent by then is lost.
        let _ = timeout(FLUSH, self.flush()).await;
    }

    async fn flush(&mut self) {
        while let Ok(entry) = self.entries.try_recv() {
            self.keep(entry);
        }
        while !self.waiting.is_empty()
            && let Some(client) = self.client()
        {
            self.send(client).await;
        }
    }

    /// Collects reports until there is at least one and the daemon is reachable, and until either a
    /// batch is full or its time is over. Cancel-safe.
    async fn gather(&mut self) {
        if self.waiting.is_empty() {
            self.next().await;
        }
        let due = Instant::now() + INTERVAL;
        while self.waiting.len() < BATCH {
            if timeout_at(due, self.next()).await.is_err() {
                break;
            }
        }
        self.until_someone_listens().await;
    }

    /// Waits for the daemon. Meanwhile the newest reports replace the oldest.
    async fn until_someone_listens(&mut self) {
        let mut clients = self.source.clients();
        while self.client().is_none() {
            tokio::select! {
                Some(entry) = self.entries.recv() => self.keep(entry),
                Ok(()) = clients.changed() => {}
                () = sleep_until(self.paused), if self.paused > Instant::now() => {}
            }
        }
    }

    async fn next(&mut self) {
        match self.entries.recv().await {
            Some(entry) => self.keep(entry),
            // There is no reporter any more.
            None => std::future::pending().await,
        }
    }

    fn keep(&mut self, entry: Entry) {
        if self.waiting.len() >= QUEUE {
            self.waiting.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.push_back(entry);
    }

    fn client(&self) -> Option<DetectorClient<Channel>> {
        (self.paused <= Instant::now())
            .then(|| self.source.client())
            .flatten()
    }

    async fn send(&mut self, mut client: DetectorClient<Channel>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let reports = self.batch();
        let lost = dropped + reports.len() as u64;
        let request = ReportRequest { reports, dropped };
        let answer = timeout(LIMIT, client.report(request)).await;
        let error = match answer {
            Ok(Ok(_)) => return,
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        if error.code() == Code::Unimplemented {
            self.paused = Instant::now() + PAUSE;
        }
    }

    /// The oldest reports, as many as fit in one request.
    fn batch(&mut self) -> Vec<crate::v1::OperationReport> {
        let now = Instant::now();
        let mut reports = Vec::new();
        let mut bytes = 0;
        while reports.len() < BATCH
            && let Some(mut entry) = self.waiting.pop_front()
        {
            entry.report.age = now.duration_since(entry.ended).try_into().ok();
            // Includes the length before it.
            bytes += entry.report.encoded_len() + 4;
            if bytes > BATCH_BYTES && !reports.is_empty() {
                self.waiting.push_front(entry);
                break;
            }
            reports.push(entry.report);
        }
        reports
    }
}
