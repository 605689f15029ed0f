//! The segment that asks, and what is an answer to it.

use std::net::IpAddr;

use detector_ebpf::Sequences;

use crate::core::FlowId;

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

/// What a segment may differ by from what was known when it was asked for, beside two windows.
const SLACK: u32 = 1 << 16;

/// What a keepalive segment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is before the peer's window, whose kernel discards it and acknowledges.
    Plain,
    /// One octet that the peer has long since had: acknowledged as often as it comes, and with
    /// a D-SACK where the connection has SACK.
    Octet,
}

/// A question on a flow, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    flow: FlowId,
    sequences: Sequences,
    kind: Kind,
    /// The peer's window as last heard.
    window: u32,
}

/// What a segment from the peer says about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is none of this flow's, or what the peer sends by itself.
    Nothing,
    /// It acknowledges the question, or data that was under way with it.
    Ack,
    /// It does, or it tells of this window by itself.
    PerhapsAck { window: u32 },
    /// The peer's kernel knows no such flow.
    Reset,
}

/// Whether segments can be made for the flow: those that are signed (TCP-MD5, TCP-AO) have
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

    /// The question once more, soon after.
    pub(super) fn with_octet(self) -> Self {
        self.again(self.window)
    }

    /// The question once more, after `window` was heard.
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

    /// The bytes of the segment. It repeats what the kernel told the peer last, so that a
    /// kernel that reads it learns nothing new: the same acknowledgement with the same window.
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

    /// Ours: neither before one that the peer has seen, or it would drop the segment as a late
    /// one (PAWS, RFC 7323, section 5), nor after the next of the kernel's, or it would drop that.
    fn timestamp(&self) -> u32 {
        let unit = if self.sequences.usec_ts == 0 {
            1_000_000
        } else {
            1_000
        };
        ((self.sequences.sent_ns / unit) as u32).wrapping_add(self.sequences.tsoffset)
    }

    /// What a segment of the peer's host, from its TCP header on, says about the question.
    pub(super) fn hear(&self, segment: &[u8]) -> Heard {
        let Some(header) = Header::parse(segment) else {
            return Heard::Nothing;
        };
        let ports = (self.flow.remote.port(), self.flow.local.port());
        if (header.from, header.to) != ports || header.flags & SYN_FIN != 0 {
            return Heard::Nothing;
        }
        if header.flags & RST != 0 {
            // It takes its number from ours (RFC 9293, section 3.10.7.1).
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
        // A keepalive or window probe of the peer's own begins before what we await.
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

    /// Whether the segment says that our octet came twice (RFC 2883).
    fn is_repeated_by(&self, header: &Header<'_>) -> bool {
        let block = (self.seq(), self.sequences.snd_una);
        self.kind == Kind::Octet && first_sack(header.options) == Some(block)
    }
}

/// What counts of a TCP header.
struct Header<'a> {
    from: u16,
    to: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: &'a [u8],
    /// Whether nothing follows it.
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

#[cfg(test)]
mod tests;
