//! Answers what clients ask of the loop.

use super::{Driver, tasks};
use crate::{
    clock,
    model::{OperationReport, Signal},
    serve::{Diagnostics, Locks, Request},
};

impl Driver {
    pub(super) fn request(&mut self, request: Request) {
        let now = clock::now();
        // A client that no longer waits for its answer is no error.
        match request {
            Request::Explain { peer, reply } => {
                let _ = reply.send(self.detector.explain(now, &peer));
            }
            Request::AcquireTrial { peer, reply } => {
                let _ = reply.send(self.detector.acquire_trial(now, &peer));
            }
            Request::FinishTrial {
                peer,
                trial,
                outcome,
                reply,
            } => {
                let finished = self.detector.finish_trial(now, &peer, trial, outcome);
                self.carry_out();
                let _ = reply.send(finished);
            }
            Request::Override {
                peer,
                command,
                caller,
                reply,
            } => self.override_breaker(&peer, command, caller, reply),
            Request::ListTuned { reply } => tasks::list_tuned(self.protection.tuned(), reply),
            Request::Report {
                reports,
                dropped,
                reply,
            } => {
                let _ = reply.send(self.reported(reports, dropped));
            }
            Request::ListLocks { reply } => {
                let _ = reply.send(Locks {
                    lines: self.correlations.locks(now),
                    beyond_bound: self.correlations.locks_beyond_bound(),
                });
            }
            Request::ListCascades { reply } => {
                let _ = reply.send(self.correlations.cascades(now));
            }
            Request::Diagnostics { peer, reply } => {
                let is_watched = self.watched.contains_key(&peer);
                let _ = reply.send(is_watched.then(|| Diagnostics {
                    config: self.config.clone(),
                    recent: self.detector.excerpt(now),
                    death: self.detector.death(&peer),
                }));
            }
            Request::QuorumOutlook { reply } => {
                let _ = reply.send(self.layout.outlook(&self.outlets));
            }
        }
    }

    /// Returns how many of the reports are about peers that are not watched.
    fn reported(&mut self, reports: Vec<OperationReport>, dropped: u64) -> u32 {
        self.outlets.metrics.reports_dropped(dropped);
        let named = reports.iter().filter_map(|report| report.peer.as_ref());
        let unknown = named
            .filter(|peer| !self.watched.contains_key(*peer))
            .count();
        if !reports.is_empty() {
            self.signal(Signal::Reported { reports });
        }
        u32::try_from(unknown).unwrap_or(u32::MAX)
    }
}
