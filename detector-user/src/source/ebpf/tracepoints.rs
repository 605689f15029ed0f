//! The tracepoints that programs attach to, by their names in the kernel.

use std::fmt;

/// A tracepoint that a program attaches to. The program bears the tracepoint's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    pub category: &'static str,
    pub name: &'static str,
    /// Which kernels have it, as far as this was checked.
    pub kernels: &'static str,
    /// What the tracepoint is for, and what is lost without it.
    pub meaning: &'static str,
}

impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.category, self.name)
    }
}

pub const CONG_STATE_SET: Tracepoint = Tracepoint {
    category: "tcp",
    name: "tcp_cong_state_set",
    kernels: "6.1 and later, not 5.10",
    meaning: "shows each retransmission time-out and each recovery; without it time-outs are \
              seen only for segments that could still be sent, and recoveries not at all",
};
pub const RETRANSMIT_SKB: Tracepoint = Tracepoint {
    category: "tcp",
    name: "tcp_retransmit_skb",
    kernels: "5.10 and later",
    meaning: "shows tail loss probes, the earliest sign; without it the first sign is the \
              retransmission time-out, 200 ms later",
};
pub const SOCK_SET_STATE: Tracepoint = Tracepoint {
    category: "sock",
    name: "inet_sock_set_state",
    kernels: "5.10 and later",
    meaning: "shows connects that succeed or fail and flows that end; without it a failed \
              connect is not evidence and ended flows stay in the map",
};
pub const ERROR_REPORT: Tracepoint = Tracepoint {
    category: "sock",
    name: "inet_sk_error_report",
    kernels: "6.1 and later, not 5.10",
    meaning: "shows errors on a socket as they are raised; without it they are seen when the \
              flow closes",
};

/// All tracepoints, in the order in which they are attached.
pub const TRACEPOINTS: [Tracepoint; 4] =
    [CONG_STATE_SET, RETRANSMIT_SKB, SOCK_SET_STATE, ERROR_REPORT];

/// Since 6.17 `tcp_retransmit_skb` has a third argument: the result of the transmission.
pub const RETRANSMIT_WITH_ERROR: usize = 3;
