//! Dumps that were captured from a kernel.

use super::*;

/// A dump of both ends of a loopback connection to the listening port 45678, taken on Linux 6.18.
const DUMP: &[u8] = include_bytes!("testdata/loopback.bin");
/// A dump with a connect that was not answered.
const SYN_SENT: &[u8] = include_bytes!("testdata/syn_sent.bin");
/// A dump with a connection whose peer was cut off 0.75 s earlier, with 1,000 bytes in flight: the
/// TLP and two RTOs were not answered.
const CUT: &[u8] = include_bytes!("testdata/cut.bin");
/// The sequence number of their requests.
const SEQUENCE: u32 = 1;

const READ_AT: ReadAt = ReadAt {
    received: Time::from_nanos(1_000_000_000_000_000),
    jiffy: Duration::from_millis(4),
    netns: 7,
};

fn readings(bytes: &[u8], at: ReadAt) -> Result<(Vec<FlowReading>, Progress), SockDiagError> {
    let mut flows = Vec::new();
    let progress = datagram(bytes, SEQUENCE, |response| {
        flows.extend(reading(response, at)?);
        Ok(())
    })?;
    Ok((flows, progress))
}

/// The offset of the first `INET_DIAG_INFO` payload. It comes after the attribute's header, whose
/// type is 2.
fn info_offset(bytes: &[u8]) -> usize {
    // nlmsghdr (16) and inet_diag_msg (72) come first.
    let mut at = 88;
    loop {
        let length = u16::from_ne_bytes([bytes[at], bytes[at + 1]]) as usize;
        if bytes[at + 2] == 2 {
            return at + 4;
        }
        at += (length + 3) & !3;
    }
}

fn patched(offset: usize, value: u32) -> Vec<u8> {
    let mut bytes = DUMP.to_vec();
    let at = info_offset(&bytes) + offset;
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    bytes
}

#[test]
fn a_captured_dump_is_read() {
    let (flows, progress) = readings(DUMP, READ_AT).unwrap();
    assert_eq!(progress, Progress::More);
    assert_eq!(flows.len(), 2);
    let [a, b] = &flows[..] else { unreachable!() };
    assert_eq!((a.id.local, a.id.remote), (b.id.remote, b.id.local));
    assert_ne!(a.cookie, b.cookie);
    for flow in &flows {
        assert_eq!(flow.state, TcpState::Established);
        assert_eq!(flow.id.netns, 7);
        assert!(flow.id.local.ip().is_loopback());
        assert_eq!((flow.rto_count, flow.backoff, flow.probes_out), (0, 0, 0));
        assert_eq!((flow.unacked_segments, flow.unacked_bytes), (0, 0));
        assert!(flow.send_window_bytes > 0 && flow.send_window_bytes < u32::MAX);
        assert!(flow.rto >= Duration::from_millis(200));
        assert_eq!(flow.segments_retransmitted, 0);
    }
    assert_eq!(a.segments_sent + b.segments_sent, 1, "one write was made");
}

#[test]
fn a_cut_flow_shows_what_stands_unanswered_and_since_when() {
    let (flows, _) = readings(CUT, READ_AT).unwrap();
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow.id.remote, "10.99.0.2:45680".parse().unwrap());
    assert_eq!((flow.rto_count, flow.backoff), (2, 2));
    assert_eq!((flow.unacked_segments, flow.unacked_bytes), (1, 1000));
    assert_eq!(flow.send_window_bytes, 65536);
    assert_eq!(flow.rto, Duration::from_millis(816));
    assert_eq!((flow.segments_sent, flow.segments_retransmitted), (6, 3));
    // The kernel reported 1060 ms.
    let heard = READ_AT.received - Duration::from_millis(1055);
    assert_eq!(flow.last_heard, Some(heard));
}

#[test]
fn an_unanswered_connect_was_never_heard_and_has_no_closed_window() {
    let (flows, _) = readings(SYN_SENT, READ_AT).unwrap();
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow.state, TcpState::SynSent);
    assert_eq!(flow.last_heard, None);
    assert_eq!(flow.unacked_segments, 1);
    assert_eq!(flow.send_window_bytes, u32::MAX);
}

#[test]
fn last_heard_is_the_younger_age_rounded_towards_now() {
    const LAST_DATA_RECV: usize = 52;
    const LAST_ACK_RECV: usize = 56;
    let mut bytes = patched(LAST_DATA_RECV, 5000);
    let at = info_offset(&bytes) + LAST_ACK_RECV;
    bytes[at..at + 4].copy_from_slice(&300u32.to_ne_bytes());
    let (flows, _) = readings(&bytes, READ_AT).unwrap();
    // 300 ms minus a jiffy and the millisecond by which the kernel rounds up.
    let expected = READ_AT.received - Duration::from_millis(295);
    assert_eq!(flows[0].last_heard, Some(expected));

    bytes[at..at + 4].copy_from_slice(&2u32.to_ne_bytes());
    let (flows, _) = readings(&bytes, READ_AT).unwrap();
    assert_eq!(flows[0].last_heard, Some(READ_AT.received));
}

#[test]
fn a_call_may_wait_where_data_was_sent_and_none_arrived_later() {
    const LAST_DATA_SENT: usize = 44;
    const LAST_DATA_RECV: usize = 52;
    const DATA_SEGS_IN: usize = 152;
    const DATA_SEGS_OUT: usize = 156;
    let awaiting = |fields: [(usize, u32); 4]| {
        let mut bytes = DUMP.to_vec();
        let info = info_offset(&bytes);
        for (offset, value) in fields {
            bytes[info + offset..info + offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let (flows, _) = readings(&bytes, READ_AT).unwrap();
        let since = flows[0].awaiting_since?;
        Some(READ_AT.received.since(since).as_millis())
    };
    let ages = |sent, arrived| [(LAST_DATA_SENT, sent), (LAST_DATA_RECV, arrived)];
    let with = |[sent, arrived]: [(usize, u32); 2], out, into| {
        awaiting([sent, arrived, (DATA_SEGS_OUT, out), (DATA_SEGS_IN, into)])
    };
    assert_eq!(with(ages(300, 400), 3, 3), Some(300));
    assert_eq!(with(ages(400, 300), 3, 3), None, "a reply");
    assert_eq!(with(ages(300, 300), 3, 3), Some(300), "in either order");
    assert_eq!(with(ages(400, 300), 3, 0), Some(400), "the handshake alone");
    assert_eq!(with(ages(300, 300), 0, 0), None, "nothing was sent");
}

#[test]
fn an_age_from_before_the_boot_is_a_stamp_never_set() {
    let mut bytes = patched(52, u32::MAX);
    let at = info_offset(&bytes) + 56;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let at = ReadAt {
        received: Time::from_nanos(3_600_000_000_000),
        ..READ_AT
    };
    let (flows, _) = readings(&bytes, at).unwrap();
    assert_eq!(flows[0].last_heard, None);
}

#[test]
fn another_dumps_messages_are_passed_over() {
    let mut seen = 0;
    let progress = datagram(DUMP, SEQUENCE + 1, |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!((progress.unwrap(), seen), (Progress::More, 0));
}

#[test]
fn every_truncation_is_an_error_or_fewer_whole_messages() {
    let (all, _) = readings(DUMP, READ_AT).unwrap();
    let mut whole = 0;
    for length in 0..DUMP.len() {
        match readings(&DUMP[..length], READ_AT) {
            Ok((flows, _)) => {
                assert!(flows.len() < all.len());
                assert_eq!(flows[..], all[..flows.len()]);
                whole += 1;
            }
            Err(SockDiagError::Malformed(_)) => {}
            Err(error) => panic!("{length}: {error}"),
        }
    }
    assert!(whole <= 4, "{whole} truncations went unnoticed");
}

#[test]
fn a_short_tcp_info_is_malformed() {
    // The attribute is the last one of its message: both are cut at the end of the required part.
    let info = info_offset(SYN_SENT);
    let cut = |length: usize| {
        let mut bytes = SYN_SENT[..info + length].to_vec();
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_ne_bytes());
        let attribute = (4 + length as u16).to_ne_bytes();
        bytes[info - 4..info - 2].copy_from_slice(&attribute);
        readings(&bytes, READ_AT)
    };
    let (flows, _) = cut(104).unwrap();
    assert_eq!(flows[0].segments_sent, 0, "not known to an old kernel");
    let error = cut(100).unwrap_err().to_string();
    assert!(error.contains("INET_DIAG_INFO has 100 bytes"), "{error}");
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[test]
fn control_messages_are_told_apart() {
    const NLM_F_MULTI: u16 = 2;
    let end = |bytes: &[u8]| readings(bytes, READ_AT).map(|(_, progress)| progress);

    let done = message(3, NLM_F_MULTI, &0i32.to_ne_bytes());
    assert_eq!(end(&done).unwrap(), Progress::Done);
    let failed = message(3, NLM_F_MULTI, &(-12i32).to_ne_bytes());
    assert_eq!(end(&failed).unwrap(), Progress::Refused(12));
    let mut error = (-2i32).to_ne_bytes().to_vec();
    error.extend([0; 16]);
    assert_eq!(end(&message(2, 0, &error)).unwrap(), Progress::Refused(2));
    let overrun = message(4, 0, &[]);
    assert!(matches!(end(&overrun), Err(SockDiagError::Overrun)));
    let interrupted = message(3, NLM_F_MULTI | 0x10, &0i32.to_ne_bytes());
    assert!(matches!(end(&interrupted), Err(SockDiagError::Interrupted)));
    assert!(matches!(end(&[]), Err(SockDiagError::Malformed(_))));
    let mut acknowledged = 0i32.to_ne_bytes().to_vec();
    acknowledged.extend([0; 16]);
    assert_eq!(
        end(&message(2, 0, &acknowledged)).unwrap(),
        Progress::Acknowledged
    );
    let unknown = message(99, 0, &[0; 8]);
    assert!(matches!(end(&unknown), Err(SockDiagError::Malformed(_))));
}

/// The dump, with these bytes in the place of its own from `at` on.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut dump = DUMP.to_vec();
    dump[at..at + bytes.len()].copy_from_slice(bytes);
    dump
}

fn first(bytes: &[u8]) -> Option<FlowReading> {
    let whole = u32::from_ne_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (mut flows, _) = readings(&bytes[..whole], READ_AT).unwrap();
    flows.pop()
}

#[test]
fn a_message_that_says_nothing_is_passed_over() {
    let dump = [&message(1, 0, &[]), DUMP].concat();
    assert_eq!(readings(&dump, READ_AT).unwrap().0.len(), 2);
}

#[test]
fn a_flow_has_one_of_three_states_and_any_other_socket_is_no_flow() {
    /// `idiag_state` of `struct inet_diag_msg`, behind `struct nlmsghdr`.
    const STATE: usize = 17;
    let expected = |state| match state {
        1 => Some(TcpState::Established),
        2 => Some(TcpState::SynSent),
        // FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING.
        4 | 5 | 8 | 9 | 11 => Some(TcpState::Closing),
        _ => None,
    };
    for state in 0..=13 {
        let flow = first(&with(STATE, &[state]));
        assert_eq!(flow.map(|flow| flow.state), expected(state), "{state}");
    }
}

#[test]
fn the_first_word_of_a_cookie_is_the_low_one() {
    /// `idiag_cookie` of `struct inet_diag_sockid`.
    const COOKIE: usize = 60;
    let words = [0x0403_0201_u32, 0x0807_0605];
    let bytes = words.map(u32::to_ne_bytes).concat();
    let flow = first(&with(COOKIE, &bytes)).unwrap();
    assert_eq!(flow.cookie, 0x0807_0605_0403_0201);
}

#[test]
fn every_number_is_read_from_its_own_place() {
    let info = info_offset(DUMP);
    let mut dump = with(info, &[0; 232]);
    // Each 32-bit word of the struct holds its own offset.
    for offset in (8..232).step_by(4) {
        let word = (offset as u32).to_ne_bytes();
        dump[info + offset..info + offset + 4].copy_from_slice(&word);
    }
    // Retransmissions, probes, back-off.
    dump[info + 2..info + 5].copy_from_slice(&[2, 3, 4]);
    // The send queue: `idiag_wqueue` of `struct inet_diag_msg`.
    dump[76..80].copy_from_slice(&1000_u32.to_ne_bytes());
    let flow = first(&dump).unwrap();
    assert_eq!((flow.rto_count, flow.probes_out, flow.backoff), (2, 3, 4));
    assert_eq!(flow.rto, Duration::from_micros(8));
    assert_eq!(flow.mss, 16);
    assert_eq!(flow.unacked_segments, 24);
    assert_eq!(
        flow.awaiting_since,
        Some(READ_AT.received - Duration::from_millis(44))
    );
    // The younger of 52 and 56 ms, less a jiffy and a millisecond.
    assert_eq!(
        flow.last_heard,
        Some(READ_AT.received - Duration::from_millis(47))
    );
    assert_eq!(flow.srtt, Duration::from_micros(68));
    assert_eq!(flow.rtt_variance, Duration::from_micros(72));
    assert_eq!(flow.segments_retransmitted, 100);
    assert_eq!(flow.bytes_acked, 120 | 124 << 32);
    assert_eq!(flow.segments_received, 140);
    assert_eq!(flow.unacked_bytes, 1000 - 144, "less what was not sent");
    assert_eq!(flow.segments_sent, 156);
    assert_eq!(flow.send_window_bytes, 228);
}

#[test]
fn a_stamp_of_the_boot_itself_is_one_never_set() {
    let at = ReadAt {
        received: Time::from_nanos(3_600_000_000_000),
        ..READ_AT
    };
    let heard = |age: u32| {
        let info = info_offset(DUMP);
        let dump = with(info + 52, &[age.to_ne_bytes(), age.to_ne_bytes()].concat());
        readings(&dump, at).unwrap().0[0].last_heard
    };
    // A jiffy and a millisecond more than the uptime.
    assert_eq!(heard(3_600_005), None);
    assert_eq!(heard(3_600_004), Some(Time::from_nanos(1_000_000)));
}
