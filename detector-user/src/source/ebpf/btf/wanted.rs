//! The fields of sockets that the programs read.

use detector_ebpf::SocketOffsets;

/// A special size: a bit field of four bits, the lower half of the byte at the offset. The next
/// field has always been the upper half, ever since the kernel has had window scales.
pub const LOW_HALF: usize = 0;

/// A field that the programs read.
pub struct Wanted {
    pub holder: &'static str,
    pub path: &'static str,
    pub size: usize,
    pub need: Need,
    pub slot: fn(&mut SocketOffsets) -> &mut u16,
}

/// How important a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without the field a record does not show what happened, or to which flow: the source does
    /// not start.
    Essential,
    /// Without the field a record shows less: its value is 0. Without the fields that keepalives
    /// need no keepalive is sent.
    Detail,
}

macro_rules! wanted {
    ($($need:ident $slot:ident: $holder:literal . $path:literal, $size:expr;)+) => {
        &[$(Wanted {
            holder: $holder,
            path: $path,
            size: $size,
            need: Need::$need,
            slot: |offsets| &mut offsets.$slot,
        },)+]
    };
}

/// All of them.
pub const WANTED: &[Wanted] = wanted! {
    Essential family: "sock_common"."skc_family", 2;
    Essential remote_port: "sock_common"."skc_dport", 2;
    Essential remote_v4: "sock_common"."skc_daddr", 4;
    Essential remote_v6: "sock_common"."skc_v6_daddr", 16;
    Essential local_port: "inet_sock"."inet_sport", 2;
    Essential local_v4: "inet_sock"."inet_saddr", 4;
    Essential local_v6: "sock_common"."skc_v6_rcv_saddr", 16;
    Essential protocol: "sock"."sk_protocol", 2;
    Essential state: "sock_common"."skc_state", 1;
    Essential cookie: "sock_common"."skc_cookie", 8;
    Essential net: "sock_common"."skc_net.net", 8;
    Essential net_inum: "net"."ns.inum", 4;
    Essential err: "sock"."sk_err", 4;
    Essential pending: "inet_connection_sock"."icsk_pending", 1;
    Essential retransmits: "inet_connection_sock"."icsk_retransmits", 1;
    Detail backoff: "inet_connection_sock"."icsk_backoff", 1;
    Detail probes_out: "inet_connection_sock"."icsk_probes_out", 1;
    Detail rto: "inet_connection_sock"."icsk_rto", 4;
    Detail lrcvtime: "inet_connection_sock"."icsk_ack.lrcvtime", 4;
    Essential rcv_tstamp: "tcp_sock"."rcv_tstamp", 4;
    Essential snd_una: "tcp_sock"."snd_una", 4;
    Essential snd_nxt: "tcp_sock"."snd_nxt", 4;
    Essential snd_wnd: "tcp_sock"."snd_wnd", 4;
    Essential packets_out: "tcp_sock"."packets_out", 4;
    Detail srtt: "tcp_sock"."srtt_us", 4;
    Detail rcv_nxt: "tcp_sock"."rcv_nxt", 4;
    Detail rcv_wup: "tcp_sock"."rcv_wup", 4;
    Detail rcv_wnd: "tcp_sock"."rcv_wnd", 4;
    Detail ts_recent: "tcp_sock"."rx_opt.ts_recent", 4;
    Detail clock_cache: "tcp_sock"."tcp_clock_cache", 8;
    Detail wstamp: "tcp_sock"."tcp_wstamp_ns", 8;
    Detail tsoffset: "tcp_sock"."tsoffset", 4;
    Detail header_len: "tcp_sock"."tcp_header_len", 2;
    Detail window_scales: "tcp_sock"."rx_opt.snd_wscale", LOW_HALF;
};
