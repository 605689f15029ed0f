//! `cgroup/connect4` and `cgroup/connect6`: a TCP connect to a dead peer's address fails at once,
//! instead of hanging until the caller gives up.
//!
//! If one of these programs returns 0, the connect fails with EPERM, unless `bpf_set_retval` sets
//! another error. connect6 also sees connects of a dual-stack socket to `::ffff:a.b.c.d`; connect4
//! does not see these again.
//! <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/cgroup.c#L67>
//!
//! The daemon renews a lease. If the daemon hangs, the lease expires and all connects pass, as
//! without the daemon. When its process ends, the programs are removed.
//!
//! The daemon's own connects are its probes; they pass, whatever its cgroup. Datagrams pass as
//! well, because sending one does not hang.

use aya_ebpf::{
    bindings::{bpf_pidns_info, bpf_sock_addr},
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_current_pid_tgid, bpf_get_ns_current_pid_tgid, bpf_set_retval},
    },
    macros::{cgroup_sock_addr, map},
    maps::{Array, HashMap, PerCpuArray},
    programs::SockAddrContext,
};
use detector_ebpf::{RefuseConfig, refuse_flag};

/// The return values of these programs.
const REFUSED: i32 = 0;
const ALLOWED: i32 = 1;

const SOCK_STREAM: u32 = 1;
const EHOSTUNREACH: i32 = 113;

/// `BPF_F_NO_PREALLOC`: most of the time no peer is dead.
const NO_PREALLOC: u32 = 1;

/// The addresses of dead peers, canonical; the values are the peers' indices in `REFUSALS`.
#[map]
static DEAD: HashMap<Address, u32> = HashMap::with_max_entries(16_384, NO_PREALLOC);

/// The number of refused connects by peer. User space sets the size.
#[map]
static REFUSALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// When the daemon's lease on `DEAD` expires, in nanoseconds of `CLOCK_MONOTONIC`.
#[map]
static LEASE: Array<u64> = Array::with_max_entries(1, 0);

/// User space replaces it before the programs are loaded.
#[unsafe(no_mangle)]
static REFUSE: RefuseConfig = RefuseConfig::ABSENT;

/// The 16 bytes of an address in network order, as the words of the context.
type Address = [u32; 4];

/// Reads a field as it was loaded, and not the value that the compiler sees.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: the pointer is to a field of a static, aligned and initialised.
        unsafe { core::ptr::read_volatile(&raw const REFUSE.$field) }
    };
}

/// Reads a field of the context separately: the verifier permits no access that spans two fields.
macro_rules! field {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: the kernel gave the context, and each of its fields can be read.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx).$($field)+) }
    };
}

#[cgroup_sock_addr(connect4)]
pub fn refuse_connect4(ctx: SockAddrContext) -> i32 {
    let ctx: *const bpf_sock_addr = ctx.sock_addr;
    verdict(ctx, [0, 0, 0xffff_u32.to_be(), field!(ctx, user_ip4)])
}

#[cgroup_sock_addr(connect6)]
pub fn refuse_connect6(ctx: SockAddrContext) -> i32 {
    let ctx: *const bpf_sock_addr = ctx.sock_addr;
    let addr = [
        field!(ctx, user_ip6[0]),
        field!(ctx, user_ip6[1]),
        field!(ctx, user_ip6[2]),
        field!(ctx, user_ip6[3]),
    ];
    verdict(ctx, addr)
}

#[inline(always)]
fn verdict(ctx: *const bpf_sock_addr, addr: Address) -> i32 {
    if field!(ctx, type_) != SOCK_STREAM {
        return ALLOWED;
    }
    // SAFETY: a value is a plain u32, and it is no problem if it changes concurrently.
    let Some(&peer) = (unsafe { DEAD.get(&addr) }) else {
        return ALLOWED;
    };
    if is_daemon() || has_expired() {
        return ALLOWED;
    }
    if let Some(refusals) = REFUSALS.get_ptr_mut(peer) {
        // SAFETY: the map gave the pointer for this CPU's own slot.
        unsafe { *refusals = (*refusals).wrapping_add(1) };
    }
    if config!(flags) & refuse_flag::SET_RETVAL != 0 {
        // SAFETY: the helper takes a number; where the kernel lacks it, the verifier sees dead
        // code.
        unsafe { bpf_set_retval(-EHOSTUNREACH) };
    }
    REFUSED
}

/// Whether the daemon's lease has expired.
#[inline(always)]
fn has_expired() -> bool {
    // SAFETY: the helper takes nothing and cannot fail.
    let now = unsafe { bpf_ktime_get_ns() };
    LEASE.get(0).is_none_or(|&until| until < now)
}

/// Whether the connecting process is the daemon.
#[inline(always)]
fn is_daemon() -> bool {
    let flags = config!(flags);
    if flags & refuse_flag::PID_IN_NAMESPACE != 0 {
        let (device, inode) = (config!(pid_namespace_device), config!(pid_namespace_inode));
        let mut known = bpf_pidns_info { pid: 0, tgid: 0 };
        let size = size_of::<bpf_pidns_info>() as u32;
        // SAFETY: the helper writes the struct, whose size is passed to it.
        let failed = unsafe { bpf_get_ns_current_pid_tgid(device, inode, &raw mut known, size) };
        return failed == 0 && known.tgid == config!(pid);
    }
    if flags & refuse_flag::PID_IN_INITIAL != 0 {
        // SAFETY: the helper takes nothing and cannot fail.
        let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
        return process as u32 == config!(pid);
    }
    false
}
