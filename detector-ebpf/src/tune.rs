//! `sockops`: sets options on new connections with watched endpoints, for programs that cannot be
//! changed.
//!
//! A socket is tuned once, when its connect begins or its handshake is completed, so options that
//! the program sets later remain. Options that a kernel lacks are left out (`TCP_BPF_RTO_MIN` and
//! `TCP_BPF_DELACK_MAX` are in 5.10, keepalive and user time-out in 5.9).
//! <https://github.com/torvalds/linux/blob/v5.10/net/core/filter.c#L4764>
//!
//! An accepted socket belongs to the cgroup of its listener. Its handshake is measured before the
//! program is called, with the kernel's own RTO min; its time-out decreases from there during the
//! first round trips (`tcp_rtt_estimator` in net/ipv4/tcp_input.c).

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_ops,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_socket_cookie, bpf_setsockopt},
    },
    macros::{map, sock_ops},
    maps::{LruHashMap, PerCpuArray, RingBuf},
    programs::SockOpsContext,
};
use detector_ebpf::{
    MAX_TUNED, TuneConfig, TunedSocket, tune_counter as counter, tuned_option as option,
};

use crate::tuple::Tuple;

/// `BPF_SOCK_OPS_TCP_CONNECT_CB` and so on, in include/uapi/linux/bpf.h.
const CONNECT: u32 = 3;
const ACTIVE_ESTABLISHED: u32 = 4;
const PASSIVE_ESTABLISHED: u32 = 5;
const STATE: u32 = 10;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`: requests calls with `STATE`.
const STATE_FLAG: u32 = 1 << 2;
const TCP_CLOSE: u32 = 7;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;
const SOL_TCP: i32 = 6;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_KEEPCNT: i32 = 6;
const TCP_USER_TIMEOUT: i32 = 18;
const TCP_BPF_DELACK_MAX: i32 = 1003;
const TCP_BPF_RTO_MIN: i32 = 1004;

/// The tuned sockets by their cookies.
#[map]
static TUNED: LruHashMap<u64, TunedSocket> = LruHashMap::with_max_entries(MAX_TUNED, 0);

/// Announces each tuned socket, if that is configured.
#[map]
static TUNED_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// The counters that `detector_ebpf::tune_counter` names.
#[map]
static TUNE_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// User space replaces it before the program is loaded.
#[unsafe(no_mangle)]
static TUNE: TuneConfig = TuneConfig::ABSENT;

/// Reads a field as it was loaded, and not the value that the compiler sees.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: the pointer is to a field of a static, aligned and initialised.
        unsafe { core::ptr::read_volatile(&raw const TUNE.$field) }
    };
}

/// Reads a field of the context separately: the verifier permits no access that spans two fields.
macro_rules! field {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: the kernel gave the context, and each of its fields can be read.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx.ops).$($field)+) }
    };
}

/// Always returns 1: 0 would hide the replies of other programs.
#[sock_ops]
pub fn tune_sockets(ctx: SockOpsContext) -> u32 {
    match field!(ctx, op) {
        CONNECT | ACTIVE_ESTABLISHED | PASSIVE_ESTABLISHED => {
            let _ = tune(&ctx);
        }
        STATE if field!(ctx, __bindgen_anon_1.args[1]) == TCP_CLOSE => forget(&ctx),
        _ => {}
    }
    1
}

#[inline(always)]
fn tune(ctx: &SockOpsContext) -> Option<()> {
    let tuple = tuple(ctx)?;
    tuple.watched()?;
    let cookie = cookie(ctx);
    if TUNED.get_ptr(&cookie).is_some() {
        return None;
    }
    let socket = TunedSocket {
        // SAFETY: the helper takes nothing and cannot fail.
        at_ns: unsafe { bpf_ktime_get_ns() },
        cookie,
        local_addr: tuple.local_addr,
        remote_addr: tuple.remote_addr,
        local_port: tuple.local_port,
        remote_port: tuple.remote_port,
        options: set_options(ctx),
    };
    if TUNED.insert(&cookie, &socket, 0).is_ok() {
        count(counter::TUNED);
        // The flags of other programs are kept. If this fails, the entry is replaced when it is the
        // least recently used.
        let _ = ctx.set_cb_flags((field!(ctx, bpf_sock_ops_cb_flags) | STATE_FLAG) as i32);
    }
    if config!(announce) != 0 && TUNED_EVENTS.output::<TunedSocket>(&socket, 0).is_err() {
        count(counter::RING_DROPS);
    }
    Some(())
}

#[inline(always)]
fn forget(ctx: &SockOpsContext) {
    if TUNED.remove(&cookie(ctx)).is_ok() {
        count(counter::CLOSED);
    }
}

#[inline(always)]
fn set_options(ctx: &SockOpsContext) -> u32 {
    let mut set = 0;
    if set_option(ctx, SOL_TCP, TCP_BPF_RTO_MIN, config!(rto_min_us)) {
        set |= option::RTO_MIN;
    }
    if set_option(
        ctx,
        SOL_TCP,
        TCP_BPF_DELACK_MAX,
        config!(delayed_ack_max_us),
    ) {
        set |= option::DELAYED_ACK_MAX;
    }
    if set_option(ctx, SOL_TCP, TCP_KEEPIDLE, config!(keepalive_idle_s)) {
        set_option(ctx, SOL_TCP, TCP_KEEPINTVL, config!(keepalive_interval_s));
        set_option(ctx, SOL_TCP, TCP_KEEPCNT, config!(keepalive_count));
        // This comes last: it starts the timer with the times above.
        if set_option(ctx, SOL_SOCKET, SO_KEEPALIVE, 1) {
            set |= option::KEEPALIVE;
        }
    }
    if set_option(ctx, SOL_TCP, TCP_USER_TIMEOUT, config!(user_timeout_ms)) {
        set |= option::USER_TIMEOUT;
    }
    set
}

/// Sets the option unless the value is 0; returns whether the kernel accepted it.
#[inline(always)]
fn set_option(ctx: &SockOpsContext, level: i32, name: i32, value: u32) -> bool {
    if value == 0 {
        return false;
    }
    let mut value = value;
    // SAFETY: the helper reads four bytes of a local.
    let result = unsafe { bpf_setsockopt(ctx.as_ptr(), level, name, (&raw mut value).cast(), 4) };
    result == 0
}

/// Both ends, canonical; `None` if the family is neither IPv4 nor IPv6.
///
/// All addresses are read, whatever the family, which the kernel permits. From reads in separate
/// branches, the compiler makes one read at a computed offset, which the verifier refuses.
#[inline(always)]
fn tuple(ctx: &SockOpsContext) -> Option<Tuple> {
    let (local_v4, remote_v4) = (field!(ctx, local_ip4), field!(ctx, remote_ip4));
    let local_v6 = [
        field!(ctx, local_ip6[0]),
        field!(ctx, local_ip6[1]),
        field!(ctx, local_ip6[2]),
        field!(ctx, local_ip6[3]),
    ];
    let remote_v6 = [
        field!(ctx, remote_ip6[0]),
        field!(ctx, remote_ip6[1]),
        field!(ctx, remote_ip6[2]),
        field!(ctx, remote_ip6[3]),
    ];
    let (local, remote) = match field!(ctx, family) {
        AF_INET => (mapped(local_v4), mapped(remote_v4)),
        AF_INET6 => (local_v6, remote_v6),
        _ => return None,
    };
    Some(Tuple {
        local_addr: bytes(local),
        remote_addr: bytes(remote),
        local_port: field!(ctx, local_port) as u16,
        // It is in network byte order, in the upper half on hosts with the other byte order.
        remote_port: u32::from_be(field!(ctx, remote_port)) as u16,
    })
}

#[inline(always)]
fn mapped(v4: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), v4]
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen bytes of plain data.
    unsafe { core::mem::transmute(words) }
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    let ops: *mut bpf_sock_ops = ctx.ops;
    // SAFETY: the helper takes the context that the kernel gave.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

#[inline(always)]
fn count(index: u32) {
    if let Some(value) = TUNE_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the map gave the pointer for this CPU's own slot.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}
