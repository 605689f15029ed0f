//! What this kernel and these privileges allow, as typed answers: `detector doctor` prints
//! them, and a source that cannot start says the same.

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use aya::util::KernelVersion;

use super::ebpf::{
    CONG_STATE_SET, ERROR_REPORT, EbpfOptions, Loaded, RETRANSMIT_SKB, SOCK_SET_STATE,
    SocketLayout, TracefsError, Tracepoint, Tracepoints, VMLINUX, mount_point,
};
use super::{
    network::{Survey, survey},
    probe,
};
use crate::{
    check::{Check, Status},
    netlink::sock_diag::SockDiag,
    object::{OBJECT, counts_locked_memory},
};

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
/// Stands for all of the above on kernels that do not split it.
const CAP_SYS_ADMIN: u32 = 21;
/// Lets a process lift its own limits.
const CAP_SYS_RESOURCE: u32 = 24;

/// Looks at everything, and tries to load the programs. `peers` are the addresses that the
/// configuration names.
pub fn checks(peers: &BTreeSet<IpAddr>) -> Vec<Check> {
    let mut checks = vec![kernel(), object(), tracefs()];
    checks.extend(tracepoints());
    checks.extend(btf());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective_capabilities(&status);
    checks.extend(capabilities(effective));
    if counts_locked_memory() {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        checks.push(locked_memory(&limits, effective));
    }
    checks.push(trial_load());
    checks.push(socket_dump());
    checks.push(rtnetlink(peers));
    checks.push(neighbour_probes(probe::Access::try_out()));
    checks
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |error| format!("unknown: {error}"),
        |text| text.trim().to_owned(),
    );
    let (status, meaning) = match KernelVersion::current() {
        Err(_) => (Status::Degraded, "the version decides nothing by itself"),
        Ok(version) if version < KernelVersion::new(5, 8, 0) => (
            Status::Missing,
            "the eBPF source needs the ring buffer of kernel 5.8; use the sock_diag source",
        ),
        Ok(_) => (Status::Ok, "has the ring buffer that the eBPF source needs"),
    };
    Check::new("kernel", status, release, meaning)
}

fn object() -> Check {
    let name = "eBPF object";
    match OBJECT {
        Some(object) => Check::new(
            name,
            Status::Ok,
            format!("built in, {} KiB", object.len().div_ceil(1024)),
            "the eBPF source can be used",
        ),
        None => Check::new(
            name,
            Status::Missing,
            "not built in",
            "only the sock_diag source can be used; run `cargo xtask build-ebpf` and build the \
             daemon again",
        ),
    }
}

fn tracefs() -> Check {
    let name = "tracefs";
    match mount_point() {
        Ok(path) => Check::new(
            name,
            Status::Ok,
            format!("mounted at {}", path.display()),
            "describes the tracepoints' records",
        ),
        Err(error) => Check::new(
            name,
            Status::Missing,
            error.to_string(),
            "without it no tracepoint can be used, so neither can the eBPF source; a daemon that is \
             not root needs CAP_DAC_READ_SEARCH to read it",
        ),
    }
}

fn tracepoints() -> Vec<Check> {
    let found = Tracepoints::read();
    let one = |tracepoint: &Tracepoint, is_there: fn(&Tracepoints) -> bool| {
        let name = format!("tracepoint {}:{}", tracepoint.category, tracepoint.name);
        let (status, what) = match &found {
            Ok(found) if is_there(found) => (Status::Ok, "there, layout understood".to_owned()),
            Ok(_) => (
                Status::Degraded,
                format!("this kernel has none; {} have it", tracepoint.kernels),
            ),
            Err(TracefsError::NotMounted) => (Status::Missing, "tracefs is not mounted".into()),
            Err(error) => (Status::Missing, error.to_string()),
        };
        Check::new(name, status, what, tracepoint.meaning)
    };
    vec![
        one(&CONG_STATE_SET, |found| found.cong_state.is_some()),
        one(&RETRANSMIT_SKB, |found| found.retransmit.is_some()),
        one(&SOCK_SET_STATE, |found| found.set_state.is_some()),
        one(&ERROR_REPORT, |found| found.error_report.is_some()),
    ]
}

fn btf() -> Vec<Check> {
    let name = format!("BTF {VMLINUX}");
    let meaning = "tells where a socket keeps its cookie, namespace, last ACK and window; \
                   without it tail loss probes are not recognised, flows of every namespace are \
                   looked at, and detection is slower";
    let layout = match SocketLayout::read(Path::new(VMLINUX)) {
        Ok(layout) => layout,
        Err(error) => {
            return vec![Check::new(
                name,
                Status::Degraded,
                error.to_string(),
                meaning,
            )];
        }
    };
    let known = layout.fields.iter().filter(|(_, field)| field.is_ok());
    let summary = format!("{} of {} fields found", known.count(), layout.fields.len());
    let status = if layout.missing().next().is_none() {
        Status::Ok
    } else {
        Status::Degraded
    };
    let mut checks = vec![Check::new(name, status, summary, meaning)];
    checks.extend(layout.fields.into_iter().map(|(field, found)| {
        let name = format!("BTF field {field}");
        match found {
            Ok(offset) => Check::new(name, Status::Ok, format!("at byte {offset}"), "readable"),
            Err(error) => Check::new(
                name,
                Status::Degraded,
                error.to_string(),
                if layout.is_sufficient {
                    "records do without it"
                } else {
                    "an essential field is missing: nothing of the socket is read"
                },
            ),
        }
    }));
    checks
}

/// `CapEff` of a `/proc/PID/status`; 0 where there is none.
fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn capabilities(effective: u64) -> Vec<Check> {
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

fn locked_memory(limits: &str, effective: u64) -> Check {
    let name = "RLIMIT_MEMLOCK";
    let meaning = "before kernel 5.11 the programs' maps (about 6 MiB) count against it; set \
                   LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`";
    match soft_limit(limits, "Max locked memory") {
        Some("unlimited") => Check::new(name, Status::Ok, "unlimited", meaning),
        // aya lifts it where a map is refused.
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
fn soft_limit<'a>(limits: &'a str, name: &str) -> Option<&'a str> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
}

fn trial_load() -> Check {
    let name = "loads and attaches";
    match Loaded::load(&EbpfOptions::default()) {
        Ok(loaded) => {
            let status = if loaded.has_socket_fields {
                Status::Ok
            } else {
                Status::Degraded
            };
            Check::new(
                name,
                status,
                format!(
                    "the verifier takes the programs; attached to {} tracepoints, and detached",
                    loaded.attached.len()
                ),
                "the eBPF source works here",
            )
        }
        Err(error) => Check::new(
            name,
            Status::Missing,
            error.to_string(),
            "the eBPF source does not work here; `--source auto` uses sock_diag, which polls",
        ),
    }
}

fn socket_dump() -> Check {
    let name = "sock_diag";
    match SockDiag::open().and_then(|mut sock_diag| sock_diag.read_all()) {
        Ok(_) => Check::new(
            name,
            Status::Ok,
            "the kernel dumps its TCP sockets",
            "gives the flows that nothing has happened to yet, and a source without eBPF",
        ),
        Err(error) => Check::new(
            name,
            Status::Degraded,
            error.to_string(),
            "without it a peer is known from what eBPF sees happen only, and there is nothing \
             to fall back to; try `modprobe tcp_diag`",
        ),
    }
}

fn rtnetlink(peers: &BTreeSet<IpAddr>) -> Check {
    let name = "rtnetlink";
    match survey(peers) {
        Ok(survey) => Check::new(
            name,
            Status::Ok,
            surveyed(&survey),
            "tells when this host itself is cut off, and which peers can be asked by ARP or \
             neighbour discovery",
        ),
        Err(error) => Check::new(
            name,
            Status::Degraded,
            error.to_string(),
            "without it a cut of this host itself is not told by its links, and peers are not \
             asked by ARP or neighbour discovery",
        ),
    }
}

fn surveyed(survey: &Survey) -> String {
    let mut found = format!("{} links are known", survey.links);
    for (name, up) in &survey.used {
        let state = if *up { "up" } else { "DOWN" };
        found += &format!("; peers are reached by {name}, which is {state}");
    }
    match survey.without_route {
        0 => found,
        count => found + &format!("; {count} peer addresses are this host's or have no route"),
    }
}

fn neighbour_probes(access: probe::Access) -> Check {
    let name = "neighbour probes";
    let meaning = "ask a silent peer on the same link by ARP or NDP, which its kernel answers \
                   in microseconds whatever its programs do";
    let without = "silent peers are asked by TCP connects alone, and a peer that drops these \
                   cannot be asked; give the daemon CAP_NET_RAW (AmbientCapabilities) and let \
                   it use AF_PACKET and AF_INET6 (RestrictAddressFamilies)";
    let (status, found) = match (access.arp, access.ndp) {
        (Ok(()), Ok(())) => (Status::Ok, "ARP and NDP can be sent".to_owned()),
        (Ok(()), Err(errno)) => (Status::Degraded, format!("ARP, but no NDP: {errno}")),
        (Err(errno), Ok(())) => (Status::Degraded, format!("NDP, but no ARP: {errno}")),
        (Err(arp), Err(ndp)) => (
            Status::Degraded,
            format!("neither ARP ({arp}) nor NDP ({ndp}) can be sent"),
        ),
    };
    let meaning = if status == Status::Ok {
        meaning
    } else {
        without
    };
    Check::new(name, status, found, meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_names_the_links_that_peers_are_reached_by() {
        let survey = Survey {
            links: 3,
            used: [("eth0".to_owned(), true), ("eth1".to_owned(), false)].into(),
            without_route: 1,
        };
        assert_eq!(
            surveyed(&survey),
            "3 links are known; peers are reached by eth0, which is up; peers are reached by \
             eth1, which is DOWN; 1 peer addresses are this host's or have no route"
        );
    }

    fn statuses(effective: u64) -> Vec<Status> {
        let checks = capabilities(effective);
        checks.iter().map(|check| check.status).collect()
    }

    #[test]
    fn reads_the_effective_set() {
        let status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective_capabilities(status), 0x1ff_ffff_ffff);
        assert_eq!(effective_capabilities("CapEff:\tzz\n"), 0);
        assert_eq!(effective_capabilities(""), 0);
    }

    #[test]
    fn reads_the_soft_limit() {
        let limits = "Limit                     Soft Limit           Hard Limit\n\
            Max locked memory         67108864             unlimited            bytes\n";
        assert_eq!(soft_limit(limits, "Max locked memory"), Some("67108864"));
        assert_eq!(soft_limit("", "Max locked memory"), None);
    }

    #[test]
    fn a_low_limit_of_locked_memory_matters_where_it_cannot_be_lifted() {
        let status = |limits, effective| locked_memory(limits, effective).status;
        let low = "Max locked memory         65536                65536                bytes\n";
        assert_eq!(status(low, 0), Status::Degraded);
        assert_eq!(status(low, 1 << CAP_SYS_RESOURCE), Status::Ok);
        assert_eq!(
            status("Max locked memory  8388608  8388608  bytes\n", 0),
            Status::Ok
        );
        assert_eq!(
            status("Max locked memory  unlimited  unlimited  bytes\n", 0),
            Status::Ok
        );
        assert_eq!(status("", 0), Status::Degraded);
    }

    #[test]
    fn each_capability_is_its_own_answer() {
        use Status::{Degraded, Missing, Ok};
        assert_eq!(statuses(0), [Missing, Missing, Degraded]);
        assert_eq!(statuses(1 << 39), [Ok, Missing, Degraded]);
        assert_eq!(statuses(1 << 39 | 1 << 38), [Ok, Ok, Degraded]);
        assert_eq!(statuses(1 << CAP_SYS_ADMIN), [Ok, Ok, Degraded]);
        assert_eq!(statuses(1 << 12), [Missing, Missing, Ok]);
    }

    #[test]
    fn neighbour_probes_want_both_kinds() {
        use nix::errno::Errno::{EAFNOSUPPORT, EPERM};
        let check = |arp, ndp| neighbour_probes(probe::Access { arp, ndp });
        assert_eq!(check(Ok(()), Ok(())).status, Status::Ok);
        for (arp, ndp) in [
            (Err(EPERM), Err(EPERM)),
            (Ok(()), Err(EAFNOSUPPORT)),
            (Err(EPERM), Ok(())),
        ] {
            let check = check(arp, ndp);
            assert_eq!(check.status, Status::Degraded);
            assert!(check.meaning.contains("CAP_NET_RAW"), "{}", check.meaning);
        }
    }

    #[test]
    fn every_check_says_what_it_found_and_means() {
        let checks = checks(&[[127, 0, 0, 1].into()].into());
        for wanted in [
            "kernel",
            "eBPF object",
            "tracefs",
            "loads and attaches",
            "sock_diag",
            "rtnetlink",
            "neighbour probes",
        ] {
            assert!(checks.iter().any(|check| check.name == wanted), "{wanted}");
        }
        for check in checks {
            assert!(!check.found.is_empty(), "{}", check.name);
            assert!(!check.meaning.is_empty(), "{}", check.name);
        }
    }
}
