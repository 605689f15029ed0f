//! The client commands of the real binary, with a fake daemon.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead as _, BufReader},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use detector_api::v1::{
    self, Breaker, PeerState, Verdict,
    detector_server::{Detector, DetectorServer},
    watch_peers_response::{Event, Snapshot},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{net::UnixListener, runtime::Runtime, sync::broadcast};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{BroadcastStream, UnixListenerStream},
};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// A fake daemon that knows one peer.
struct Fake {
    instance: &'static str,
    changes: broadcast::Sender<PeerState>,
}

fn node4(verdict: Verdict, breaker: Breaker, revision: u64) -> PeerState {
    PeerState {
        peer: "http://node4:9000".to_owned(),
        verdict: verdict.into(),
        breaker: breaker.into(),
        would_be_breaker: breaker.into(),
        revision,
        addresses: vec!["10.0.0.4".to_owned()],
        ..Default::default()
    }
}

fn alive() -> PeerState {
    node4(Verdict::Alive, Breaker::Closed, 1)
}

#[tonic::async_trait]
impl Detector for Fake {
    async fn list_peers(&self, _: Request<v1::ListPeersRequest>) -> Reply<v1::ListPeersResponse> {
        Ok(Response::new(v1::ListPeersResponse {
            instance: self.instance.to_owned(),
            revision: 1,
            peers: vec![alive()],
        }))
    }

    async fn get_peer(&self, _: Request<v1::GetPeerRequest>) -> Reply<v1::GetPeerResponse> {
        Err(Status::unimplemented("not asked for"))
    }

    type WatchPeersStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchPeersResponse, Status>> + Send>>;

    async fn watch_peers(
        &self,
        request: Request<v1::WatchPeersRequest>,
    ) -> Reply<Self::WatchPeersStream> {
        let response = |event| Ok(v1::WatchPeersResponse { event: Some(event) });
        let snapshot = response(Event::Snapshot(Snapshot {
            instance: self.instance.to_owned(),
            revision: 1,
            peers: vec![alive()],
            ..Snapshot::default()
        }));
        assert_ne!(request.get_ref().instance, self.instance, "no test resumes");
        let changes = BroadcastStream::new(self.changes.subscribe())
            .map(move |change| response(Event::Changed(change.expect("no test lags"))));
        Ok(Response::new(Box::pin(
            tokio_stream::once(snapshot).chain(changes),
        )))
    }

    async fn explain_peer(
        &self,
        request: Request<v1::ExplainPeerRequest>,
    ) -> Reply<v1::ExplainPeerResponse> {
        if request.get_ref().peer != "http://node4:9000" {
            return Err(Status::not_found("no such peer"));
        }
        Ok(Response::new(v1::ExplainPeerResponse {
            peer: Some(alive()),
            flows: vec![v1::Flow {
                remote: "10.0.0.4:9000".to_owned(),
                ..Default::default()
            }],
            summary: "heard 3 ms ago".to_owned(),
            ..Default::default()
        }))
    }

    async fn acquire_trial(
        &self,
        _: Request<v1::AcquireTrialRequest>,
    ) -> Reply<v1::AcquireTrialResponse> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn finish_trial(
        &self,
        _: Request<v1::FinishTrialRequest>,
    ) -> Reply<v1::FinishTrialResponse> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn report(&self, _: Request<v1::ReportRequest>) -> Reply<v1::ReportResponse> {
        Err(Status::unimplemented("not asked in these tests"))
    }

    async fn list_locks(&self, _: Request<v1::ListLocksRequest>) -> Reply<v1::ListLocksResponse> {
        let lock = |name: &str, health: v1::LockHealth| v1::Lock {
            lock: name.to_owned(),
            health: health.into(),
            attempts: 7,
            ..Default::default()
        };
        Ok(Response::new(v1::ListLocksResponse {
            locks: vec![
                lock("config", v1::LockHealth::Healthy),
                lock("iam/users", v1::LockHealth::Unhealthy),
            ],
            beyond_bound: 12,
        }))
    }

    async fn list_cascades(
        &self,
        _: Request<v1::ListCascadesRequest>,
    ) -> Reply<v1::ListCascadesResponse> {
        let cascade = v1::Cascade {
            pattern: "peer_unreachable_locks_iam".to_owned(),
            initial: v1::FailureKind::PeerUnreachable.into(),
            component: "http://node4:9000".to_owned(),
            kernel_verdict: true,
            followed: 4,
            recurring: true,
            summary: "node4 is the root cause.".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(v1::ListCascadesResponse {
            cascades: vec![cascade],
        }))
    }

    async fn get_quorum_outlook(
        &self,
        _: Request<v1::GetQuorumOutlookRequest>,
    ) -> Reply<v1::GetQuorumOutlookResponse> {
        if self.instance == "no layout" {
            return Err(Status::failed_precondition("no layout is configured"));
        }
        let set = v1::SetOutlook {
            set: 0,
            disks: 16,
            disks_available: 8,
            read_quorum: 8,
            write_quorum: 9,
            readable: true,
            ..Default::default()
        };
        let pool = v1::PoolOutlook {
            pool: "hot".to_owned(),
            nodes: 4,
            nodes_available: 2,
            sets: vec![set],
            ..Default::default()
        };
        Ok(Response::new(v1::GetQuorumOutlookResponse {
            pools: vec![pool],
            as_of: None,
        }))
    }

    async fn list_tuned_sockets(
        &self,
        _: Request<v1::ListTunedSocketsRequest>,
    ) -> Reply<v1::ListTunedSocketsResponse> {
        let socket = v1::TunedSocket {
            peer: "http://node4:9000".to_owned(),
            remote: "10.0.0.4:9000".to_owned(),
            options: vec!["keepalive".to_owned()],
            ..Default::default()
        };
        Ok(Response::new(v1::ListTunedSocketsResponse {
            sockets: vec![socket],
        }))
    }
}

/// A daemon with its own runtime: dropping it also ends its connections.
struct Daemon {
    runtime: Option<Runtime>,
    changes: broadcast::Sender<PeerState>,
}

impl Daemon {
    fn start(socket: &Path, instance: &'static str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (changes, _) = broadcast::channel(16);
        let fake = Fake {
            instance,
            changes: changes.clone(),
        };
        let _ = std::fs::remove_file(socket);
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(DetectorServer::new(fake))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        let runtime = Some(runtime);
        Self { runtime, changes }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(10));
        }
    }
}

struct Scratch {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d.sock");
    Scratch { _dir: dir, socket }
}

fn detector(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_detector"));
    command.args(args).arg("--socket").arg(socket);
    command
        .env_remove("DETECTOR_CONFIG")
        .env_remove("DETECTOR_LOG");
    command
}

fn output(socket: &Path, args: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = detector(socket, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn peers_are_listed() {
    let scratch = scratch();
    let _daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, stderr) = output(&scratch.socket, &["peers"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = stdout
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["PEER", "VERDICT", "BREAKER"]);
    assert_eq!(rows[1][..3], ["http://node4:9000", "alive", "closed"]);

    let (code, stdout, _) = output(&scratch.socket, &["peers", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["verdict"], "alive");
    assert_eq!(json["addresses"][0], "10.0.0.4");
}

#[test]
fn a_peer_is_explained_by_any_spelling_of_its_name() {
    let scratch = scratch();
    let _daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, _) = output(&scratch.socket, &["explain", "NODE4:9000/data/disk1"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("heard 3 ms ago\n"), "{stdout}");
    assert!(stdout.contains("10.0.0.4:9000"), "{stdout}");

    let (code, _, stderr) = output(&scratch.socket, &["explain", "http://node5:9000"]);
    assert_eq!(code, 4);
    assert!(
        stderr.contains("no peer http://node5:9000 is watched"),
        "{stderr}"
    );
}

#[test]
fn the_daemon_s_tuned_connections_are_listed() {
    let scratch = scratch();
    let _daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, stderr) = output(&scratch.socket, &["tune", "--list"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("PEER "), "{stdout}");
    assert!(stdout.contains("10.0.0.4:9000  keepalive"), "{stdout}");

    let (code, stdout, _) = output(&scratch.socket, &["tune", "--list", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["peer"], "http://node4:9000");
    assert_eq!(json["options"], serde_json::json!(["keepalive"]));

    // One or the other.
    for args in [&["tune"][..], &["tune", "--list", "rustfs.service"]] {
        assert_eq!(output(&scratch.socket, args).0, 2, "{args:?}");
    }
}

/// The cells of each line.
fn cells(stdout: &str) -> Vec<Vec<&str>> {
    let lines = stdout.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn locks_are_listed_the_worst_first() {
    let scratch = scratch();
    let _daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, stderr) = output(&scratch.socket, &["locks"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let cells = cells(&stdout);
    assert_eq!(cells[0][..2], ["LOCK", "HEALTH"]);
    assert_eq!(cells[1][..3], ["iam/users", "unhealthy", "7"]);
    assert_eq!(cells[2][..2], ["config", "healthy"]);
    assert!(stdout.ends_with("and 12 reports about locks beyond those that are kept\n"));

    let (code, stdout, _) = output(&scratch.socket, &["locks", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 2));
    let json: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&json["lock"], &json["health"]),
        (&"config".into(), &"healthy".into())
    );
}

#[test]
fn cascades_are_listed_with_their_root() {
    let scratch = scratch();
    let _daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, stderr) = output(&scratch.socket, &["cascades"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let expected = "-  peer_unreachable_locks_iam  http://node4:9000  RECURRING\n  \
                    node4 is the root cause.\n";
    assert_eq!(stdout, expected);

    let (code, stdout, _) = output(&scratch.socket, &["cascades", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["initial"], "peer_unreachable");
    assert_eq!(json["kernel_verdict"], true);
}

#[test]
fn the_quorum_is_shown_by_set_and_without_a_layout_it_is_said() {
    let scratch = scratch();
    let daemon = Daemon::start(&scratch.socket, "i");
    let (code, stdout, stderr) = output(&scratch.socket, &["quorum"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let row = [
        "hot", "0", "2/4", "8/16", "yes,", "needs", "8", "NO,", "needs", "9", "0", "0",
    ];
    assert_eq!(cells(&stdout)[1], row);

    let (code, stdout, _) = output(&scratch.socket, &["quorum", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["sets"][0]["write_quorum"], 9);
    drop(daemon);

    let _daemon = Daemon::start(&scratch.socket, "no layout");
    let (code, _, stderr) = output(&scratch.socket, &["quorum"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no layout is configured"), "{stderr}");
}

#[test]
fn without_a_daemon_every_client_command_says_so_and_exits_with_3() {
    let scratch = scratch();
    for args in [
        &["peers"][..],
        &["watch"],
        &["explain", "node4:9000"],
        &["tune", "--list"],
        &["locks"],
        &["cascades"],
        &["quorum"],
    ] {
        let (code, stdout, stderr) = output(&scratch.socket, args);
        assert_eq!((code, stdout.as_str()), (3, ""), "{args:?}");
        assert!(
            stderr.contains("is it running? Start it with `detector run`"),
            "{stderr}"
        );
        assert!(
            stderr.contains(scratch.socket.to_str().unwrap()),
            "{stderr}"
        );
    }
}

struct Watch {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Watch {
    fn start(socket: &Path) -> Self {
        let mut child = detector(socket, &["watch", "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The next line's verdict and revision.
    fn next(&mut self) -> (String, u64) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let verdict = json["verdict"].as_str().unwrap().to_owned();
        (verdict, json["revision"].as_u64().unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watch_outlives_its_daemon_and_ends_on_interrupt() {
    let scratch = scratch();
    let first = Daemon::start(&scratch.socket, "first");
    let mut watch = Watch::start(&scratch.socket);
    assert_eq!(watch.next(), ("alive".to_owned(), 1));
    first
        .changes
        .send(node4(Verdict::Dead, Breaker::Open, 2))
        .unwrap();
    assert_eq!(watch.next(), ("dead".to_owned(), 2));

    drop(first);
    let second = Daemon::start(&scratch.socket, "second");
    assert_eq!(watch.next(), ("alive".to_owned(), 1), "the new snapshot");
    second
        .changes
        .send(node4(Verdict::Suspect, Breaker::Closed, 2))
        .unwrap();
    assert_eq!(watch.next(), ("suspect".to_owned(), 2));

    let pid = Pid::from_raw(watch.child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = scratch();
    let daemon = Daemon::start(&scratch.socket, "i");
    // This is a socket instead of a pipe: it can be shut down while others hold it.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = detector(&scratch.socket, &["watch"])
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(ours);
    reader.read_line(&mut String::new()).unwrap();
    reader.get_ref().shutdown(Shutdown::Both).unwrap();
    daemon
        .changes
        .send(node4(Verdict::Dead, Breaker::Open, 2))
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
