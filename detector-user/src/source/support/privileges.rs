//! What this process may do, read from /proc.

use crate::check::{Check, Status};

/// A capability that the daemon uses (include/uapi/linux/capability.h).
struct Capability {
    name: &'static str,
    bit: u32,
    without: Status,
    meaning: &'static str,
}

const CAPABILITIES: [Capability; 3] = [
    Capability {
        name: "CAP_BPF",
        bit: 39,
        without: Status::Missing,
        meaning: "loads the programs and creates their maps; before kernel 5.8 CAP_SYS_ADMIN does",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        without: Status::Missing,
        meaning: "attaches the programs to tracepoints and lets them read sockets; before kernel \
                  5.8 CAP_SYS_ADMIN does",
    },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        without: Status::Degraded,
        meaning: "lets the daemon destroy the sockets of a dead peer, protect services by their \
                  cgroups and drive neighbour discovery; verdicts do not need it",
    },
];
/// Includes all of the above on kernels that do not split it.
pub(super) const CAP_SYS_ADMIN: u32 = 21;
/// Lets a process raise its own limits.
pub(super) const CAP_SYS_RESOURCE: u32 = 24;

/// `CapEff` of a `/proc/PID/status`; 0 where there is none.
pub(super) fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

pub(super) fn capabilities(effective: u64) -> Vec<Check> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    CAPABILITIES
        .iter()
        .map(|capability| {
            let is_implied = capability.name != "CAP_NET_ADMIN" && has(CAP_SYS_ADMIN);
            let (status, found) = if has(capability.bit) {
                (Status::Ok, "effective")
            } else if is_implied {
                (Status::Ok, "implied by CAP_SYS_ADMIN")
            } else {
                (capability.without, "not effective")
            };
            Check::new(capability.name, status, found, capability.meaning)
        })
        .collect()
}

pub(super) fn locked_memory(limits: &str, effective: u64) -> Check {
    let name = "RLIMIT_MEMLOCK";
    let meaning = "before kernel 5.11 the programs' maps (about 6 MiB) count against it; set \
                   LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`";
    match soft_limit(limits, "Max locked memory") {
        Some("unlimited") => Check::new(name, Status::Ok, "unlimited", meaning),
        // aya raises the limit if a map is refused.
        Some(bytes) if effective & (1 << CAP_SYS_RESOURCE) != 0 => Check::new(
            name,
            Status::Ok,
            format!("{bytes} bytes, lifted on loading: CAP_SYS_RESOURCE is effective"),
            meaning,
        ),
        Some(bytes) => {
            let is_enough = bytes.parse().is_ok_and(|bytes: u64| bytes >= 8 << 20);
            let status = if is_enough {
                Status::Ok
            } else {
                Status::Degraded
            };
            Check::new(name, status, format!("{bytes} bytes"), meaning)
        }
        None => Check::new(name, Status::Degraded, "unknown", meaning),
    }
}

/// The soft limit in a `/proc/PID/limits`.
pub(super) fn soft_limit<'a>(limits: &'a str, name: &str) -> Option<&'a str> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
}
