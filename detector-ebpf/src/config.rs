//! The configuration that user space passes to the programs before they are loaded: the global
//! [`CONFIG`].
//!
//! Nothing of the kernel's layout is compiled in: the offsets of a socket's fields come from the
//! running kernel's BTF. The global is read-only after loading, so the verifier treats it as
//! constants and removes code for what this kernel does not have.
//!
//! [`CONFIG`]: CONFIG_NAME

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The name of the global that holds the [`Config`].
pub const CONFIG_NAME: &str = "CONFIG";

/// The offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// The bits of [`Config::flags`].
pub mod config_flag {
    /// `tcp_cong_state_set` is attached, and reports RTOs in place of `tcp_retransmit_skb`.
    pub const CONG_STATE: u32 = 1;
    /// `tcp_retransmit_skb` reports whether the segment was sent (since 6.17).
    pub const RETRANSMIT_ERROR: u32 = 2;
    /// Flows of the namespaces in the `NAMESPACES` map are watched, too.
    pub const OTHER_NAMESPACES: u32 = 4;
}

/// The offsets of the socket's fields that go into a record. Every offset except `net_inum` is from
/// the start of `struct tcp_sock`, which is also the start of `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketOffsets {
    /// `sock_common.skc_family`, `u16`.
    pub family: u16,
    /// `sock_common.skc_dport`, big-endian `u16`.
    pub remote_port: u16,
    /// `sock_common.skc_daddr`, four octets.
    pub remote_v4: u16,
    /// `sock_common.skc_v6_daddr`, 16 octets.
    pub remote_v6: u16,
    /// `inet_sock.inet_sport`, big-endian `u16`. A closing socket still has it, when `skc_num` is
    /// already 0.
    pub local_port: u16,
    /// `inet_sock.inet_saddr`, four octets.
    pub local_v4: u16,
    /// `sock_common.skc_v6_rcv_saddr`, 16 octets.
    pub local_v6: u16,
    /// `sock.sk_protocol`, `u16`.
    pub protocol: u16,
    /// `sock_common.skc_state`, `u8`.
    pub state: u16,
    /// `sock_common.skc_cookie`, `u64`.
    pub cookie: u16,
    /// `sock_common.skc_net`, a pointer to `struct net`.
    pub net: u16,
    /// `net.ns.inum`, `u32`, from the start of `struct net`.
    pub net_inum: u16,
    /// `sock.sk_err`, `int`.
    pub err: u16,
    /// `inet_connection_sock.icsk_pending`, `u8`.
    pub pending: u16,
    /// `inet_connection_sock.icsk_retransmits`, `u8`.
    pub retransmits: u16,
    /// `inet_connection_sock.icsk_backoff`, `u8`.
    pub backoff: u16,
    /// `inet_connection_sock.icsk_probes_out`, `u8`.
    pub probes_out: u16,
    /// `inet_connection_sock.icsk_rto`, `u32`, jiffies.
    pub rto: u16,
    /// `inet_connection_sock.icsk_ack.lrcvtime`, `u32`, jiffies.
    pub lrcvtime: u16,
    /// `tcp_sock.rcv_tstamp`, `u32`, jiffies.
    pub rcv_tstamp: u16,
    /// `tcp_sock.snd_una`, `u32`.
    pub snd_una: u16,
    /// `tcp_sock.snd_nxt`, `u32`.
    pub snd_nxt: u16,
    /// `tcp_sock.snd_wnd`, `u32`.
    pub snd_wnd: u16,
    /// `tcp_sock.packets_out`, `u32`.
    pub packets_out: u16,
    /// `tcp_sock.srtt_us`, `u32`, eighths of a microsecond.
    pub srtt: u16,
    /// `tcp_sock.rcv_nxt`, `u32`.
    pub rcv_nxt: u16,
    /// `tcp_sock.rcv_wup`, `u32`.
    pub rcv_wup: u16,
    /// `tcp_sock.rcv_wnd`, `u32`.
    pub rcv_wnd: u16,
    /// `tcp_sock.rx_opt.ts_recent`, `u32`.
    pub ts_recent: u16,
    /// `tcp_sock.tsoffset`, `u32`.
    pub tsoffset: u16,
    /// `tcp_sock.tcp_header_len`, `u16`.
    pub header_len: u16,
    /// The byte of `tcp_sock.rx_opt` with `snd_wscale` in its low half and `rcv_wscale` in its high
    /// half.
    pub window_scales: u16,
    /// `tcp_sock.tcp_clock_cache`, `u64`, nanoseconds.
    pub clock_cache: u16,
    /// `tcp_sock.tcp_wstamp_ns`, `u64`.
    pub wstamp: u16,
    /// `tcp_sock.tcp_usec_ts`, in bits instead of bytes; since 6.7, may be [`ABSENT`].
    pub usec_ts_bit: u16,
    pub _pad: [u16; 1],
}

/// The type of the global.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// The length of a jiffy, in nanoseconds.
    pub jiffy_ns: u64,
    /// The inode of the network namespace whose flows are watched;
    /// [`config_flag::OTHER_NAMESPACES`] adds further ones; 0 means all.
    pub netns: u32,
    /// The bits of [`config_flag`].
    pub flags: u32,
    pub socket: SocketOffsets,
}

const _: () = assert!(size_of::<Config>() == 88);

impl SocketOffsets {
    /// No offset is known.
    pub const ABSENT: Self = Self {
        family: ABSENT,
        remote_port: ABSENT,
        remote_v4: ABSENT,
        remote_v6: ABSENT,
        local_port: ABSENT,
        local_v4: ABSENT,
        local_v6: ABSENT,
        protocol: ABSENT,
        state: ABSENT,
        cookie: ABSENT,
        net: ABSENT,
        net_inum: ABSENT,
        err: ABSENT,
        pending: ABSENT,
        retransmits: ABSENT,
        backoff: ABSENT,
        probes_out: ABSENT,
        rto: ABSENT,
        lrcvtime: ABSENT,
        rcv_tstamp: ABSENT,
        snd_una: ABSENT,
        snd_nxt: ABSENT,
        snd_wnd: ABSENT,
        packets_out: ABSENT,
        srtt: ABSENT,
        rcv_nxt: ABSENT,
        rcv_wup: ABSENT,
        rcv_wnd: ABSENT,
        ts_recent: ABSENT,
        tsoffset: ABSENT,
        header_len: ABSENT,
        window_scales: ABSENT,
        clock_cache: ABSENT,
        wstamp: ABSENT,
        usec_ts_bit: ABSENT,
        _pad: [0; 1],
    };
}

impl Config {
    /// Nothing is known about this kernel: the contents of the object file before loading.
    pub const ABSENT: Self = Self {
        jiffy_ns: 0,
        netns: 0,
        flags: 0,
        socket: SocketOffsets::ABSENT,
    };
}
