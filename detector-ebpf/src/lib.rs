//! The layouts that both sides share: records, keys, counters, and the [`Config`] that user space
//! passes to the programs.
//!
//! The kernel side fills a [`FlowRecord`], stores it in the `FLOWS` map (the state) and puts it on
//! the `EVENTS` ring (the doorbell). The daemon reads both with the same types.
//!
//! All of these are plain data: `repr(C)`, explicit padding, no enums and no bools. So any byte
//! pattern is a valid value, and a reader only has to check its meaning.
#![no_std]

mod config;
mod protect;
mod sequences;

pub use config::{ABSENT, CONFIG_NAME, Config, SocketOffsets, config_flag};
pub use protect::{
    MAX_TUNED, REFUSE_NAME, RefuseConfig, TUNE_NAME, TuneConfig, TunedSocket, canonical,
    refuse_flag, tune_counter, tuned_option,
};
pub use sequences::{
    SEQUENCES_AT_ONCE, SEQUENCES_HEADER, Sequences, SequencesPacket, SequencesQuery,
    sequences_result,
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kinds of events, as in [`FlowRecord::kind`].
pub mod record_kind {
    /// A tail loss probe was sent: the first sign that something is unanswered.
    pub const TLP: u32 = 1;
    /// The retransmission timer fired; `rto_count` includes this time.
    pub const RTO: u32 = 2;
    /// The handshake's SYN was retransmitted; `rto_count` includes this time.
    pub const SYN_RETRANSMIT: u32 = 3;
    /// A flow with something unanswered left `TCP_CA_Loss`: an ACK arrived.
    pub const RECOVERED: u32 = 4;
    /// A handshake was completed with a peer whose handshakes the daemon wants to know.
    pub const ESTABLISHED: u32 = 5;
    /// A connect failed; `errno` is the reason (0: the caller gave up).
    pub const CONNECT_FAILED: u32 = 6;
    /// A flow in the map was closed; `errno` is the socket's error (0: an orderly close).
    pub const CLOSED: u32 = 7;
    /// The kernel reported `errno` on the socket.
    pub const ERROR_REPORT: u32 = 8;
}

/// The bits of [`FlowRecord::flags`].
pub mod record_flag {
    /// The retransmission could not leave this host (`err` −16, kernels ≥ 6.17), so it says nothing
    /// about the peer.
    pub const NOT_SENT: u8 = 1;
}

/// The state of one flow when an event happened to it.
///
/// Addresses are canonical: an IPv4 address, v4-mapped or not, is stored as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowRecord {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    /// The socket cookie; 0 if none has been assigned yet.
    pub cookie: u64,
    /// The time since the last ACK was processed (`rcv_tstamp`), in nanoseconds; the resolution is
    /// one jiffy.
    pub last_ack_age_ns: u64,
    /// The time since the last data arrived (`icsk_ack.lrcvtime`), in nanoseconds; the resolution
    /// is one jiffy. Data whose ACK number does not advance leaves `last_ack_age_ns` unchanged.
    pub last_data_age_ns: u64,
    /// The inode of the network namespace; 0 if unknown.
    pub netns: u32,
    /// One of [`record_kind`].
    pub kind: u32,
    /// A positive errno; 0 for none.
    pub errno: u32,
    /// Bytes sent and not acknowledged (`snd_nxt - snd_una`).
    pub unacked_bytes: u32,
    /// Segments sent and not acknowledged (`packets_out`).
    pub packets_out: u32,
    /// The send window that the peer has opened, in bytes; 0 is a zero window.
    pub snd_wnd_bytes: u32,
    /// Smoothed round-trip time, in microseconds.
    pub srtt_us: u32,
    /// The current retransmission time-out, including back-off, in microseconds.
    pub rto_us: u32,
    /// The retransmissions of this flow that the kernel side has counted since it tracks the flow.
    pub retransmits: u32,
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub remote_port: u16,
    /// `icsk_retransmits`: timer expiries since the last ACK.
    pub rto_count: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_probes_out`: unanswered zero-window or keepalive probes.
    pub probes_out: u8,
    /// The TCP state (`TCP_ESTABLISHED` = 1, …) when the record was made. For a flow that is being
    /// closed, it is the state before that; 0 if unknown.
    pub tcp_state: u8,
    /// The bits of [`record_flag`].
    pub flags: u8,
    pub _pad: [u8; 3],
}

const _: () = assert!(size_of::<FlowRecord>() == 112);
const _: () = assert!(align_of::<FlowRecord>() == 8);

/// The key of the `FLOWS` map. The namespace is part of it, because the same addresses occur in
/// every namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey {
    /// The socket cookie, or the socket's kernel address while it has no cookie. The two cannot
    /// collide: a kernel address has its top bit set, and a cookie is a small counter. For a final
    /// record it is the record's time, because another socket may have the address by now.
    pub id: u64,
    pub netns: u32,
    /// 1 for a flow's last record, which is stored because the ring was full.
    pub is_final: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 16);

/// The key of the `WATCHED` map: an endpoint of a peer.
///
/// A flow belongs to the peer if its remote address and *either* of its ports make a watched key.
/// These are flows that this node dialled to the endpoint, and flows that the peer dialled to the
/// service of this node on the same port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WatchKey {
    /// Canonical, as in [`FlowRecord`].
    pub addr: [u8; 16],
    /// Host byte order; 0 watches every port of the address.
    pub port: u16,
    pub _pad: u16,
}

const _: () = assert!(size_of::<WatchKey>() == 20);

/// The size of the `ADDRESSES` map, which has a bit for each watched address, in words of 64 bits.
pub const FILTER_WORDS: u32 = 1024;

/// The bit of an address in the `ADDRESSES` map: its word, and the bit itself. Some addresses share
/// one.
#[inline(always)]
pub const fn filter_bit(addr: &[u8; 16]) -> (u32, u64) {
    // Multiplicative hashing: the high bits depend on all others.
    let both = u128::from_ne_bytes(*addr);
    let mixed =
        ((both as u64).rotate_left(32) ^ (both >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bit = (mixed >> 48) as u32;
    (bit / 64 % FILTER_WORDS, 1 << (bit % 64))
}

/// The capacity of the `NAMESPACES` map: twice the most namespaces that are watched at a time,
/// because new ones are added before old ones are removed.
pub const MAX_NAMESPACES: u32 = 32;

/// The bits of the values in the `WATCHED` map.
pub mod watch_flag {
    /// Also report completed handshakes; set while the peer is not Alive.
    pub const REPORT_ESTABLISHED: u32 = 1;
}

/// The indices of the per-CPU `COUNTERS` array.
pub mod counter {
    /// Records that were put on the ring.
    pub const RECORDS: u32 = 0;
    /// Records for which the ring was full; their state is in the map.
    pub const RING_DROPS: u32 = 1;
    /// Flows for which the map was full.
    pub const FLOWS_FULL: u32 = 2;
    /// Retransmissions of watched flows that made no record.
    pub const RETRANSMITS: u32 = 3;
    /// Entries that were added to the `FLOWS` map.
    pub const FLOWS_ADDED: u32 = 4;
    /// Entries that the programs removed from the `FLOWS` map.
    pub const FLOWS_REMOVED: u32 = 5;
    /// The number of counters.
    pub const COUNT: u32 = 6;
}
