//! `detector replay` of the real binary, on recordings of an artificial power cut that the library
//! makes; and the cases in which `detector run --record` refuses.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use detector_user::{
    core::{Harness, Surroundings},
    model::{
        Effect, Endpoint, FlowEvent, FlowEventKind, FlowId, FlowReading, PeerName, ProbeAnswer,
        ProbeEvent, ProbeOutcome, Settings, Signal, SourceKind, TcpState, Time,
    },
    record::{Header, Recorder, Taped},
};
use tempfile::TempDir;

const PEER: &str = "http://node4:9000";
const FLOWS: u16 = 4;
const CUT_MS: u64 = 1_000;

fn ms(millis: u64) -> Time {
    Time::from_nanos(987_654_321_000_000 + millis * 1_000_000)
}

fn reading(n: u16, millis: u64) -> FlowReading {
    let silent = millis.saturating_sub(CUT_MS);
    let rto_count = u32::from(silent >= 214) + u32::from(silent >= 626);
    FlowReading {
        id: FlowId {
            netns: 1,
            local: ([10, 0, 0, 1], 40_000 + n).into(),
            remote: ([10, 0, 0, 4], 9000).into(),
        },
        cookie: u64::from(n) + 1,
        state: TcpState::Established,
        rto_count,
        backoff: rto_count,
        probes_out: 0,
        unacked_segments: if silent > 0 { 2 } else { 0 },
        unacked_bytes: if silent > 0 { 200 } else { 0 },
        send_window_bytes: 65_535,
        last_heard: Some(ms(millis - silent)),
        srtt: Duration::from_micros(200),
        rtt_variance: Duration::ZERO,
        rto: Duration::from_millis(204 << rto_count),
        segments_sent: 1_000,
        segments_retransmitted: u64::from(rto_count),
        segments_received: 0,
        bytes_acked: 0,
        mss: 0,
        awaiting_since: None,
    }
}

/// The signals of the daemon's sources about a peer that lost its power: events as the kernel
/// reports them, and a socket snapshot every 10 ms. They end two seconds after the cut.
fn signals() -> Vec<(u64, Signal)> {
    let mut signals = vec![(
        0,
        Signal::PeerConfigured {
            peer: PeerName::from_canonical(PEER),
            endpoints: vec![Endpoint {
                addr: [10, 0, 0, 4].into(),
                port: 9000,
            }],
            discovered: false,
        },
    )];
    for millis in (10..=CUT_MS + 2_000).step_by(10) {
        let kind = match millis - CUT_MS.min(millis) {
            10 => Some(FlowEventKind::Tlp),
            220 => Some(FlowEventKind::Rto { count: 1 }),
            630 => Some(FlowEventKind::Rto { count: 2 }),
            _ => None,
        };
        let events = (0..FLOWS).filter_map(|n| {
            let reading = reading(n, millis);
            Some(Signal::Flow(FlowEvent {
                at: ms(millis),
                source: SourceKind::Ebpf,
                flow: reading.id,
                kind: kind?,
                reading: Some(reading),
            }))
        });
        signals.extend(events.map(|event| (millis, event)));
        let look = Signal::SocketsRead {
            at: ms(millis),
            source: SourceKind::SockDiag,
            peer: PeerName::from_canonical(PEER),
            addr: reading(0, millis).id.remote.ip(),
            flows: (0..FLOWS).map(|n| reading(n, millis)).collect(),
        };
        signals.push((millis, look));
    }
    signals
}

struct Prober;

impl Surroundings for Prober {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let answers = effects.into_iter().map(|effect| answers(now, effect));
        answers.flatten().collect()
    }
}

/// Probes of the peer are answered at once while it is alive.
fn answers(at: Time, effect: Effect) -> Vec<Signal> {
    let Effect::Probe { probe, target, .. } = effect else {
        return Vec::new();
    };
    let answer = ProbeOutcome::Answered(ProbeAnswer::SynAck);
    let answer = (at < ms(CUT_MS)).then_some(answer);
    let outcomes = std::iter::once(ProbeOutcome::Sent).chain(answer);
    let event = |outcome| {
        Signal::Probe(ProbeEvent {
            at,
            probe,
            target,
            outcome,
        })
    };
    outcomes.map(event).collect()
}

struct Recording {
    _dir: TempDir,
    file: PathBuf,
}

impl Recording {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node1.rec");
        let settings = Settings::default();
        let header = Header {
            excerpt: false,
            started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            now: ms(0),
            kernel: "6.18.0".to_owned(),
            ..Header::here(&settings)
        };
        let recorder = Recorder::create(&file, u64::MAX, &header).unwrap();
        let taped = Taped::new(settings, Some(recorder));
        let mut daemon = Harness::of(taped, ms(0), Prober);
        for (millis, signal) in signals() {
            daemon.timeout(ms(millis));
            daemon.signal(signal);
        }
        daemon.detector.finish(ms(CUT_MS + 2_000));
        Self { _dir: dir, file }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    /// `detector replay FILE ARGS…`.
    fn replay(&self, args: &[&str]) -> Ran {
        let file = self.file.to_str().unwrap();
        run(&[&["replay", file], args].concat(), "")
    }

    /// Like [`Self::replay`], with JSON output.
    fn json(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let ran = self.replay(&[args, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let lines = ran.stdout.lines();
        lines.map(|l| serde_json::from_str(l).expect(l)).collect()
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn detector(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_detector"));
    command.args(args);
    command
        .env_remove("DETECTOR_CONFIG")
        .env_remove("DETECTOR_LOG")
        .env_remove("DETECTOR_SOCKET");
    command
}

fn run(args: &[&str], stdin: &str) -> Ran {
    let mut child = detector(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is no failure of the test if the program does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: status.code().unwrap(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn verdicts(lines: &[serde_json::Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|l| l["verdict"].as_str().unwrap())
        .collect()
}

/// When the peer was found dead, in the recording's time.
fn death(lines: &[serde_json::Value]) -> Option<&str> {
    let dead = lines.iter().find(|line| line["verdict"] == "dead")?;
    dead["changed_at"].as_str()
}

#[test]
fn verdicts_are_printed_with_their_times_and_a_summary() {
    let recording = Recording::new();
    let ran = recording.replay(&[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let shown: Vec<_> = lines.iter().map(|line| (line[1], line[2])).collect();
    let story = ["unknown", "alive", "suspect", "dead"];
    assert_eq!(shown, story.map(|verdict| (PEER, verdict)));
    assert_eq!(lines[0][0], "2026-01-31T12:00:00.000Z");
    assert_eq!(lines[3][0], "2026-01-31T12:00:01.260Z");
    assert_eq!(lines[3][3], "open");
    for expected in [
        "recorded by detector 0.1.0 on Linux 6.18.0, from 2026-01-31T12:00:00.000Z\n",
        "\n3.0s, ",
        " signals, 313 time-outs, 0 trials; 3 changes of verdict\n",
        "\n4 sockets of dead peers to be destroyed, the first at 2026-01-31T12:00:01.3",
        "settings: as recorded\n",
        "the recording ends: the daemon was stopped\n",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
}

#[test]
fn json_has_the_fields_of_the_api() {
    let lines = Recording::new().json(&[]);
    assert_eq!(verdicts(&lines), ["unknown", "alive", "suspect", "dead"]);
    let dead = &lines[3];
    assert_eq!(dead["changed_at"], "2026-01-31T12:00:01.26Z");
    assert_eq!(dead["silence"], "0.260s");
    assert_eq!(dead["last_heard_age"], "0.260s");
    assert_eq!(dead["generation"], 3);
    assert_eq!(dead["isolated"], false);
}

#[test]
fn other_settings_show_what_they_would_have_said() {
    let recording = Recording::new();
    let usual = recording.json(&[]);
    let soon = recording.json(&["--detection-time", "50ms"]);
    assert!(death(&soon).unwrap() < death(&usual).unwrap());
    // It is not much later: a dead peer was probed less often, and the replay cannot add probes.
    let late = recording.json(&["--detection-time", "500ms"]);
    assert!(death(&late).unwrap() > death(&usual).unwrap());
    assert_eq!(death(&recording.json(&["--detection-time", "5s"])), None);

    let observed = recording.json(&["--mode", "observe"]);
    assert_eq!(verdicts(&observed), verdicts(&usual));
    assert_eq!(observed[3]["breaker"], "closed");
    assert_eq!(observed[3]["would_be_breaker"], "open");
    let ran = recording.replay(&["--set", "recovery_timeout=500ms"]);
    let said = "settings: recovery_timeout 500ms (recorded: 30s)\n";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let ran = recording.replay(&[
        "--destroy-delay",
        "1500ms",
        "--set",
        "fast_destroy_delay=1500ms",
    ]);
    let said = "to be destroyed, the first at 2026-01-31T12:00:02.5";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);

    let ran = recording.replay(&["--detection-time", "50ms", "--destroy-delay", "2s"]);
    let said = "settings: detection_time 50ms (recorded: 250ms), destroy_delay 2s (recorded: 1s)\n";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("is not known\n"), "{}", ran.stderr);
    let ran = recording.replay(&["--detection-time", "250ms"]);
    assert!(
        ran.stderr.contains("settings: as recorded\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn any_moment_can_be_explained() {
    let recording = Recording::new();
    let explained = |args: &[&str]| {
        let ran = recording.replay(&[&["--explain", "NODE4:9000/data"], args].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    let text = explained(&[]);
    assert!(text.contains("is dead ("), "{text}");
    assert!(
        text.contains("\nsince         2026-01-31T12:00:01.260Z\n"),
        "{text}"
    );
    for at in [
        "+1.1",
        "2026-01-31T12:00:01.1Z",
        "2026-01-31T13:00:01.1+01:00",
    ] {
        let text = explained(&["--at", at]);
        assert!(text.contains("is suspect ("), "{at}: {text}");
        assert!(text.contains("heard         100ms ago"), "{at}: {text}");
    }
    let text = explained(&["--detection-time", "50ms", "--at", "+1.2"]);
    assert!(
        text.contains("is suspect") || text.contains("is dead"),
        "{text}"
    );
    let json = explained(&["--at", "+0.5", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["peer"]["verdict"], "alive");
    assert_eq!(json["flows"].as_array().unwrap().len(), usize::from(FLOWS));

    let ran = recording.replay(&["--explain", "http://node5:9000"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stderr.contains("these are: http://node4:9000"),
        "{ran:?}"
    );
}

#[test]
fn a_recording_may_come_from_stdin_and_end_in_the_middle_of_a_line() {
    let recording = Recording::new();
    let whole = recording.text();
    let ran = run(&["replay", "-"], &whole);
    assert_eq!(ran.stdout, recording.replay(&[]).stdout);

    let ran = run(&["replay", "-"], &whole[..whole.len() - 7]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, recording.replay(&[]).stdout);
    assert!(ran.stderr.contains("is cut off"), "{ran:?}");
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    let ran = run(&["replay", "-"], &whole[..last]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("breaks off without an end"), "{ran:?}");
}

#[test]
fn what_cannot_be_replayed_is_said_with_its_place() {
    let recording = Recording::new();
    let ran = run(&["replay", "/nonexistent"], "");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr
            .contains("cannot open /nonexistent: No such file"),
        "{ran:?}"
    );

    let broken = recording
        .text()
        .replacen("\"in\":\"timeout\"", "\"in\":\"rest\"", 1);
    let ran = run(&["replay", "-"], &broken);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "error: cannot replay -: line 2, column ";
    assert!(ran.stderr.starts_with(said), "{ran:?}");

    for (args, said) in [
        (
            &["--detection-time", "1ms"][..],
            "--detection-time: detection_time: ",
        ),
        (
            &["--set", "socket=/x"],
            "\"socket\" is no setting of the verdict",
        ),
        (&["--set", "patiance=1s"], "\"patiance\" is no setting"),
        (&["--explain", "http://"], "not a peer's name"),
    ] {
        let ran = recording.replay(args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let recording = Recording::new();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    let file = recording.file.to_str().unwrap();
    let mut child = detector(&["replay", file])
        .stdout(std::os::fd::OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The error comes before anything else is done.
#[test]
fn a_file_that_is_there_is_not_recorded_over() {
    let recording = Recording::new();
    let before = recording.text();
    let file = recording.file.to_str().unwrap();
    let socket = recording.file.with_file_name("d.sock");
    let ran = run(
        &[
            "run",
            "--record",
            file,
            "--config",
            "/dev/null",
            "--socket",
            socket.to_str().unwrap(),
        ],
        "",
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("is there already"), "{ran:?}");
    assert!(!Path::new(&socket).exists());
    assert_eq!(recording.text(), before);
}

/// Whoever sends a recording chooses the names in it.
#[test]
fn a_recording_cannot_drive_the_terminal() {
    let named = "http://a\\u001b]0;owned\\u0007:9000";
    let recording = Recording::new().text().replace(PEER, named);
    let ran = run(&["replay", "-"], &recording);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("owned"), "{}", ran.stdout);
    let is_odd = |c: char| c.is_control() && c != '\n';
    assert!(!ran.stdout.contains(is_odd), "{:?}", ran.stdout);
    assert!(!ran.stderr.contains(is_odd), "{:?}", ran.stderr);
}
