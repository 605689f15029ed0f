//! The keepalive segment, and which segments answer it.

use std::net::IpAddr;

use detector_ebpf::Sequences;

use crate::model::FlowId;

/// A TCP header without options (RFC 9293, section 3.1).
const HEADER: usize = 20;
/// Two NOPs and a timestamp (RFC 7323, appendix A).
const TIMESTAMPS: usize = 12;

const SYN_FIN: u8 = 0x03;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;

/// By how much more than two windows a segment's numbers may differ from those at the time of the
/// probe.
const SLACK: u32 = 1 << 16;

/// What a keepalive segment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No data: the segment lies before the peer's window, and the peer's kernel discards and
    /// acknowledges it.
    Plain,
    /// One octet that the peer already has: it is acknowledged each time, with a D-SACK where the
    /// connection has SACK.
    Octet,
}

/// A probe on a flow, with the flow's numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    flow: FlowId,
    sequences: Sequences,
    kind: Kind,
    /// The peer's window as last received.
    window: u32,
}

/// What a segment from the peer means for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It does not belong to this flow, or the peer sent it on its own.
    Nothing,
    /// It acknowledges the probe, or data that was in flight with it.
    Ack,
    /// It acknowledges the probe, or only reports this new window.
    PerhapsAck { window: u32 },
    /// The peer's kernel knows no such flow.
    Reset,
}

/// Whether segments can be made for the flow: flows with signed segments (TCP-MD5, TCP-AO) have
/// longer headers.
pub(super) fn can_speak(sequences: &Sequences) -> bool {
    [HEADER, HEADER + TIMESTAMPS].contains(&usize::from(sequences.header_len))
}

impl Question {
    pub(super) fn new(flow: FlowId, sequences: Sequences, kind: Kind) -> Self {
        let window = sequences.snd_wnd;
        Self {
            flow,
            sequences,
            kind,
            window,
        }
    }

    /// The same probe, sent again soon after.
    pub(super) fn with_octet(self) -> Self {
        self.again(self.window)
    }

    /// The same probe, sent again after `window` was received.
    pub(super) fn again(self, window: u32) -> Self {
        Self {
            kind: Kind::Octet,
            window,
            ..self
        }
    }

    /// The last byte that the peer has acknowledged.
    fn seq(&self) -> u32 {
        self.sequences.snd_una.wrapping_sub(1)
    }

    /// The bytes of the segment. It repeats what our kernel last sent to the peer, the same
    /// acknowledgement with the same window, so that the peer's kernel learns nothing new.
    pub(super) fn segment(&self) -> Vec<u8> {
        let at = &self.sequences;
        let has_timestamps = usize::from(at.header_len) == HEADER + TIMESTAMPS;
        let length = HEADER + if has_timestamps { TIMESTAMPS } else { 0 };
        let window = at.rcv_wnd >> (at.window_scales >> 4);
        let window = u16::try_from(window).unwrap_or(u16::MAX);
        let mut segment = Vec::with_capacity(length + 1);
        segment.extend(self.flow.local.port().to_be_bytes());
        segment.extend(self.flow.remote.port().to_be_bytes());
        segment.extend(self.seq().to_be_bytes());
        segment.extend(at.rcv_wup.to_be_bytes());
        segment.extend([(length as u8 / 4) << 4, ACK]);
        segment.extend(window.to_be_bytes());
        segment.extend([0; 4]);
        if has_timestamps {
            segment.extend([NOP, NOP, 8, 10]);
            segment.extend(self.timestamp().to_be_bytes());
            segment.extend(at.ts_recent.to_be_bytes());
        }
        if self.kind == Kind::Octet {
            segment.push(0);
        }
        let sum = checksum(&self.flow, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// The segment's timestamp. It must not be older than one that the peer has seen, or the peer
    /// drops the segment as a late one (PAWS, RFC 7323, section 5); nor newer than our kernel's
    /// next one, or the peer drops that.
    fn timestamp(&self) -> u32 {
        let unit = if self.sequences.usec_ts == 0 {
            1_000_000
        } else {
            1_000
        };
        ((self.sequences.sent_ns / unit) as u32).wrapping_add(self.sequences.tsoffset)
    }

    /// What a segment from the peer's host, given from its TCP header on, means for the probe.
    pub(super) fn hear(&self, segment: &[u8]) -> Heard {
        let Some(header) = Header::parse(segment) else {
            return Heard::Nothing;
        };
        let ports = (self.flow.remote.port(), self.flow.local.port());
        if (header.from, header.to) != ports || header.flags & SYN_FIN != 0 {
            return Heard::Nothing;
        }
        if header.flags & RST != 0 {
            // A reset takes its sequence number from our acknowledgement (RFC 9293, section
            // 3.10.7.1).
            return match header.seq == self.sequences.rcv_wup {
                true => Heard::Reset,
                false => Heard::Nothing,
            };
        }
        if header.flags & ACK == 0 || !header.is_pure {
            return Heard::Nothing;
        }
        self.acknowledged(&header)
    }

    fn acknowledged(&self, header: &Header<'_>) -> Heard {
        let at = &self.sequences;
        // A keepalive or window probe of the peer begins before the next byte that we expect.
        let ahead = header.seq.wrapping_sub(at.rcv_nxt);
        let acked = header.ack.wrapping_sub(at.snd_una);
        let bound = |window: u32| window.saturating_mul(2).saturating_add(SLACK);
        if ahead > bound(at.rcv_wnd) || acked > bound(at.snd_wnd) {
            return Heard::Nothing;
        }
        let window = u32::from(header.window) << (at.window_scales & 15);
        match acked > 0 || window == self.window || self.is_repeated_by(header) {
            true => Heard::Ack,
            false => Heard::PerhapsAck { window },
        }
    }

    /// Whether the segment reports that our octet came twice (RFC 2883).
    fn is_repeated_by(&self, header: &Header<'_>) -> bool {
        let block = (self.seq(), self.sequences.snd_una);
        self.kind == Kind::Octet && first_sack(header.options) == Some(block)
    }
}

/// The parts of a TCP header that matter here.
struct Header<'a> {
    from: u16,
    to: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: &'a [u8],
    /// Whether no data follows the header.
    is_pure: bool,
}

impl<'a> Header<'a> {
    fn parse(segment: &'a [u8]) -> Option<Self> {
        let (head, _) = segment.split_first_chunk::<HEADER>()?;
        let length = usize::from(head[12] >> 4) * 4;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        Some(Self {
            from: half(0),
            to: half(2),
            seq: word(4),
            ack: word(8),
            flags: head[13],
            window: half(14),
            options: segment.get(HEADER..length)?,
            is_pure: segment.len() == length,
        })
    }
}

/// The first block of a SACK option, which is where a D-SACK is.
fn first_sack(mut options: &[u8]) -> Option<(u32, u32)> {
    loop {
        match *options {
            [END, ..] | [] => return None,
            [NOP, ref rest @ ..] => options = rest,
            [SACK, length, a, b, c, d, e, f, g, h, ..] if length >= 10 => {
                let block = [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes);
                return Some(block.into());
            }
            [_, length, ..] if length >= 2 => options = options.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

/// The Internet checksum over the pseudo header and the segment, whose own is still zero
/// (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn checksum(flow: &FlowId, segment: &[u8]) -> u16 {
    const TCP: u32 = 6;
    let sum = address_sum(flow.local.ip()) + address_sum(flow.remote.ip()) + TCP;
    let mut sum = sum + segment.len() as u32 + words_sum(segment);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn address_sum(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(addr) => words_sum(&addr.octets()),
        IpAddr::V6(addr) => words_sum(&addr.octets()),
    }
}

fn words_sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

/// Reads any bytes: see [`hostile`](crate::hostile). The samples answer this question.
pub fn any_segment(segment: &[u8]) {
    let flow = FlowId {
        netns: 0,
        local: ([10, 77, 0, 1], 40_000).into(),
        remote: ([10, 77, 0, 2], 9000).into(),
    };
    let sequences = Sequences {
        snd_una: 1000,
        rcv_nxt: 5000,
        rcv_wup: 5000,
        rcv_wnd: 64 << 10,
        snd_wnd: 500 << 7,
        header_len: 32,
        tcp_state: 1,
        window_scales: 7 | 8 << 4,
        ..Sequences::default()
    };
    for kind in [Kind::Plain, Kind::Octet] {
        let heard = Question::new(flow, sequences, kind).hear(segment);
        let is_whole = segment.len() >= HEADER;
        assert!(is_whole || heard == Heard::Nothing, "{heard:?}");
    }
}

#[cfg(test)]
mod tests;
