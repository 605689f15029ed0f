//! What user space asks the `keepalive` program about a flow, and what it answers.
//!
//! The program is not attached to anything: user space runs it (`BPF_PROG_TEST_RUN`) with a
//! packet of its own making, a [`SequencesPacket`], and gets the packet back with the answer
//! in it. The kernel takes the first 14 bytes for an Ethernet header.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the program returns.
pub mod sequences_result {
    /// No socket has these addresses and ports in the caller's network namespace.
    pub const NONE: u32 = 0;
    /// The answer is in the packet.
    pub const FOUND: u32 = 1;
    /// The packet is not one of these.
    pub const MALFORMED: u32 = 2;
}

/// Length of the header before the packet's own content.
pub const SEQUENCES_HEADER: usize = 14;

/// Which flow is asked about. An IPv4 address is in the first four bytes.
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

/// Where the flow stands. Everything is read from the running socket without its lock: each
/// field is whole, two of them may be a segment apart.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Sequences {
    /// The socket cookie; 0 while nobody has asked the kernel for one.
    pub cookie: u64,
    /// Not before any segment that was sent, and not after the next one, in nanoseconds: what
    /// timestamps are made of.
    pub sent_ns: u64,
    /// The oldest byte that the peer has not acknowledged.
    pub snd_una: u32,
    /// The next byte that is expected of the peer.
    pub rcv_nxt: u32,
    /// `rcv_nxt` as it was last told to the peer.
    pub rcv_wup: u32,
    /// The window that was told with it, in bytes.
    pub rcv_wnd: u32,
    /// The window that the peer has opened, in bytes.
    pub snd_wnd: u32,
    /// `rx_opt.ts_recent`: the peer's latest timestamp.
    pub ts_recent: u32,
    /// What is added to our timestamps before they leave.
    pub tsoffset: u32,
    /// The socket's mark, by which it may be routed.
    pub mark: u32,
    /// `tcp_header_len`: 20, and 12 more with timestamps.
    pub header_len: u16,
    /// The TCP state (`TCP_ESTABLISHED` = 1, …).
    pub tcp_state: u8,
    /// The byte of both window scales: the peer's in the low half, ours in the high one.
    pub window_scales: u8,
    /// 1 when timestamps count microseconds (since 6.7, by a route's feature), else 0.
    pub usec_ts: u32,
}

/// The packet behind its header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SequencesPacket {
    pub query: SequencesQuery,
    pub answer: Sequences,
}

const _: () = assert!(size_of::<SequencesQuery>() == 40);
const _: () = assert!(size_of::<Sequences>() == 56);
const _: () = assert!(size_of::<SequencesPacket>() == 96);
