//! The programs that run in the kernel, one hook per file.
//!
//! ```text
//! tcp:tcp_cong_state_set     RTO, recovery                    cong_state
//! tcp:tcp_retransmit_skb     TLP; SYN and RTO on 5.10         retransmit
//! sock:inet_sock_set_state   established, failed, closed      set_state
//! sock:inet_sk_error_report  an error on a watched address    error_report
//!
//! cgroup/connect4, connect6  a connect to a dead peer         refuse
//! sockops                    options for a new connection     tune
//!
//! run by the daemon          where a flow stands              keepalive
//! ```
//!
//! Each tracepoint's program reads the addresses, ignores flows that are not watched, and passes
//! the event to [`flow`], which stores the state in `FLOWS` and rings the doorbell. None runs for
//! each packet. The programs for cgroups are only loaded if a service is protected.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod cong_state;
#[cfg(target_arch = "bpf")]
mod error_report;
#[cfg(target_arch = "bpf")]
mod flow;
#[cfg(target_arch = "bpf")]
mod globals;
#[cfg(target_arch = "bpf")]
mod keepalive;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod refuse;
#[cfg(target_arch = "bpf")]
mod retransmit;
#[cfg(target_arch = "bpf")]
mod set_state;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod tune;
#[cfg(target_arch = "bpf")]
mod tuple;

/// The kernel permits the helpers used here only for programs with a GPL-compatible licence.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
