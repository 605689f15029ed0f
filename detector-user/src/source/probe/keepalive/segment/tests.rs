//! Keepalive segments, and which segments count as their answers.

use super::*;

const UNA: u32 = 1000;
const NXT: u32 = 5000;
const WINDOW: u32 = 500 << 7;

fn flow() -> FlowId {
    FlowId {
        netns: 0,
        local: ([10, 77, 0, 1], 40_000).into(),
        remote: ([10, 77, 0, 2], 9000).into(),
    }
}

fn sequences() -> Sequences {
    Sequences {
        snd_una: UNA,
        rcv_nxt: NXT,
        rcv_wup: NXT,
        rcv_wnd: 64 << 10,
        snd_wnd: WINDOW,
        ts_recent: 0x0102_0304,
        sent_ns: 10_999_999,
        tsoffset: 5,
        header_len: 32,
        tcp_state: 1,
        window_scales: 7 | 8 << 4,
        ..Sequences::default()
    }
}

fn question(kind: Kind) -> Question {
    Question::new(flow(), sequences(), kind)
}

/// An answer of the peer's, to be changed.
#[derive(Clone)]
struct Answer {
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    data: Vec<u8>,
}

fn answer() -> Answer {
    Answer {
        ports: (9000, 40_000),
        seq: NXT,
        ack: UNA,
        flags: ACK,
        window: 500,
        options: Vec::new(),
        data: Vec::new(),
    }
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let length = HEADER + self.options.len();
        let mut bytes = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([(length as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(&self.data);
        bytes
    }

    fn d_sack(first: u32, end: u32) -> Self {
        let blocks = [first.to_be_bytes(), end.to_be_bytes()].concat();
        let options = [&[NOP, NOP, SACK, 10][..], &blocks].concat();
        Self {
            options,
            ..answer()
        }
    }

    fn to(&self, question: Question) -> Heard {
        question.hear(&self.bytes())
    }

    fn to_plain(&self) -> Heard {
        self.to(question(Kind::Plain))
    }
}

#[test]
fn the_segment_repeats_what_the_peer_knows() {
    let segment = question(Kind::Plain).segment();
    assert_eq!(segment.len(), 32);
    let header = Header::parse(&segment).unwrap();
    assert_eq!((header.from, header.to), (40_000, 9000));
    assert_eq!((header.seq, header.ack), (UNA - 1, NXT));
    assert_eq!((header.flags, header.window), (ACK, 256));
    assert!(header.is_pure);
    let timestamps = [NOP, NOP, 8, 10, 0, 0, 0, 15, 1, 2, 3, 4];
    assert_eq!(header.options, timestamps);
    let octet = question(Kind::Octet).segment();
    assert_eq!(octet.len(), 33);
    let sequences = Sequences {
        header_len: 20,
        ..sequences()
    };
    let bare = Question::new(flow(), sequences, Kind::Plain).segment();
    assert_eq!(bare.len(), HEADER);
}

#[test]
fn timestamps_wrap_and_may_be_fine() {
    let stamped = |usec_ts, sent_ns| {
        let sequences = Sequences {
            usec_ts,
            sent_ns,
            ..sequences()
        };
        Question::new(flow(), sequences, Kind::Plain).timestamp()
    };
    assert_eq!(stamped(1, 10_999_999), 10_999 + 5);
    assert_eq!(stamped(0, (u64::from(u32::MAX) + 1) * 1_000_000), 5);
    assert_eq!(stamped(0, u64::from(u32::MAX) * 1_000_000), 4);
}

/// Calculated by another program.
#[test]
fn a_segment_has_the_checksum_of_rfc_9293() {
    let v6 = FlowId {
        netns: 0,
        local: "[fd77::1]:40000".parse().unwrap(),
        remote: "[fd77::2]:9000".parse().unwrap(),
    };
    for (flow, kind, expected) in [
        (flow(), Kind::Plain, 0x8634_u16),
        (flow(), Kind::Octet, 0x8633),
        (v6, Kind::Plain, 0x9fde),
        (v6, Kind::Octet, 0x9fdd),
    ] {
        let segment = Question::new(flow, sequences(), kind).segment();
        assert_eq!(segment[16..18], expected.to_be_bytes(), "{flow} {kind:?}");
        assert_eq!(checksum(&flow, &segment), 0, "{flow} {kind:?}");
    }
}

/// Two windows and some: what was in flight with the probe may be acknowledged.
#[test]
fn an_answer_s_numbers_are_near_the_probe_s() {
    let ahead = 2 * (64 << 10) + (1 << 16);
    let acked = 2 * WINDOW + (1 << 16);
    for (seq, ack, heard) in [
        (NXT + ahead, UNA, Heard::Ack),
        (NXT + ahead + 1, UNA, Heard::Nothing),
        (NXT, UNA + acked, Heard::Ack),
        (NXT, UNA + acked + 1, Heard::Nothing),
    ] {
        let answer = Answer {
            seq,
            ack,
            ..answer()
        };
        assert_eq!(answer.to_plain(), heard, "{seq} {ack}");
    }
}

#[test]
fn the_same_again_is_an_acknowledgement() {
    assert_eq!(answer().to_plain(), Heard::Ack);
    let more = Answer {
        ack: UNA + 100,
        window: 0,
        ..answer()
    };
    assert_eq!(more.to_plain(), Heard::Ack);
    // It sends, and we have not got all of it yet.
    let sending = Answer {
        seq: NXT + 1448,
        ..answer()
    };
    assert_eq!(sending.to_plain(), Heard::Ack);
}

#[test]
fn numbers_that_wrap_are_compared() {
    let sequences = Sequences {
        snd_una: 0,
        rcv_nxt: u32::MAX,
        ..sequences()
    };
    let question = Question::new(flow(), sequences, Kind::Octet);
    assert_eq!(question.seq(), u32::MAX);
    let answer = Answer {
        seq: 10,
        ack: 0,
        ..answer()
    };
    assert_eq!(answer.to(question), Heard::Ack);
}

#[test]
fn what_the_peer_sends_by_itself_is_no_answer() {
    let changes: [fn(&mut Answer); 10] = [
        // A keepalive or a window probe of its own.
        |answer| answer.seq = NXT - 1,
        // Data, and an ACK with it.
        |answer| answer.data = vec![1],
        |answer| answer.flags |= 0x01,
        |answer| answer.flags |= 0x02,
        |answer| answer.flags = 0,
        // From before the question.
        |answer| answer.ack = UNA - 1,
        // Another flow's.
        |answer| answer.ports.0 = 9001,
        |answer| answer.ports.1 = 40_001,
        // By guesses.
        |answer| answer.seq = NXT + (1 << 30),
        |answer| answer.ack = UNA + (1 << 30),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut answer = answer();
        change(&mut answer);
        assert_eq!(answer.to_plain(), Heard::Nothing, "change {number}");
    }
}

#[test]
fn another_window_alone_is_asked_about_again() {
    let other = Answer {
        window: 501,
        ..answer()
    };
    let window = 501 << 7;
    assert_eq!(other.to_plain(), Heard::PerhapsAck { window });
    let again = question(Kind::Plain).again(window);
    assert_eq!(again.segment().len(), 33, "it carries an octet");
    assert_eq!(other.to(again), Heard::Ack);
    let window = WINDOW;
    assert_eq!(answer().to(again), Heard::PerhapsAck { window });
}

#[test]
fn a_d_sack_names_our_octet() {
    let mut ours = Answer::d_sack(UNA - 1, UNA);
    ours.window = 501;
    assert_eq!(ours.to(question(Kind::Octet)), Heard::Ack);
    let window = 501 << 7;
    assert_eq!(ours.to_plain(), Heard::PerhapsAck { window });
    let mut other = Answer::d_sack(UNA - 2, UNA);
    other.window = 501;
    let heard = other.to(question(Kind::Octet));
    assert_eq!(heard, Heard::PerhapsAck { window });
}

#[test]
fn a_d_sack_may_stand_behind_other_options_and_not_behind_their_end() {
    let block = [0, 0, 0, 1, 0, 0, 0, 2];
    let behind = |options: &[u8]| first_sack(&[options, &[SACK, 10], &block].concat());
    assert_eq!(behind(&[]), Some((1, 2)));
    assert_eq!(
        behind(&[NOP, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 3, 2]),
        Some((1, 2))
    );
    assert_eq!(behind(&[END, 2]), None);
    // A block that does not fit into its option.
    assert_eq!(first_sack(&[&[SACK, 9], &block[..], &[0]].concat()), None);
}

#[test]
fn a_reset_has_our_number() {
    let reset = Answer {
        flags: RST,
        ack: 0,
        ..answer()
    };
    assert_eq!(reset.to_plain(), Heard::Reset);
    for seq in [NXT - 1, NXT + 1] {
        let guessed = Answer {
            seq,
            ..reset.clone()
        };
        assert_eq!(guessed.to_plain(), Heard::Nothing);
    }
}

#[test]
fn damage_is_no_answer() {
    let bytes = Answer::d_sack(UNA - 1, UNA).bytes();
    let question = question(Kind::Octet);
    for length in 0..bytes.len() {
        assert_eq!(question.hear(&bytes[..length]), Heard::Nothing, "{length}");
    }
    for options in [
        &[SACK, 0, 0, 0][..],
        &[8, 1, 0, 0],
        &[SACK, 10, 0, 0],
        &[99],
    ] {
        assert_eq!(first_sack(options), None, "{options:?}");
    }
}

#[test]
fn signed_flows_are_not_spoken_on() {
    for (header_len, can) in [(20, true), (32, true), (40, false), (52, false), (0, false)] {
        let sequences = Sequences {
            header_len,
            ..sequences()
        };
        assert_eq!(can_speak(&sequences), can, "{header_len}");
    }
}
