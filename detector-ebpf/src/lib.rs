//! The layouts both sides share: records, keys, counters, and the [`Config`] that user space
//! hands over.
//!
//! The kernel side fills a [`FlowRecord`], keeps it in the `FLOWS` map (the state) and
//! puts it on the `EVENTS` ring (the doorbell). The daemon reads both with the same types.
//!
//! Everything here is plain old data: `repr(C)`, explicit padding, no enum and no bool, so
//! that any byte pattern is a valid value and a reader checks meaning, not memory.
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
    SEQUENCES_HEADER, Sequences, SequencesPacket, SequencesQuery, sequences_result,
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a [`FlowRecord`] says happened. Kept as `u32` in the record.
pub mod record_kind {
    /// A tail loss probe was sent: the first sign that something is unanswered.
    pub const TLP: u32 = 1;
    /// The retransmission timer fired; `rto_count` counts this one.
    pub const RTO: u32 = 2;
    /// The handshake's SYN was sent again; `rto_count` counts this one.
    pub const SYN_RETRANSMIT: u32 = 3;
    /// A stalled flow left the Loss state: an ACK arrived.
    pub const RECOVERED: u32 = 4;
    /// A handshake was finished with a peer that the daemon asked to hear about.
    pub const ESTABLISHED: u32 = 5;
    /// A connect failed; `errno` says how (0: the caller gave up).
    pub const CONNECT_FAILED: u32 = 6;
    /// A flow the map held was closed; `errno` is the socket's error (0: an orderly close).
    pub const CLOSED: u32 = 7;
    /// The kernel reported `errno` on the socket.
    pub const ERROR_REPORT: u32 = 8;
}

/// Bits of [`FlowRecord::flags`].
pub mod record_flag {
    /// The retransmission could not leave this host (`err` −16, kernels ≥ 6.17): it says
    /// nothing about the peer.
    pub const NOT_SENT: u8 = 1;
}

/// One flow, as the kernel saw it when something happened to it.
///
/// Addresses are canonical: an IPv4 address, v4-mapped or not, is stored as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowRecord {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    /// The socket cookie; 0 while nobody has asked the kernel for one.
    pub cookie: u64,
    /// Time since the last ACK was taken (`rcv_tstamp`), in nanoseconds; resolution one
    /// jiffy.
    pub last_ack_age_ns: u64,
    /// Time since the last data arrived (`icsk_ack.lrcvtime`), in nanoseconds; resolution
    /// one jiffy. Data whose ACK number does not advance leaves `last_ack_age_ns` as it is.
    pub last_data_age_ns: u64,
    /// Inode of the network namespace; 0 when unknown.
    pub netns: u32,
    /// One of [`record_kind`].
    pub kind: u32,
    /// Positive errno, 0 for none.
    pub errno: u32,
    /// Bytes sent and not acknowledged (`snd_nxt - snd_una`).
    pub unacked_bytes: u32,
    /// Segments sent and not acknowledged (`packets_out`).
    pub packets_out: u32,
    /// The send window the peer has opened, in bytes; 0 is a zero window.
    pub snd_wnd_bytes: u32,
    /// Smoothed round-trip time, in microseconds.
    pub srtt_us: u32,
    /// Retransmission timeout now in force (backed off), in microseconds.
    pub rto_us: u32,
    /// Retransmissions of this flow the kernel side has counted since it tracks the flow.
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
    /// `icsk_probes_out`: zero-window or keepalive probes unanswered.
    pub probes_out: u8,
    /// The TCP state (`TCP_ESTABLISHED` = 1, …) when the record was made; of a flow that
    /// is being closed, the state it leaves; 0 when unknown.
    pub tcp_state: u8,
    /// Bits of [`record_flag`].
    pub flags: u8,
    pub _pad: [u8; 3],
}

const _: () = assert!(size_of::<FlowRecord>() == 112);
const _: () = assert!(align_of::<FlowRecord>() == 8);

/// Key of the `FLOWS` map: the namespace is part of it, for the same addresses recur in
/// every namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey {
    /// The socket cookie, or the socket's kernel address while it has no cookie. The two
    /// cannot collide: a kernel address has its top bit set, a cookie is a small counter.
    /// Of a final record, its time: the socket's address may be another's by now.
    pub id: u64,
    pub netns: u32,
    /// 1 when this is a flow's last record, kept because the ring was full.
    pub is_final: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 16);

/// Key of the `WATCHED` map: an endpoint of a peer.
///
/// A flow is the peer's when its remote address and *either* of its ports make a watched
/// key: flows we dialled to the endpoint, and flows the peer dialled to our service on the
/// same port.
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

/// What the `NAMESPACES` map holds at most: twice what is watched at a time, for new ones are
/// added before old ones are removed.
pub const MAX_NAMESPACES: u32 = 32;

/// Bits of the `WATCHED` map's value.
pub mod watch_flag {
    /// Also report handshakes that succeed: set while the peer is not Alive.
    pub const REPORT_ESTABLISHED: u32 = 1;
}

/// Indices of the per-CPU `COUNTERS` array.
pub mod counter {
    /// Records put on the ring.
    pub const RECORDS: u32 = 0;
    /// Records that found the ring full; the state is in the map.
    pub const RING_DROPS: u32 = 1;
    /// Flows that found the map full.
    pub const FLOWS_FULL: u32 = 2;
    /// Retransmissions of watched flows that raised no record.
    pub const RETRANSMITS: u32 = 3;
    /// Entries made in the `FLOWS` map.
    pub const FLOWS_ADDED: u32 = 4;
    /// Entries that the programs removed from the `FLOWS` map.
    pub const FLOWS_REMOVED: u32 = 5;
    /// Number of counters.
    pub const COUNT: u32 = 6;
}
