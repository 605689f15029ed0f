//! Recordings of earlier versions can be read.

use std::io::Cursor;

use super::{
    lines::{HEADER, entry, read, text},
    *,
};
use crate::model::{NeighbourState, NetworkEvent};

/// Before reports existed, recordings had neither their settings nor a round-trip variance.
#[test]
fn a_recording_of_before_there_were_reports_is_read() {
    let settings = serde_json::to_string(&Settings::default()).unwrap();
    let before = settings.replace(r#""failure_threshold":3,"failure_window":60000000000,"#, "");
    assert_ne!(before, settings);
    let text = format!("{HEADER}{before}}}\n");
    let reader = Reader::new(Cursor::new(text)).unwrap();
    assert_eq!(reader.header().settings, Settings::default());
}

/// A flow as it was recorded before acknowledged bytes and the segment size were read.
const FLOW: &str = r#"{"now":987654321000009,"in":{"signal":{"flow":{"at":7,"source":"ebpf","flow":{"netns":4026531840,"local":"10.0.0.1:40000","remote":"10.0.0.4:9000"},"kind":{"rto":{"count":1}},"reading":{"id":{"netns":4026531840,"local":"10.0.0.1:40000","remote":"10.0.0.4:9000"},"cookie":1,"state":"established","rto_count":1,"backoff":1,"probes_out":0,"unacked_segments":2,"unacked_bytes":200,"send_window_bytes":65535,"last_heard":7,"srtt":200000,"rto":408000000,"segments_sent":2214,"segments_retransmitted":1}}}}}"#;

#[test]
fn a_flow_of_before_there_were_acknowledged_bytes_is_read() {
    let at = Time::from_nanos(7);
    let event = FlowEvent {
        at,
        source: SourceKind::Ebpf,
        flow: flow(0),
        kind: FlowEventKind::Rto { count: 1 },
        reading: Some(FlowReading {
            last_heard: Some(at),
            segments_received: 0,
            bytes_acked: 0,
            mss: 0,
            awaiting_since: None,
            ..reading(0, CUT_MS + 214)
        }),
    };
    let expected = entry(Input::Signal(Signal::Flow(event)));
    assert_eq!(read(&text(&[FLOW])), Ok(vec![expected]));
}

#[test]
fn a_neighbour_of_before_its_hardware_address_was_kept_is_read() {
    let line = r#"{"now":987654321000009,"in":{"signal":{"network":{"at":7,"event":{"neighbour":{"addr":"10.0.0.4","link":2,"state":"reachable"}}}}}}"#;
    let event = NetworkEvent::Neighbour {
        addr: [10, 0, 0, 4].into(),
        link: 2,
        state: NeighbourState::Reachable,
        hardware: None,
    };
    let at = Time::from_nanos(7);
    let expected = entry(Input::Signal(Signal::Network { at, event }));
    assert_eq!(read(&text(&[line])), Ok(vec![expected]));
}
