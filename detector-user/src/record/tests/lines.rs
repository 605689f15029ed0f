//! The format, line by line.

use std::{io::Cursor, net::IpAddr};

use super::*;
use crate::model::{
    NamespaceChange, NeighbourState, NetworkEvent, Operation, OperationReport, Outcome, ProbeId,
    ProbeTarget, Route,
};

pub(super) const HEADER: &str = r#"{"detector_recording":1,"detector":"0.1.0","kernel":"6.18.0","started_at":"2023-11-14T22:13:20Z","now":987654321000000,"settings":"#;

pub(super) fn text(lines: &[&str]) -> String {
    let settings = serde_json::to_string(&Settings::default()).unwrap();
    let mut text = format!("{HEADER}{settings}}}\n");
    for line in lines {
        text += line;
        text += "\n";
    }
    text
}

/// All entries, or the first error.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, String> {
    let mut reader = Reader::new(Cursor::new(text)).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.read().map_err(|error| error.to_string())? {
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn entry(input: Input) -> Entry {
    let now = Time::from_nanos(987_654_321_000_009);
    Entry { now, input }
}

const AT: Time = Time::from_nanos(7);

fn addr() -> IpAddr {
    [10, 0, 0, 4].into()
}

/// Each input is written as this line, and read from it. If it is not, the format has changed: raise
/// `FORMAT`, or keep older recordings readable.
fn are_written<const N: usize>(inputs: [(Input, &str); N]) {
    for (input, line) in inputs {
        let entry = entry(input);
        let line = format!(r#"{{"now":987654321000009,"in":{line}}}"#);
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        assert_eq!(read(&text(&[&line])), Ok(vec![entry]));
    }
}

#[test]
fn timeouts_trials_and_endings_are_written_as_before() {
    let trial = Input::FinishTrial {
        peer: peer(),
        trial: 3,
        outcome: TrialOutcome::Succeeded,
    };
    are_written([
        (Input::Timeout, r#""timeout""#),
        (Input::End(Ending::TooSlow), r#"{"end":"too_slow"}"#),
        (
            Input::AcquireTrial { peer: peer() },
            r#"{"acquire_trial":{"peer":"http://node4:9000"}}"#,
        ),
        (
            Input::Override {
                peer: peer(),
                overridden: None,
            },
            r#"{"override":{"peer":"http://node4:9000","overridden":null}}"#,
        ),
        (
            trial,
            r#"{"finish_trial":{"peer":"http://node4:9000","trial":3,"outcome":"succeeded"}}"#,
        ),
    ]);
}

#[test]
fn the_header_is_written_as_before() {
    let header = serde_json::to_string(&header(&Settings::default())).unwrap();
    assert_eq!(header + "\n", text(&[]));
}

#[test]
fn peers_and_reports_are_written_as_before() {
    let signal = Input::Signal;
    are_written([
        (
            signal(configured()),
            r#"{"signal":{"peer_configured":{"peer":"http://node4:9000","endpoints":[{"addr":"10.0.0.4","port":9000}],"discovered":false}}}"#,
        ),
        (
            signal(Signal::PeerRemoved { peer: peer() }),
            r#"{"signal":{"peer_removed":{"peer":"http://node4:9000"}}}"#,
        ),
        (
            signal(Signal::Reported {
                reports: vec![OperationReport {
                    operation: Operation::Lock,
                    outcome: Outcome::TimedOut,
                    peer: Some(peer()),
                    lock: Some("iam/users".into()),
                    ended_at: AT,
                    duration: Duration::from_secs(3),
                    retries: 2,
                }],
            }),
            r#"{"signal":{"reported":{"reports":[{"operation":"lock","outcome":"timed_out","peer":"http://node4:9000","lock":"iam/users","ended_at":7,"duration":3000000000,"retries":2}]}}}"#,
        ),
    ]);
}

#[test]
fn flows_and_sockets_are_written_as_before() {
    let signal = Input::Signal;
    let rto = FlowEvent {
        at: AT,
        source: SourceKind::Ebpf,
        flow: flow(0),
        kind: FlowEventKind::Rto { count: 1 },
        reading: Some(FlowReading {
            last_heard: Some(AT),
            ..reading(0, CUT_MS + 214)
        }),
    };
    are_written([
        (
            signal(Signal::Flow(rto)),
            r#"{"signal":{"flow":{"at":7,"source":"ebpf","flow":{"netns":4026531840,"local":"10.0.0.1:40000","remote":"10.0.0.4:9000"},"kind":{"rto":{"count":1}},"reading":{"id":{"netns":4026531840,"local":"10.0.0.1:40000","remote":"10.0.0.4:9000"},"cookie":1,"state":"established","rto_count":1,"backoff":1,"probes_out":0,"unacked_segments":2,"unacked_bytes":200,"send_window_bytes":65535,"last_heard":7,"srtt":200000,"rto":408000000,"segments_sent":2214,"segments_retransmitted":1,"segments_received":0,"bytes_acked":0,"mss":0}}}}"#,
        ),
        (
            signal(Signal::SocketsRead {
                at: AT,
                source: SourceKind::SockDiag,
                peer: peer(),
                addr: addr(),
                flows: Vec::new(),
            }),
            r#"{"signal":{"sockets_read":{"at":7,"source":"sock_diag","peer":"http://node4:9000","addr":"10.0.0.4","flows":[]}}}"#,
        ),
        (
            signal(Signal::SocketsUnreadable {
                peer: peer(),
                addr: addr(),
            }),
            r#"{"signal":{"sockets_unreadable":{"peer":"http://node4:9000","addr":"10.0.0.4"}}}"#,
        ),
        (
            signal(Signal::SocketsDestroyed {
                at: AT,
                peer: peer(),
                addr: addr(),
                generation: 4,
                result: Destroyed::default(),
            }),
            r#"{"signal":{"sockets_destroyed":{"at":7,"peer":"http://node4:9000","addr":"10.0.0.4","generation":4,"result":{"destroyed":0,"spared":0,"gone":0,"failed":0}}}}"#,
        ),
    ]);
}

#[test]
fn probes_are_written_as_before() {
    let probe = |target, outcome| {
        Input::Signal(Signal::Probe(ProbeEvent {
            at: AT,
            probe: ProbeId(5),
            target,
            outcome,
        }))
    };
    let endpoint = Endpoint {
        addr: addr(),
        port: 9000,
    };
    let connect = ProbeTarget::Connect(endpoint);
    let connect_from = ProbeTarget::ConnectFrom {
        netns: 4_026_532_000,
        endpoint,
    };
    are_written([
        (
            probe(connect, ProbeOutcome::Answered(ProbeAnswer::SynAck)),
            r#"{"signal":{"probe":{"at":7,"probe":5,"target":{"connect":{"addr":"10.0.0.4","port":9000}},"outcome":{"answered":"syn_ack"}}}}"#,
        ),
        (
            probe(connect_from, ProbeOutcome::Sent),
            r#"{"signal":{"probe":{"at":7,"probe":5,"target":{"connect_from":{"netns":4026532000,"endpoint":{"addr":"10.0.0.4","port":9000}}},"outcome":"sent"}}}"#,
        ),
        (
            probe(
                ProbeTarget::Neighbour {
                    addr: addr(),
                    link: 2,
                },
                ProbeOutcome::Sent,
            ),
            r#"{"signal":{"probe":{"at":7,"probe":5,"target":{"neighbour":{"addr":"10.0.0.4","link":2}},"outcome":"sent"}}}"#,
        ),
    ]);
}

#[test]
fn the_network_is_written_as_before() {
    let network = |event| Input::Signal(Signal::Network { at: AT, event });
    let route = Route {
        link: 2,
        gateway: None,
    };
    are_written([
        (
            network(NetworkEvent::Route {
                addr: addr(),
                route: Some(route),
            }),
            r#"{"signal":{"network":{"at":7,"event":{"route":{"addr":"10.0.0.4","route":{"link":2,"gateway":null}}}}}}"#,
        ),
        (
            network(NetworkEvent::Link {
                link: 2,
                name: "eth0".to_owned(),
                up: false,
            }),
            r#"{"signal":{"network":{"at":7,"event":{"link":{"link":2,"name":"eth0","up":false}}}}}"#,
        ),
        (
            network(NetworkEvent::Neighbour {
                addr: addr(),
                link: 2,
                state: NeighbourState::Failed,
                hardware: None,
            }),
            r#"{"signal":{"network":{"at":7,"event":{"neighbour":{"addr":"10.0.0.4","link":2,"state":"failed"}}}}}"#,
        ),
        (
            Input::Signal(Signal::Namespace {
                at: AT,
                netns: 4_026_532_000,
                change: NamespaceChange::Gone,
            }),
            r#"{"signal":{"namespace":{"at":7,"netns":4026532000,"change":"gone"}}}"#,
        ),
    ]);
}

#[test]
fn the_words_are_those_of_the_api() {
    for verdict in Verdict::ALL {
        let json = serde_json::to_value(verdict).unwrap();
        assert_eq!(json, verdict.as_str());
    }
}

#[test]
fn what_is_not_known_is_an_error_with_its_line() {
    let good = r#"{"now":987654321000009,"in":"timeout"}"#;
    let before = r#"{"now":987654321000008,"in":"timeout"}"#;
    let end = r#"{"now":987654321000009,"in":{"end":"stopped"}}"#;
    for (lines, expected) in [
        (
            &[good, r#"{"now":987654321000009,"in":"rest"}"#][..],
            "line 3, column 34: unknown variant `rest`",
        ),
        (
            &[r#"{"now":987654321000009,"in":"timeout","why":1}"#],
            "line 2, column 43: unknown field `why`",
        ),
        (
            &[r#"{"now":987654321000009,"in":{"signal":{"peer_removed":{"peer":"x","so":1}}}}"#],
            "line 2, column 70: unknown field `so`",
        ),
        (
            &[good, "", good],
            "line 3, column 0: EOF while parsing a value",
        ),
        (
            &[good, before],
            "line 3: its time, 987654321000008, is before that of the line above, 987654321000009",
        ),
        (
            &[r#"{"now":1,"in":"timeout"}"#],
            "line 2: its time, 1, is before",
        ),
        (&[end, good], "line 3: the recording goes on after its end"),
    ] {
        let error = read(&text(lines)).unwrap_err();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_no_recording_or_another_version_s_is_said_to_be_so() {
    for (text, expected) in [
        ("", "no recording of `detector run --record`: EOF"),
        ("[]\n", "no recording of `detector run --record`: "),
        ("{\"peer\":1}\n", "missing field `detector_recording`"),
        (
            "{\"detector_recording\":2,\"detector\":\"9.1.0\",\"new\":0}\n",
            "version 2, and this detector (0.1.0) reads version 1: replay it with the detector that recorded it (9.1.0)",
        ),
        (
            "{\"detector_recording\":1,\"detector\":\"9.1.0\",\"new\":0}\n",
            "column 48: unknown field `new`",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with("line 1"), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let newer = text(&[]).replace("\"0.1.0\"", "\"0.2.0\"") + "{}\n";
    let error = read(&newer).unwrap_err();
    assert!(
        error.ends_with("(recorded by detector 0.2.0; this is 0.1.0)"),
        "{error}"
    );
}

#[test]
fn a_last_line_that_was_cut_off_is_told_and_the_rest_is_read() {
    let good = r#"{"now":987654321000009,"in":"timeout"}"#;
    let whole = text(&[good, good]);
    let second = whole.len() - good.len() - 1;
    for length in second..whole.len() {
        let mut reader = Reader::new(Cursor::new(&whole[..length])).unwrap();
        assert!(reader.read().unwrap().is_some());
        let last = reader.read().unwrap();
        // Without only its newline, the line is still complete.
        assert_eq!(last.is_some(), length >= whole.len() - 1, "{length}");
        assert!(reader.read().unwrap().is_none());
        let torn = (length > second && last.is_none()).then_some(3);
        assert_eq!(reader.torn_line(), torn, "{length}");
        assert_eq!(reader.ending(), None);
    }
    // Some file systems leave zeros after a power cut.
    let zeros = text(&[good]) + "\0\0\0\0";
    assert_eq!(read(&zeros).unwrap().len(), 1);
    // In the middle of the file, a damaged line is an error.
    let middle = text(&[&good[..10], good]);
    let error = read(&middle).unwrap_err();
    assert!(error.starts_with("line 2, column "), "{error}");
}
