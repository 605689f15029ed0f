//! Reads the current sequence numbers of flows, so that the daemon can probe their peers with
//! keepalive segments.
//!
//! It is a classifier that is attached nowhere. The daemon runs it, and the socket is looked up in
//! the network namespace of the calling thread (`bpf_prog_test_run_skb` uses
//! `current->nsproxy->net_ns`), so one program serves all namespaces.
//! <https://github.com/torvalds/linux/blob/v6.18/net/bpf/test_run.c#L985>
//!
//! The lookup uses the whole tuple, costs as much as receiving a segment, and does not lock the
//! socket. It is unchanged since 5.10.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::generated::{bpf_probe_read_kernel, bpf_sk_lookup_tcp, bpf_sk_release},
    macros::classifier,
    programs::TcContext,
};
use detector_ebpf::{
    ABSENT, SEQUENCES_AT_ONCE, SEQUENCES_HEADER, Sequences, SequencesPacket, SequencesQuery,
    sequences_result,
};

use crate::{globals::config, socket::Socket};

/// `struct bpf_sock_tuple` of each family; the kernel distinguishes them by their length.
#[repr(C)]
struct Tuple4 {
    remote_addr: [u8; 4],
    local_addr: [u8; 4],
    remote_port: [u8; 2],
    local_port: [u8; 2],
}

#[repr(C)]
struct Tuple6 {
    remote_addr: [u8; 16],
    local_addr: [u8; 16],
    remote_port: [u8; 2],
    local_port: [u8; 2],
}

/// Reads a field of the socket separately, as the verifier requires.
macro_rules! field {
    ($socket:expr, $field:ident) => {
        // SAFETY: the look-up gave the socket, and each of its fields can be read.
        unsafe { core::ptr::read_volatile(&raw const (*$socket).$field) }
    };
}

#[classifier]
pub fn keepalive(ctx: TcContext) -> i32 {
    let mut at = SEQUENCES_HEADER;
    for _ in 0..SEQUENCES_AT_ONCE {
        // The packet ends here.
        let Ok(query) = ctx.load::<SequencesQuery>(at) else {
            break;
        };
        if !answer(&ctx, &query, at + offset_of!(SequencesPacket, answer)) {
            return sequences_result::MALFORMED as i32;
        }
        at += size_of::<SequencesPacket>();
    }
    match at {
        SEQUENCES_HEADER => sequences_result::MALFORMED as i32,
        _ => sequences_result::ANSWERED as i32,
    }
}

/// Puts the flow's numbers at this place in the packet, if there is such a flow; returns whether
/// there was room.
#[inline(always)]
fn answer(ctx: &TcContext, query: &SequencesQuery, place: usize) -> bool {
    let socket = find(ctx, query);
    if socket.is_null() {
        return true;
    }
    let sequences = describe(socket);
    // SAFETY: the look-up gave the socket, and it is not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    ctx.store(place, &sequences, 0).is_ok()
}

/// The socket that would receive a segment from the peer.
#[inline(always)]
fn find(ctx: &TcContext, query: &SequencesQuery) -> *mut bpf_sock {
    if query.version == 4 {
        let [a, b, c, d, ..] = query.remote_addr;
        let [e, f, g, h, ..] = query.local_addr;
        let tuple = Tuple4 {
            remote_addr: [a, b, c, d],
            local_addr: [e, f, g, h],
            remote_port: query.remote_port,
            local_port: query.local_port,
        };
        return look_up(ctx, &tuple);
    }
    let tuple = Tuple6 {
        remote_addr: query.remote_addr,
        local_addr: query.local_addr,
        remote_port: query.remote_port,
        local_port: query.local_port,
    };
    look_up(ctx, &tuple)
}

#[inline(always)]
fn look_up<T>(ctx: &TcContext, tuple: &T) -> *mut bpf_sock {
    let tuple: *const T = tuple;
    // SAFETY: the helper reads the tuple, whose size it is told.
    unsafe {
        bpf_sk_lookup_tcp(
            ctx.skb.skb.cast(),
            tuple.cast_mut().cast::<bpf_sock_tuple>(),
            size_of::<T>() as u32,
            BPF_F_CURRENT_NETNS as u64,
            0,
        )
    }
}

#[inline(always)]
fn describe(socket: *mut bpf_sock) -> Sequences {
    let fields = Socket::at(address(socket));
    Sequences {
        cookie: fields.read(config!(socket.cookie)),
        sent_ns: sent_ns(fields),
        snd_una: fields.read(config!(socket.snd_una)),
        rcv_nxt: fields.read(config!(socket.rcv_nxt)),
        rcv_wup: fields.read(config!(socket.rcv_wup)),
        rcv_wnd: fields.read(config!(socket.rcv_wnd)),
        snd_wnd: fields.read(config!(socket.snd_wnd)),
        ts_recent: fields.read(config!(socket.ts_recent)),
        tsoffset: fields.read(config!(socket.tsoffset)),
        mark: field!(socket, mark),
        header_len: fields.read(config!(socket.header_len)),
        tcp_state: field!(socket, state) as u8,
        window_scales: fields.read(config!(socket.window_scales)),
        usec_ts: usec_ts(fields),
    }
}

/// The time stamp of the next segment if the clock were not read again (`__tcp_transmit_skb` in
/// net/ipv4/tcp_output.c).
#[inline(always)]
fn sent_ns(fields: Socket) -> u64 {
    let clock: u64 = fields.read(config!(socket.clock_cache));
    let paced: u64 = fields.read(config!(socket.wstamp));
    if clock > paced { clock } else { paced }
}

#[inline(always)]
fn usec_ts(fields: Socket) -> u32 {
    let bit = config!(socket.usec_ts_bit);
    if bit == ABSENT {
        return 0;
    }
    let byte: u8 = fields.read(bit / 8);
    u32::from(byte >> (bit % 8)) & 1
}

/// The socket's address as a number. The verifier permits no arithmetic on a pointer to a socket,
/// but a value that is copied from the stack is a number.
#[inline(always)]
fn address(socket: *mut bpf_sock) -> u64 {
    let mut address = 0u64;
    // SAFETY: both are eight bytes on the stack.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut address).cast(),
            size_of::<u64>() as u32,
            (&raw const socket).cast(),
        );
    }
    address
}
