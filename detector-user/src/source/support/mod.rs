//! What this kernel and these privileges allow, as typed answers: `detector doctor` prints them,
//! and a source that cannot start reports the same.

mod privileges;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path, time::Duration};

use aya::util::KernelVersion;

use self::privileges::{capabilities, locked_memory};
use super::ebpf::{EbpfOptions, KernelTypes, Loaded, TRACEPOINTS, VMLINUX};
use super::{
    network::{Survey, survey},
    probe,
};
use crate::{
    check::{Check, Status},
    netlink::sock_diag::SockDiag,
    object::{OBJECT, counts_locked_memory},
    privileges::{Needs, effective},
};

/// Runs all checks, and tries to load the programs. `peers` are the addresses that the
/// configuration names, `needs` what else it takes.
pub fn checks(peers: &BTreeSet<IpAddr>, needs: &Needs) -> Vec<Check> {
    let mut checks = vec![kernel(), object()];
    checks.extend(btf());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective(&status);
    checks.extend(capabilities(effective, needs));
    if counts_locked_memory() {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        checks.push(locked_memory(&limits, effective));
    }
    checks.push(trial_load());
    checks.push(socket_dump());
    checks.push(rtnetlink(peers));
    checks.push(neighbour_probes(probe::Access::try_out()));
    checks.push(keepalives(probe::prove_keepalives()));
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
    let size = |object: &[u8]| format!("built in, {} KiB", object.len().div_ceil(1024));
    Check::tried(
        "eBPF object",
        OBJECT.map(size).ok_or("not built in"),
        "the eBPF source can be used",
        (
            Status::Missing,
            "only the sock_diag source can be used; run `cargo xtask build-ebpf` and build the \
             daemon again",
        ),
    )
}

/// Checks the kernel's description of its own types, the fields in it, and the tracepoints.
fn btf() -> Vec<Check> {
    let name = format!("BTF {VMLINUX}");
    let meaning = "tells which tracepoints there are, and where a socket keeps its addresses, \
                   cookie, namespace and last ACK; without it the source is sock_diag, which \
                   polls, and no keepalive is sent";
    let types = match KernelTypes::read(Path::new(VMLINUX)) {
        Ok(types) => types,
        Err(error) => {
            return vec![Check::new(
                name,
                Status::Missing,
                error.to_string(),
                meaning,
            )];
        }
    };
    let known = types.fields.iter().filter(|(_, field)| field.is_ok());
    let summary = format!("{} of {} fields found", known.count(), types.fields.len());
    let status = if types.missing().next().is_none() {
        Status::Ok
    } else {
        Status::Degraded
    };
    let mut checks = vec![Check::new(name, status, summary, meaning)];
    checks.extend(fields(&types));
    checks.extend(tracepoints(&types));
    checks
}

fn fields(types: &KernelTypes) -> impl Iterator<Item = Check> {
    types.fields.iter().map(|(field, found)| {
        let name = format!("BTF field {field}");
        let missing = match types.is_sufficient {
            true => "records do without it",
            false => "an essential field is missing: the eBPF source does not start",
        };
        match found {
            Ok(offset) => Check::new(name, Status::Ok, format!("at byte {offset}"), "readable"),
            Err(error) => Check::new(name, Status::Degraded, error.to_string(), missing),
        }
    })
}

fn tracepoints(types: &KernelTypes) -> impl Iterator<Item = Check> {
    TRACEPOINTS.into_iter().map(|tracepoint| {
        let name = format!("tracepoint {tracepoint}");
        let (status, found) = match types.tracepoints.get(tracepoint.name) {
            Some(arguments) => (Status::Ok, format!("there, with {arguments} arguments")),
            None => (
                Status::Degraded,
                format!("this kernel has none; {} have it", tracepoint.kernels),
            ),
        };
        Check::new(name, status, found, tracepoint.meaning)
    })
}

fn trial_load() -> Check {
    let loaded = Loaded::load(&EbpfOptions::default()).map(|loaded| {
        format!(
            "the verifier takes the programs; attached to {} tracepoints, and detached",
            loaded.attached.len()
        )
    });
    Check::tried(
        "loads and attaches",
        loaded,
        "the eBPF source works here",
        (
            Status::Missing,
            "the eBPF source does not work here; `--source auto` uses sock_diag, which polls",
        ),
    )
}

fn socket_dump() -> Check {
    let read = SockDiag::open().and_then(|mut sock_diag| sock_diag.read_all());
    Check::tried(
        "sock_diag",
        read.map(|_| "the kernel dumps its TCP sockets"),
        "gives the flows that nothing has happened to yet, and a source without eBPF",
        (
            Status::Degraded,
            "without it a peer is known from what eBPF sees happen only, and there is nothing \
             to fall back to; try `modprobe tcp_diag`",
        ),
    )
}

fn rtnetlink(peers: &BTreeSet<IpAddr>) -> Check {
    Check::tried(
        "rtnetlink",
        survey(peers).map(|survey| surveyed(&survey)),
        "tells when this host itself is isolated, and which peers can be probed by ARP or \
         neighbour discovery",
        (
            Status::Degraded,
            "without it the isolation of this host is not seen by its links, and peers are not \
             probed by ARP or neighbour discovery",
        ),
    )
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
    let meaning = "probe a silent peer on the same link by ARP or NDP, which its kernel answers \
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

fn keepalives(proof: Result<Duration, probe::KeepaliveProofError>) -> Check {
    let proven = proof.map(|slowest| {
        format!(
            "a connection of my own over 127.0.0.1 was asked 50 times and answered within \
             {} µs; its data came whole, in order, and nothing else did",
            slowest.as_micros()
        )
    });
    Check::tried(
        "keepalive probes",
        proven,
        "ask a silent peer on a connection that is there: its kernel answers on that very \
         connection, firewalls let it pass, and a host that restarted frees who waits",
        (
            Status::Degraded,
            "silent peers are asked by TCP connects and neighbour probes alone; it takes the \
             eBPF object, BTF, and CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW",
        ),
    )
}
