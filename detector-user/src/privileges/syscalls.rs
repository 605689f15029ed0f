//! The filter of system calls (seccomp(2)): what the daemon calls once it works, and nothing else.
//!
//! Any other call fails with ENOSYS; the daemon is not killed for it. A C library or a kernel that
//! nobody has tried yet may need a call that is missing here. Then the C library falls back to an
//! older call, or one function is lost and says so in the log, where a daemon that is killed loses
//! everything, again at each start. An attacker gets no further either way. `seccomp = "log"` finds
//! such calls: all are carried out, and the kernel logs those that are missing here. It does not log
//! those that fail (docs/decisions/0009-refused-calls-are-enosys.md).
//!
//! The list was read off `strace` while all suites of lab tests ran, with the calls added that C
//! libraries make in their place.

use std::{collections::BTreeMap, fs};

use nix::libc::{self, c_long};
use rustix::thread::CapabilitySet;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use thiserror::Error;

use crate::{
    check::{Check, Status},
    config::Seccomp,
};

/// Why there is no filter.
#[derive(Debug, Error)]
#[error("{0}; the kernel needs CONFIG_SECCOMP_FILTER; seccomp = \"off\" says that none is wanted")]
pub struct FilterError(String);

/// What becomes of a call that is not in the list.
const REFUSED: SeccompAction = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());

/// Filters the system calls of all threads from now on.
pub(super) fn filter(wanted: Seccomp, kept: CapabilitySet) -> Result<(), FilterError> {
    let others = match wanted {
        Seccomp::Off => return Ok(()),
        Seccomp::On => REFUSED,
        Seccomp::Log => SeccompAction::Log,
    };
    let failed = |error: &dyn std::error::Error| FilterError(error.to_string());
    let program = program(others, kept).map_err(|error| failed(&error))?;
    apply_filter_all_threads(&program).map_err(|error| failed(&error))
}

fn program(
    others: SeccompAction,
    kept: CapabilitySet,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.map(|call| (call, Vec::new())).into();
    rules.extend(OLD_CALLS.map(|call| (call, Vec::new())));
    rules.insert(libc::SYS_socket, one_of(0, &FAMILIES)?);
    rules.insert(libc::SYS_bpf, one_of(0, &BPF_COMMANDS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTL_OPTIONS)?);
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_clone, vec![rule(0, has(libc::CLONE_THREAD))?]);
    if kept.contains(CapabilitySet::SYS_ADMIN) {
        let net = [libc::CLONE_NEWNET.cast_unsigned()];
        rules.insert(libc::SYS_setns, one_of(1, &net)?);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, others, SeccompAction::Allow, arch)?.try_into()
}

/// What passes whatever its arguments are.
#[rustfmt::skip]
const CALLS: [c_long; 96] = [
    // Memory, threads, time, the end.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap,
    libc::SYS_madvise, libc::SYS_membarrier, libc::SYS_futex, libc::SYS_rseq,
    libc::SYS_set_robust_list, libc::SYS_clone3, libc::SYS_capset, libc::SYS_gettid,
    libc::SYS_getpid, libc::SYS_sched_getaffinity, libc::SYS_sched_yield, libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom,
    libc::SYS_tgkill, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_prlimit64, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    // Descriptors and waiting.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev,
    libc::SYS_pwrite64, libc::SYS_close, libc::SYS_fcntl, libc::SYS_dup, libc::SYS_lseek,
    libc::SYS_ppoll, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_eventfd2, libc::SYS_pipe2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_pidfd_open, libc::SYS_memfd_create,
    // Files: the state directory, a recording, /proc, /sys.
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_statx, libc::SYS_fstat, libc::SYS_newfstatat,
    libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_mkdirat,
    libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown,
    libc::SYS_fchownat, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate,
    // Sockets.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_connect, libc::SYS_accept4, libc::SYS_shutdown,
    libc::SYS_socketpair, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt,
    libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg,
    libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg,
];

/// The same, of calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD_CALLS: [c_long; 16] = [
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_poll, libc::SYS_access,
    libc::SYS_readlink, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename,
    libc::SYS_renameat, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLD_CALLS: [c_long; 1] = [libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLD_CALLS: [c_long; 0] = [];

/// The kinds of sockets: clients; metrics, look-ups and connects; netlink; ARP.
const FAMILIES: [u32; 5] = [
    libc::AF_UNIX.cast_unsigned(),
    libc::AF_INET.cast_unsigned(),
    libc::AF_INET6.cast_unsigned(),
    libc::AF_NETLINK.cast_unsigned(),
    libc::AF_PACKET.cast_unsigned(),
];

/// What is done with programs and maps that are there: `enum bpf_cmd` in include/uapi/linux/bpf.h.
const BPF_COMMANDS: [u32; 12] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    8,  // BPF_PROG_ATTACH, to a cgroup, before 5.7
    9,  // BPF_PROG_DETACH
    10, // BPF_PROG_TEST_RUN, for the sequence numbers of a flow
    15, // BPF_OBJ_GET_INFO_BY_FD
    24, // BPF_MAP_LOOKUP_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
    28, // BPF_LINK_CREATE, to a cgroup
];

const PRCTL_OPTIONS: [u32; 3] = [
    libc::PR_SET_NAME.cast_unsigned(),
    libc::PR_GET_NAME.cast_unsigned(),
    // The C library names its memory.
    libc::PR_SET_VMA.cast_unsigned(),
];

const IOCTLS: [u32; 8] = [
    libc::FIONBIO as u32,
    libc::FIONREAD as u32,
    libc::FIOCLEX as u32,
    libc::TCGETS as u32,
    libc::TIOCGWINSZ as u32,
    libc::SIOCGIFINDEX as u32,
    0xb701, // NS_GET_USERNS
    0xb704, // NS_GET_OWNER_UID
];

fn one_of(argument: u8, values: &[u32]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let is = |value: &u32| rule(argument, (SeccompCmpOp::Eq, u64::from(*value)));
    values.iter().map(is).collect()
}

fn has(flag: libc::c_int) -> (SeccompCmpOp, u64) {
    let flag = u64::from(flag.cast_unsigned());
    (SeccompCmpOp::MaskedEq(flag), flag)
}

fn rule(
    argument: u8,
    (operator, value): (SeccompCmpOp, u64),
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument, Dword, operator, value,
    )?])
}

/// What `detector doctor` says of it: whether this kernel has filters (seccomp(2), /proc).
pub fn check_filter(wanted: Seccomp) -> Check {
    let name = "seccomp";
    let meaning = "once all is loaded, system calls that the daemon has no use for fail (on), or \
                   are logged (log)";
    if wanted == Seccomp::Off {
        let found = "seccomp = \"off\"";
        return Check::new(name, Status::Degraded, found, meaning);
    }
    let calls = CALLS.len();
    let found = |_| format!("{wanted}; {calls} system calls are let pass");
    let available = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let without = "no system calls are filtered; the kernel needs CONFIG_SECCOMP_FILTER";
    Check::tried(
        name,
        available.map(found),
        meaning,
        (Status::Degraded, without),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::privileges) fn filter_this_thread(kept: CapabilitySet) {
        let program = program(REFUSED, kept).unwrap();
        seccompiler::apply_filter(&program).unwrap();
    }
}
