//! The layouts of the programs that protect a service: *refuse* fails its connects to dead peers at
//! once, *tune* sets options on its sockets. Each is loaded separately, with its own maps.

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::WatchKey;

/// The name of the global that holds the [`RefuseConfig`].
pub const REFUSE_NAME: &str = "REFUSE";
/// The name of the global that holds the [`TuneConfig`].
pub const TUNE_NAME: &str = "TUNE";

/// The capacity of the `TUNED` map; the least recently used entry is replaced.
pub const MAX_TUNED: u32 = 4_096;

/// The bits of [`RefuseConfig::flags`].
pub mod refuse_flag {
    /// The kernel lets these programs choose the error (`bpf_set_retval`).
    pub const SET_RETVAL: u32 = 1;
    /// The kernel gives these programs the process id in the process's own pid namespace
    /// (`bpf_get_ns_current_pid_tgid`).
    pub const PID_IN_NAMESPACE: u32 = 2;
    /// The kernel does not, but the daemon is in the initial pid namespace.
    pub const PID_IN_INITIAL: u32 = 4;
}

/// The configuration of *refuse*: the daemon's process, and what this kernel supports.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RefuseConfig {
    /// The device of the daemon's pid namespace, as the kernel encodes it.
    pub pid_namespace_device: u64,
    /// The inode of the daemon's pid namespace.
    pub pid_namespace_inode: u64,
    /// The daemon's process id in that namespace.
    pub pid: u32,
    /// The bits of [`refuse_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<RefuseConfig>() == 24);

impl RefuseConfig {
    /// Nothing is known: the contents of the object file before loading.
    pub const ABSENT: Self = Self {
        pid_namespace_device: 0,
        pid_namespace_inode: 0,
        pid: 0,
        flags: 0,
    };
}

/// The options that *tune* sets on a socket; 0 leaves an option unchanged.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TuneConfig {
    /// `TCP_BPF_RTO_MIN`, in microseconds.
    pub rto_min_us: u32,
    /// `TCP_BPF_DELACK_MAX`, in microseconds.
    pub delayed_ack_max_us: u32,
    /// `TCP_KEEPIDLE`, in seconds. If it is set, so is `SO_KEEPALIVE`.
    pub keepalive_idle_s: u32,
    /// `TCP_KEEPINTVL`, in seconds.
    pub keepalive_interval_s: u32,
    /// `TCP_KEEPCNT`.
    pub keepalive_count: u32,
    /// `TCP_USER_TIMEOUT`, in milliseconds.
    pub user_timeout_ms: u32,
    /// 1 if each socket is also announced on the `TUNED_EVENTS` ring.
    pub announce: u32,
}

const _: () = assert!(size_of::<TuneConfig>() == 28);

impl TuneConfig {
    /// Sets nothing.
    pub const ABSENT: Self = Self {
        rto_min_us: 0,
        delayed_ack_max_us: 0,
        keepalive_idle_s: 0,
        keepalive_interval_s: 0,
        keepalive_count: 0,
        user_timeout_ms: 0,
        announce: 0,
    };
}

/// The bits of [`TunedSocket::options`]: the options that the kernel accepted.
pub mod tuned_option {
    pub const RTO_MIN: u32 = 1;
    pub const DELAYED_ACK_MAX: u32 = 2;
    pub const KEEPALIVE: u32 = 4;
    pub const USER_TIMEOUT: u32 = 8;
}

/// A socket that *tune* has tuned; its cookie is the key in the `TUNED` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TunedSocket {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    pub cookie: u64,
    /// Canonical, as in [`crate::FlowRecord`].
    pub local_addr: [u8; 16],
    /// Canonical.
    pub remote_addr: [u8; 16],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub remote_port: u16,
    /// The bits of [`tuned_option`].
    pub options: u32,
}

const _: () = assert!(size_of::<TunedSocket>() == 56);

/// The indices of the per-CPU `TUNE_COUNTERS` array.
pub mod tune_counter {
    /// Entries that were added to the `TUNED` map.
    pub const TUNED: u32 = 0;
    /// Entries that the program removed because their sockets were closed.
    pub const CLOSED: u32 = 1;
    /// Sockets for which the ring was full.
    pub const RING_DROPS: u32 = 2;
    /// The number of counters.
    pub const COUNT: u32 = 3;
}

/// An address in the form of records and keys: IPv4 as `::ffff:a.b.c.d`.
pub const fn canonical(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

impl WatchKey {
    /// The key of an endpoint.
    pub const fn of(addr: IpAddr, port: u16) -> Self {
        Self {
            addr: canonical(addr),
            port,
            _pad: 0,
        }
    }
}
