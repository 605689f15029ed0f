//! Records as the kernel side writes them, and damaged ones.

use detector_ebpf::canonical;
use zerocopy::IntoBytes;

use super::*;

fn sample() -> FlowRecord {
    FlowRecord {
        at_ns: 5_000_000_000,
        cookie: 77,
        last_ack_age_ns: 216_000_000,
        last_data_age_ns: 300_000_000,
        netns: 4_026_531_840,
        kind: record_kind::RTO,
        errno: 0,
        unacked_bytes: 2896,
        packets_out: 2,
        snd_wnd_bytes: 65_536,
        srtt_us: 90,
        rto_us: 204_000,
        retransmits: 3,
        local_addr: canonical("10.0.0.1".parse().unwrap()),
        remote_addr: canonical("10.0.0.2".parse().unwrap()),
        local_port: 40_000,
        remote_port: 9000,
        rto_count: 2,
        backoff: 1,
        probes_out: 0,
        tcp_state: 1,
        flags: 0,
        _pad: [0; 3],
    }
}

fn decoded(record: &FlowRecord) -> FlowEvent {
    event(record).unwrap().unwrap()
}

#[test]
fn a_record_becomes_an_event() {
    let event = decoded(&sample());
    assert_eq!(event.at, Time::from_nanos(5_000_000_000));
    assert_eq!(event.source, SourceKind::Ebpf);
    assert_eq!(event.kind, FlowEventKind::Rto { count: 2 });
    assert_eq!(event.flow.to_string(), "10.0.0.1:40000 -> 10.0.0.2:9000");
    assert_eq!(event.flow.netns, 4_026_531_840);
    let reading = event.reading.unwrap();
    assert_eq!(reading.cookie, 77);
    assert_eq!(reading.rto, Duration::from_millis(204));
    assert_eq!(reading.unacked_segments, 2);
    assert_eq!(reading.send_window_bytes, 65_536);
}

#[test]
fn last_heard_is_the_later_of_ack_and_data() {
    let heard = |record: &FlowRecord| decoded(record).reading.unwrap().last_heard;
    assert_eq!(heard(&sample()), Some(Time::from_nanos(4_784_000_000)));
    let data = FlowRecord {
        last_data_age_ns: 4_000_000,
        ..sample()
    };
    assert_eq!(heard(&data), Some(Time::from_nanos(4_996_000_000)));
    let connecting = FlowRecord {
        tcp_state: SYN_SENT,
        ..sample()
    };
    assert_eq!(heard(&connecting), None);
}

#[test]
fn a_flow_has_one_of_three_states() {
    for tcp_state in 0..=LAST_STATE {
        let record = FlowRecord {
            tcp_state,
            ..sample()
        };
        let expected = match tcp_state {
            0 | 1 | 3 => TcpState::Established,
            2 => TcpState::SynSent,
            _ => TcpState::Closing,
        };
        assert_eq!(decoded(&record).reading.unwrap().state, expected);
    }
}

#[test]
fn an_endpoint_is_found_by_its_canonical_address() {
    let endpoint = Endpoint {
        addr: [10, 0, 0, 2].into(),
        port: 9000,
    };
    let key = watch_key(&endpoint);
    let addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2];
    assert_eq!((key.addr, key.port), (addr, 9000));
}

#[test]
fn an_error_brings_no_reading() {
    let error = FlowRecord {
        kind: record_kind::ERROR_REPORT,
        errno: 110,
        ..sample()
    };
    assert_eq!(decoded(&error).reading, None);
}

#[test]
fn what_was_not_sent_says_nothing() {
    let queued = FlowRecord {
        flags: record_flag::NOT_SENT,
        ..sample()
    };
    assert_eq!(event(&queued), Ok(None));
}

#[test]
fn errors_keep_their_errno() {
    let failed = FlowRecord {
        kind: record_kind::CONNECT_FAILED,
        errno: 113,
        ..sample()
    };
    assert_eq!(
        decoded(&failed).kind,
        FlowEventKind::ConnectFailed { errno: 113 }
    );
}

#[test]
fn nonsense_is_refused() {
    let refused = |change: fn(&mut FlowRecord)| {
        let mut record = sample();
        change(&mut record);
        event(&record).unwrap_err()
    };
    assert_eq!(refused(|r| r.kind = 0), DecodeError::Kind(0));
    assert_eq!(refused(|r| r.kind = 99), DecodeError::Kind(99));
    assert_eq!(refused(|r| r.tcp_state = 99), DecodeError::State(99));
    assert_eq!(refused(|r| r.flags = 0x81), DecodeError::Flags(0x81));
    assert!(matches!(
        refused(|r| r.remote_port = 0),
        DecodeError::Remote(_)
    ));
    assert!(matches!(
        refused(|r| r.remote_addr = [0; 16]),
        DecodeError::Remote(_)
    ));
}

#[test]
fn a_record_of_the_wrong_size_is_refused() {
    let whole = sample();
    let bytes = whole.as_bytes();
    assert_eq!(record(bytes), Ok(whole));
    let long = [bytes, &[0]].concat();
    for bytes in [&bytes[..bytes.len() - 1], &long, &[]] {
        assert_eq!(record(bytes), Err(DecodeError::Size { found: bytes.len() }));
    }
}

#[test]
fn addresses_are_canonical_both_ways() {
    let v4: IpAddr = "192.0.2.7".parse().unwrap();
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    assert_eq!(canonical(v4), canonical(mapped));
    assert_eq!(plain(canonical(mapped)), v4);
    assert_eq!(plain(canonical(v6)), v6);
}
