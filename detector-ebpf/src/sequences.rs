//! The queries of user space to the `keepalive` program about flows, and the program's answers.
//!
//! The program is not attached to anything. User space runs it (`BPF_PROG_TEST_RUN`) with a packet
//! that it has built, up to [`SEQUENCES_AT_ONCE`] times a [`SequencesPacket`], and gets the packet
//! back with the answers in it. The kernel treats the first 14 bytes as an Ethernet header.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The program's return values.
pub mod sequences_result {
    /// The answers are in the packet. One whose `tcp_state` is still 0 means that no socket has
    /// these addresses and ports in the caller's network namespace.
    pub const ANSWERED: u32 = 1;
    /// The packet has the wrong format.
    pub const MALFORMED: u32 = 2;
}

/// The length of the header before the packet's own content.
pub const SEQUENCES_HEADER: usize = 14;

/// The most flows of one packet. The kernel takes up to a page, less what it adds itself.
pub const SEQUENCES_AT_ONCE: usize = 16;

/// The flow that the query is about. An IPv4 address is in the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SequencesQuery {
    pub remote_addr: [u8; 16],
    pub local_addr: [u8; 16],
    /// Network byte order.
    pub remote_port: [u8; 2],
    /// Network byte order.
    pub local_port: [u8; 2],
    /// 4 or 6.
    pub version: u32,
}

/// The flow's current sequence numbers. They are read from the running socket without its lock:
/// each field is consistent, but two of them may be a segment apart.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Sequences {
    /// The socket cookie; 0 if none has been assigned yet.
    pub cookie: u64,
    /// A time, in nanoseconds, that is not before any sent segment and not after the next one. TCP
    /// timestamps are computed from it.
    pub sent_ns: u64,
    /// The oldest byte that the peer has not acknowledged.
    pub snd_una: u32,
    /// The next byte that is expected from the peer.
    pub rcv_nxt: u32,
    /// `rcv_nxt` as it was last sent to the peer.
    pub rcv_wup: u32,
    /// The window that was sent with it, in bytes.
    pub rcv_wnd: u32,
    /// The window that the peer has opened, in bytes.
    pub snd_wnd: u32,
    /// `rx_opt.ts_recent`: the peer's latest timestamp.
    pub ts_recent: u32,
    /// The value that is added to this host's timestamps before they are sent.
    pub tsoffset: u32,
    /// The socket's mark, which routing may use.
    pub mark: u32,
    /// `tcp_header_len`: 20, plus 12 with timestamps.
    pub header_len: u16,
    /// The TCP state (`TCP_ESTABLISHED` = 1, …).
    pub tcp_state: u8,
    /// The byte with both window scales: the peer's in the low half, this host's in the high half.
    pub window_scales: u8,
    /// 1 if timestamps count microseconds (since 6.7, by a route's feature), else 0.
    pub usec_ts: u32,
}

/// One query with room for its answer; they follow each other after the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SequencesPacket {
    pub query: SequencesQuery,
    pub answer: Sequences,
}

const _: () = assert!(size_of::<SequencesQuery>() == 40);
const _: () = assert!(size_of::<Sequences>() == 56);
const _: () = assert!(size_of::<SequencesPacket>() == 96);
