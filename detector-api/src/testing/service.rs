//! The calls of the fake daemon's service.

use std::{pin::Pin, sync::Arc};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use super::{Answers, Shared, lock};
use crate::v1::{
    self,
    detector_server::Detector,
    watch_peers_response::{Current, Event, Snapshot},
};

#[derive(Debug)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
}

type Answer<T> = Result<Response<T>, Status>;
type Watched = Result<v1::WatchPeersResponse, Status>;

#[tonic::async_trait]
impl Detector for Service {
    async fn list_peers(&self, _: Request<v1::ListPeersRequest>) -> Answer<v1::ListPeersResponse> {
        self.shared.running().await;
        let (revision, peers) = self.shared.log.snapshot();
        let instance = self.shared.log.instance().to_owned();
        Ok(Response::new(v1::ListPeersResponse {
            instance,
            revision,
            peers,
            sources: lock(&self.shared.answers).sources.clone(),
        }))
    }

    async fn get_peer(&self, request: Request<v1::GetPeerRequest>) -> Answer<v1::GetPeerResponse> {
        self.shared.running().await;
        let peer = self.peer(&request.into_inner().peer)?;
        Ok(Response::new(v1::GetPeerResponse { peer: Some(peer) }))
    }

    type WatchPeersStream = Pin<Box<dyn Stream<Item = Watched> + Send>>;

    async fn watch_peers(
        &self,
        request: Request<v1::WatchPeersRequest>,
    ) -> Answer<Self::WatchPeersStream> {
        let request = request.into_inner();
        let shared = Arc::clone(&self.shared);
        shared.watches.send_modify(|all| all.push(request.clone()));
        shared.running().await;
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut stopping = shared.stopping.subscribe();
            let mut streams = shared.streams.subscribe();
            tokio::select! {
                biased;
                _ = streams.changed() => {}
                _ = stopping.wait_for(|&stopping| stopping) => {
                    let ended = Status::unavailable("the daemon is stopping");
                    let _ = sender.try_send(Err(ended));
                }
                () = sender.closed() => {}
                () = tell(&shared, request, &sender) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn acquire_trial(
        &self,
        request: Request<v1::AcquireTrialRequest>,
    ) -> Answer<v1::AcquireTrialResponse> {
        lock(&self.shared.trials).asked += 1;
        self.shared.running().await;
        self.peer(&request.into_inner().peer)?;
        let code = self.shared.words().acquire;
        if let Some(code) = code {
            return Err(Status::new(code, "as the test wants it"));
        }
        let mut trials = lock(&self.shared.trials);
        if trials.free == 0 {
            return Err(Status::resource_exhausted("all trials are leased"));
        }
        trials.free -= 1;
        trials.next += 1;
        let lease = Some(prost_types::Duration {
            seconds: 5,
            nanos: 0,
        });
        let trial = trials.next;
        Ok(Response::new(v1::AcquireTrialResponse { trial, lease }))
    }

    async fn finish_trial(
        &self,
        request: Request<v1::FinishTrialRequest>,
    ) -> Answer<v1::FinishTrialResponse> {
        self.shared.running().await;
        let request = request.into_inner();
        let peer = Some(self.peer(&request.peer)?);
        let mut trials = lock(&self.shared.trials);
        trials.finished.push(request);
        self.shared.finished.send_replace(trials.finished.len());
        Ok(Response::new(v1::FinishTrialResponse { peer }))
    }

    async fn set_override(
        &self,
        _: Request<v1::SetOverrideRequest>,
    ) -> Answer<v1::SetOverrideResponse> {
        Err(Status::unimplemented("a fake daemon takes no overrides"))
    }

    async fn end_override(
        &self,
        _: Request<v1::EndOverrideRequest>,
    ) -> Answer<v1::EndOverrideResponse> {
        Err(Status::unimplemented("a fake daemon takes no overrides"))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Answer<v1::ReportResponse> {
        self.shared.running().await;
        let request = request.into_inner();
        // This is read before the test can see the report and change the answer.
        let code = self.shared.words().report;
        self.shared.reports.send_modify(|all| all.push(request));
        match code {
            Code::Ok => Ok(Response::new(v1::ReportResponse::default())),
            code => Err(Status::new(code, "as the test wants it")),
        }
    }

    async fn explain_peer(
        &self,
        request: Request<v1::ExplainPeerRequest>,
    ) -> Answer<v1::ExplainPeerResponse> {
        self.peer(&request.into_inner().peer)?;
        self.answer(|answers| answers.explain.clone())
    }

    async fn get_history(
        &self,
        _: Request<v1::GetHistoryRequest>,
    ) -> Answer<v1::GetHistoryResponse> {
        self.answer(|answers| answers.history.clone())
    }

    async fn list_tuned_sockets(
        &self,
        _: Request<v1::ListTunedSocketsRequest>,
    ) -> Answer<v1::ListTunedSocketsResponse> {
        self.answer(|answers| answers.tuned_sockets.clone())
    }

    async fn list_locks(&self, _: Request<v1::ListLocksRequest>) -> Answer<v1::ListLocksResponse> {
        self.answer(|answers| answers.locks.clone())
    }

    async fn list_cascades(
        &self,
        _: Request<v1::ListCascadesRequest>,
    ) -> Answer<v1::ListCascadesResponse> {
        self.answer(|answers| answers.cascades.clone())
    }

    type GetDiagnosticsStream = ReceiverStream<Result<v1::GetDiagnosticsResponse, Status>>;

    async fn get_diagnostics(
        &self,
        _: Request<v1::GetDiagnosticsRequest>,
    ) -> Answer<Self::GetDiagnosticsStream> {
        Err(Status::unimplemented("a fake daemon records nothing"))
    }

    async fn get_quorum_outlook(
        &self,
        _: Request<v1::GetQuorumOutlookRequest>,
    ) -> Answer<v1::GetQuorumOutlookResponse> {
        let quorum = lock(&self.shared.answers).quorum.clone().transpose()?;
        self.answer(|_| quorum)
    }
}

impl Service {
    fn answer<T>(&self, known: impl FnOnce(&Answers) -> Option<T>) -> Answer<T> {
        let answer = known(&lock(&self.shared.answers));
        let answer = answer.ok_or_else(|| Status::unimplemented("the test knows no answer"))?;
        Ok(Response::new(answer))
    }

    fn peer(&self, peer: &str) -> Result<v1::PeerState, Status> {
        let state = self.shared.log.peer(peer);
        state.ok_or_else(|| Status::not_found(format!("no peer {peer:?} is watched")))
    }
}

/// Sends a watcher what it asked for, then every change, and heartbeats.
async fn tell(shared: &Shared, request: v1::WatchPeersRequest, sender: &mpsc::Sender<Watched>) {
    let mut newest = shared.log.newest();
    let known = request.last_revision <= *newest.borrow();
    let mut seen = if request.instance == shared.log.instance() && known {
        request.last_revision
    } else {
        let (revision, peers) = shared.log.snapshot();
        let words = shared.words().clone();
        let snapshot = Event::Snapshot(Snapshot {
            instance: shared.log.instance().to_owned(),
            revision,
            peers,
            ttl: words.ttl.and_then(|ttl| ttl.try_into().ok()),
            protocol: words.protocol,
            version: "0.0.0-fake".to_owned(),
        });
        if send(sender, snapshot).await.is_none() {
            return;
        }
        revision
    };
    let mut due = Instant::now();
    loop {
        shared.running().await;
        newest.borrow_and_update();
        let event = match shared.log.after(seen) {
            // A stream that resumes gets a greeting before anything else.
            Some(event) if due > Instant::now() => {
                seen += 1;
                event
            }
            _ => {
                let words = shared.words().clone();
                due = Instant::now() + words.heartbeat;
                Event::Current(Current {
                    revision: seen,
                    ttl: words.ttl.and_then(|ttl| ttl.try_into().ok()),
                    protocol: words.protocol,
                })
            }
        };
        if send(sender, event).await.is_none() {
            return;
        }
        if shared.log.after(seen).is_none() {
            // Either there is a change, or a heartbeat is due; the log shows which.
            let _ = timeout_at(due, newest.changed()).await;
        }
    }
}

async fn send(sender: &mpsc::Sender<Watched>, event: Event) -> Option<()> {
    let message = v1::WatchPeersResponse { event: Some(event) };
    sender.send(Ok(message)).await.ok()
}
