//! The client commands of the real binary, with a fake daemon.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead as _, BufReader},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use detector_api::{
    testing::{Answers, FakeDaemon},
    v1::{self, Breaker, PeerState, Verdict},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Status;

/// A daemon that knows one peer, and answers what the commands ask.
fn daemon(socket: &Path) -> FakeDaemon {
    let daemon = FakeDaemon::start_at(socket);
    daemon.publish(node4(Verdict::Alive, Breaker::Closed));
    daemon.set_answers(answers());
    daemon
}

fn node4(verdict: Verdict, breaker: Breaker) -> PeerState {
    PeerState {
        peer: "http://node4:9000".to_owned(),
        verdict: verdict.into(),
        breaker: breaker.into(),
        would_be_breaker: breaker.into(),
        addresses: vec!["10.0.0.4".to_owned()],
        ..Default::default()
    }
}

fn answers() -> Answers {
    Answers {
        explain: Some(explanation()),
        history: None,
        tuned_sockets: Some(v1::ListTunedSocketsResponse {
            sockets: vec![tuned_socket()],
        }),
        locks: Some(v1::ListLocksResponse {
            locks: vec![
                lock("config", v1::LockHealth::Healthy),
                lock("iam/users", v1::LockHealth::Unhealthy),
            ],
            beyond_bound: 12,
        }),
        cascades: Some(v1::ListCascadesResponse {
            cascades: vec![cascade()],
        }),
        quorum: Some(Ok(quorum())),
        sources: sources(),
    }
}

fn sources() -> Vec<v1::PeerSource> {
    let source = |text: &str, peers: &[&str]| v1::PeerSource {
        text: text.to_owned(),
        peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
    };
    vec![
        source(
            "2 nodes, from here",
            &["http://node4:9000", "http://own:9000"],
        ),
        source("1 node, from there", &["http://node5:9000"]),
        source("no process of minio is found", &[]),
    ]
}

fn explanation() -> v1::ExplainPeerResponse {
    v1::ExplainPeerResponse {
        peer: Some(node4(Verdict::Alive, Breaker::Closed)),
        flows: vec![v1::Flow {
            remote: "10.0.0.4:9000".to_owned(),
            ..Default::default()
        }],
        summary: "heard 3 ms ago".to_owned(),
        ..Default::default()
    }
}

fn tuned_socket() -> v1::TunedSocket {
    v1::TunedSocket {
        peer: "http://node4:9000".to_owned(),
        remote: "10.0.0.4:9000".to_owned(),
        options: vec!["keepalive".to_owned()],
        ..Default::default()
    }
}

fn lock(name: &str, health: v1::LockHealth) -> v1::Lock {
    v1::Lock {
        lock: name.to_owned(),
        health: health.into(),
        attempts: 7,
        ..Default::default()
    }
}

fn cascade() -> v1::Cascade {
    v1::Cascade {
        pattern: "peer_unreachable_locks_iam".to_owned(),
        initial: v1::FailureKind::PeerUnreachable.into(),
        component: "http://node4:9000".to_owned(),
        kernel_verdict: true,
        followed: 4,
        recurring: true,
        summary: "node4 is the root cause.".to_owned(),
        ..Default::default()
    }
}

fn quorum() -> v1::GetQuorumOutlookResponse {
    let set = v1::SetOutlook {
        set: 0,
        disks: 16,
        disks_available: 8,
        read_quorum: 8,
        write_quorum: 9,
        readable: true,
        ..Default::default()
    };
    v1::GetQuorumOutlookResponse {
        pools: vec![v1::PoolOutlook {
            pool: "hot".to_owned(),
            nodes: 4,
            nodes_available: 2,
            sets: vec![set],
            ..Default::default()
        }],
        as_of: None,
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
    let _daemon = daemon(&scratch.socket);
    let (code, stdout, stderr) = output(&scratch.socket, &["peers"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = stdout
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["PEER", "VERDICT", "BREAKER"]);
    assert_eq!(rows[1][..3], ["http://node4:9000", "alive", "closed"]);
    assert!(stdout.contains("\n2 nodes, from here\n1 node, from there\nno process"));

    let (code, stdout, stderr) = output(&scratch.socket, &["peers", "--output", "json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    assert_eq!(stderr, "no process of minio is found\n");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["verdict"], "alive");
    assert_eq!(json["addresses"][0], "10.0.0.4");
    assert_eq!(json["sources"], serde_json::json!(["2 nodes, from here"]));
}

#[test]
fn without_peers_it_is_said_what_is_waited_for() {
    let scratch = scratch();
    let daemon = FakeDaemon::start_at(&scratch.socket);
    let said = |sources: &[v1::PeerSource]| {
        daemon.set_answers(Answers {
            sources: sources.to_vec(),
            ..answers()
        });
        output(&scratch.socket, &["peers"]).1
    };
    assert!(said(&[]).contains("find them with --rustfs"));
    let all = sources();
    let named = said(&all);
    assert!(named.starts_with("no peers are watched yet; the names of these are looked up:\n2 "));
    let none = said(&all[2..]);
    assert!(
        none.ends_with("when this changes:\nno process of minio is found\n"),
        "{none}"
    );
    assert!(!none.contains("--rustfs"), "{none}");
}

#[test]
fn a_peer_is_explained_by_any_spelling_of_its_name() {
    let scratch = scratch();
    let _daemon = daemon(&scratch.socket);
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
    let _daemon = daemon(&scratch.socket);
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
    let _daemon = daemon(&scratch.socket);
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
    let _daemon = daemon(&scratch.socket);
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
    let daemon = daemon(&scratch.socket);
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

    daemon.set_answers(Answers {
        quorum: Some(Err(Status::failed_precondition("no layout is configured"))),
        ..answers()
    });
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
    let first = daemon(&scratch.socket);
    let mut watch = Watch::start(&scratch.socket);
    assert_eq!(watch.next(), ("alive".to_owned(), 1));
    first.publish(node4(Verdict::Dead, Breaker::Open));
    assert_eq!(watch.next(), ("dead".to_owned(), 2));

    drop(first);
    let second = daemon(&scratch.socket);
    assert_eq!(watch.next(), ("alive".to_owned(), 1), "the new snapshot");
    second.publish(node4(Verdict::Suspect, Breaker::Closed));
    assert_eq!(watch.next(), ("suspect".to_owned(), 2));

    let pid = Pid::from_raw(watch.child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = scratch();
    let daemon = daemon(&scratch.socket);
    // A socket, not a pipe: it can be shut whoever else holds it.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = detector(&scratch.socket, &["watch"])
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(ours);
    reader.read_line(&mut String::new()).unwrap();
    reader.get_ref().shutdown(Shutdown::Both).unwrap();
    daemon.publish(node4(Verdict::Dead, Breaker::Open));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
