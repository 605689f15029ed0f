//! In what the kernels differ on which the lab may run: `cargo xtask test-vm` boots some of them.

use aya::util::KernelVersion;
use nix::libc::{EHOSTUNREACH, EPERM};

/// Whether the kernel that runs this is of this version or later.
pub fn is(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|running| running >= KernelVersion::new(major, minor, 0))
}

/// The error of a connect that is refused.
pub fn refused() -> i32 {
    if is(6, 1) { EHOSTUNREACH } else { EPERM }
}

/// Whether `sock:inet_sk_error_report` shows errors as they are raised.
pub fn reports_errors() -> bool {
    is(5, 15)
}

/// Whether `tcp:tcp_cong_state_set` shows each retransmission time-out.
pub fn shows_time_outs() -> bool {
    is(5, 19)
}
