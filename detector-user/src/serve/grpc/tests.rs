//! The server as its clients see it, over a Unix socket. The driver is a fake that answers from a
//! table.

mod diagnostics;
mod layers;
mod overrides;
mod reports;
mod standard;
mod unread;
mod watching;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use detector_api::v1::{self, detector_client::DetectorClient};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::oneshot, task::JoinHandle};
use tonic::{
    Code, Streaming,
    transport::{Channel, Endpoint},
};

use super::*;
use crate::{
    clock,
    core::testing::{established, unknown},
    effect::protect::Tuned,
    model::{
        Bounds, Breaker, EventLine, EventWhat, Explanation, FlowEventKind, FlowLine, FlowReading,
        PeerName, PeerState, Reason, SilenceLine, SourceKind, Trial, TrialError, TrialOutcome,
        Verdict,
    },
    serve::bind,
};

const PEER: &str = "http://node4:9000";
const MS: Duration = Duration::from_millis(1);

fn peer(name: &str) -> PeerName {
    PeerName::from_canonical(name)
}

fn state(name: &str, verdict: Verdict, breaker: Breaker, revision: u64) -> PeerState {
    let now = clock::now();
    PeerState {
        verdict,
        breaker,
        would_be_breaker: breaker,
        reason: Reason::RtoUnanswered,
        generation: 3,
        revision,
        addresses: vec![IpAddr::from([10, 0, 0, 4])],
        changed_at: now,
        last_heard: Some(now - 280 * MS),
        breaker_reason: Reason::RtoUnanswered,
        ..unknown(name)
    }
}

fn dead(revision: u64) -> PeerState {
    state(PEER, Verdict::Dead, Breaker::Open, revision)
}

fn alive(revision: u64) -> PeerState {
    state(PEER, Verdict::Alive, Breaker::Closed, revision)
}

/// A running server, its board, and a channel to the server.
struct Rig {
    path: PathBuf,
    board: Board,
    channel: Channel,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
    _directory: tempfile::TempDir,
}

async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://detector")
        // The windows are small, so that it soon matters if a client does not read.
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .unwrap()
}

impl Rig {
    async fn start() -> Self {
        let (requests, driver) = mpsc::channel(4);
        tokio::spawn(answer(driver));
        Self::start_with(requests).await
    }

    async fn start_with(requests: mpsc::Sender<Request>) -> Self {
        let administrators = Administrators::look_up(&[], &[]).unwrap();
        Self::start_for(requests, administrators).await
    }

    async fn start_for(requests: mpsc::Sender<Request>, administrators: Administrators) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("detector.sock");
        let bound = bind(&path, None).unwrap();
        let bounds = Bounds::new(4);
        let board = Board::new("this-run", bounds);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(
            bound,
            bounds,
            board.clone(),
            requests,
            administrators,
            async {
                stopped.await.unwrap();
            },
        ));
        let channel = connect(&path).await;
        Self {
            path,
            board,
            channel,
            stop,
            server,
            _directory: directory,
        }
    }

    fn client(&self) -> DetectorClient<Channel> {
        DetectorClient::new(self.channel.clone())
    }

    async fn watch(&self, instance: &str, last_revision: u64) -> Streaming<v1::WatchPeersResponse> {
        let request = v1::WatchPeersRequest {
            instance: instance.into(),
            last_revision,
        };
        self.client()
            .watch_peers(request)
            .await
            .unwrap()
            .into_inner()
    }
}

/// A fake driver that knows one peer, with trial 7.
async fn answer(mut driver: mpsc::Receiver<Request>) {
    while let Some(request) = driver.recv().await {
        match request {
            Request::Explain { peer, reply } => {
                let known = match peer.as_str() {
                    PEER => Some(explanation()),
                    layers::GRAY => Some(layers::explanation()),
                    _ => None,
                };
                reply.send(known).unwrap();
            }
            Request::AcquireTrial { reply, .. } => {
                let lease = 5000 * MS;
                reply.send(Ok(Trial { id: 7, lease })).unwrap();
            }
            Request::FinishTrial {
                trial,
                outcome,
                reply,
                ..
            } => {
                let known = trial == 7 && outcome == TrialOutcome::Succeeded;
                let answer = known.then_some(()).ok_or(TrialError::UnknownTrial);
                reply.send(answer).unwrap();
            }
            Request::ListTuned { reply } => reply.send(vec![tuned()]).unwrap(),
            Request::Diagnostics { peer, reply } => {
                reply.send(diagnostics::of(&peer)).unwrap();
            }
            Request::Override { .. }
            | Request::Report { .. }
            | Request::ListLocks { .. }
            | Request::ListCascades { .. }
            | Request::QuorumOutlook { .. } => panic!("asked in other tests only"),
        }
    }
}

/// The tuned socket of the explanation's only flow.
fn tuned() -> Tuned {
    Tuned {
        at: clock::now(),
        cookie: 11,
        peer: Some(peer(PEER)),
        local: "10.0.0.1:40000".parse().unwrap(),
        remote: "10.0.0.4:9000".parse().unwrap(),
        options: vec!["rto_min", "keepalive"],
    }
}

fn explanation() -> Explanation {
    let now = clock::now();
    let flow = established(0, now - 280 * MS);
    let id = flow.id;
    Explanation {
        state: dead(2),
        silence: SilenceLine {
            duration: 280 * MS,
            detection_time: 250 * MS,
            unanswered_transmissions: 4,
            required_transmissions: 2,
            counts_moments: true,
            loss_estimate: 0.25,
            observed_loss: 0.125,
        },
        flows: vec![FlowLine {
            reading: FlowReading {
                cookie: 11,
                rto_count: 1,
                ..flow
            },
            demand: true,
            stalled_for: None,
        }],
        events: vec![EventLine {
            at: now - 60 * MS,
            source: SourceKind::Ebpf,
            what: EventWhat::Flow(FlowEventKind::Rto { count: 1 }, id),
        }],
        probes: Vec::new(),
        routes: Vec::new(),
        destroyed: None,
        clauses: Vec::new(),
        summary: "silent for 280 ms".into(),
    }
}

/// Removes what varies: the time of change, which is computed from two clocks and so varies by some
/// nanoseconds, and the age of the last packet, which is measured at the time of the answer.
fn timeless(mut state: v1::PeerState) -> v1::PeerState {
    assert!(state.changed_at.take().unwrap().seconds > 1_600_000_000);
    assert!(age(&state) >= age_at_change(&state));
    state.last_heard_age = None;
    state
}

fn age(state: &v1::PeerState) -> Duration {
    state.last_heard_age.unwrap().try_into().unwrap()
}

fn age_at_change(state: &v1::PeerState) -> Duration {
    state.silence.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn a_packet_that_changed_nothing_is_told_to_those_who_ask() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    let get = || v1::GetPeerRequest { peer: PEER.into() };
    let before = rig.client().get_peer(get()).await.unwrap().into_inner();
    let before = before.peer.unwrap();
    // This is so far in the future that the age is zero, however slow the test is.
    let ahead = clock::now() + Duration::from_secs(60);
    rig.board.heard(&PeerName::from_canonical(PEER), ahead);
    let after = rig.client().get_peer(get()).await.unwrap().into_inner();
    let after = after.peer.unwrap();
    assert!(age(&after) < age_at_change(&before), "{after:?}");
    assert_eq!(after.revision, before.revision);
}

fn code<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Code {
    result.unwrap_err().code()
}

#[tokio::test]
async fn list_and_get_show_the_board() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    rig.board.publish(dead(2));
    let list = rig.client().list_peers(v1::ListPeersRequest {}).await;
    let list = list.unwrap().into_inner();
    assert_eq!((list.instance.as_str(), list.revision), ("this-run", 2));
    let get = v1::GetPeerRequest { peer: PEER.into() };
    let shown = rig.client().get_peer(get).await.unwrap().into_inner();
    let shown = shown.peer.unwrap();
    let shown = timeless(shown);
    let [listed] = &list.peers[..] else { panic!() };
    assert_eq!(timeless(listed.clone()), shown);
    assert_eq!(shown.verdict(), v1::Verdict::Dead);
    assert_eq!(shown.breaker(), v1::Breaker::Open);
    assert_eq!(shown.reason(), v1::Reason::RtoUnanswered);
    assert_eq!(shown.mode(), v1::Mode::Enforce);
    assert_eq!(shown.addresses, ["10.0.0.4"]);
    assert_eq!(shown.silence.unwrap().nanos, 280_000_000);
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let rig = Rig::start().await;
    rig.board.publish(dead(1));
    let mut client = rig.client();
    let get = |peer: &str| v1::GetPeerRequest { peer: peer.into() };
    assert_eq!(code(client.get_peer(get("")).await), Code::InvalidArgument);
    assert_eq!(code(client.get_peer(get("x")).await), Code::NotFound);
    let explain = |peer: &str| v1::ExplainPeerRequest { peer: peer.into() };
    let refused = client.explain_peer(explain("")).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let refused = client.explain_peer(explain("x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("\"x\""), "{refused}");
    let finish = |trial, outcome: i32| v1::FinishTrialRequest {
        peer: PEER.into(),
        trial,
        outcome,
    };
    for outcome in [0, 99] {
        let refused = client.finish_trial(finish(7, outcome)).await;
        assert_eq!(code(refused), Code::InvalidArgument);
    }
    let succeeded = v1::TrialOutcome::Succeeded.into();
    let refused = client.finish_trial(finish(8, succeeded)).await;
    assert_eq!(code(refused), Code::NotFound);
}

#[tokio::test]
async fn an_explanation_comes_from_the_driver() {
    let rig = Rig::start().await;
    let request = v1::ExplainPeerRequest { peer: PEER.into() };
    let shown = rig.client().explain_peer(request).await.unwrap();
    let shown = shown.into_inner();
    assert_eq!(shown.summary, "silent for 280 ms");
    let silence = shown.silence.unwrap();
    assert_eq!(silence.detection_time.unwrap().nanos, 250_000_000);
    assert_eq!(silence.unanswered_transmissions, 4);
    let [flow] = &shown.flows[..] else { panic!() };
    assert_eq!(flow.remote, "10.0.0.4:9000");
    assert_eq!((flow.state.as_str(), flow.demand), ("established", true));
    assert!(flow.last_heard_age.unwrap().nanos >= 280_000_000);
    assert_eq!(flow.tuned, ["rto_min", "keepalive"]);
    let [event] = &shown.events[..] else { panic!() };
    assert_eq!(
        (event.kind.as_str(), event.source.as_str()),
        ("rto", "ebpf")
    );
    assert_eq!(event.flow, "10.0.0.1:40000 -> 10.0.0.4:9000");
}

#[tokio::test]
async fn tuned_sockets_come_from_the_driver() {
    let rig = Rig::start().await;
    let request = v1::ListTunedSocketsRequest {};
    let shown = rig.client().list_tuned_sockets(request).await.unwrap();
    let [socket] = &shown.into_inner().sockets[..] else {
        panic!()
    };
    assert_eq!(socket.peer, PEER);
    assert_eq!(socket.remote, "10.0.0.4:9000");
    assert_eq!(socket.options, ["rto_min", "keepalive"]);
    assert!(socket.tuned_at.unwrap().seconds > 1_600_000_000);
}

#[tokio::test]
async fn trials_go_to_the_driver() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    let mut client = rig.client();
    let acquire = v1::AcquireTrialRequest { peer: PEER.into() };
    let trial = client.acquire_trial(acquire).await.unwrap().into_inner();
    assert_eq!((trial.trial, trial.lease.unwrap().seconds), (7, 5));
    let finish = v1::FinishTrialRequest {
        peer: PEER.into(),
        trial: 7,
        outcome: v1::TrialOutcome::Succeeded.into(),
    };
    let state = client.finish_trial(finish).await.unwrap().into_inner();
    assert_eq!(state.peer.unwrap().revision, 1);
}

#[tokio::test]
async fn a_driver_that_is_gone_or_stuck_is_an_error() {
    let (requests, driver) = mpsc::channel(4);
    drop(driver);
    let rig = Rig::start_with(requests).await;
    let request = v1::ExplainPeerRequest { peer: PEER.into() };
    let gone = rig.client().explain_peer(request.clone()).await;
    assert_eq!(code(gone), Code::Unavailable);

    let (requests, _stuck) = mpsc::channel(4);
    let rig = Rig::start_with(requests).await;
    let stuck = rig.client().explain_peer(request).await;
    assert_eq!(code(stuck), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_peer_is_found_however_a_client_spells_it() {
    let rig = Rig::start().await;
    rig.board.publish(dead(1));
    let mut client = rig.client();
    for spelling in [
        PEER,
        "http://node4:9000/",
        "http://node4:9000/data/rustfs1",
        "http://node4:9000\0bulk\x002",
        "HTTP://NODE4:9000",
        "node4:9000",
    ] {
        let peer = || spelling.to_owned();
        let shown = client.get_peer(v1::GetPeerRequest { peer: peer() }).await;
        assert_eq!(shown.unwrap().into_inner().peer.unwrap().peer, PEER);
        let explained = client.explain_peer(v1::ExplainPeerRequest { peer: peer() });
        assert!(explained.await.is_ok(), "{spelling:?}");
    }
    let other = v1::GetPeerRequest {
        peer: "https://node4:9000".into(),
    };
    assert_eq!(code(client.get_peer(other).await), Code::NotFound);
}
