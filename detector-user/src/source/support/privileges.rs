//! What this process may do, read from /proc.

use rustix::thread::CapabilitySet;

use crate::{
    check::{Check, Status},
    privileges::{CAPABILITIES, Capability, Needs},
};

/// Includes CAP_BPF and CAP_PERFMON.
const ALL_OF_BPF: [CapabilitySet; 2] = [CapabilitySet::BPF, CapabilitySet::PERFMON];

/// A check for each capability that a daemon with these needs has a use for.
pub(super) fn capabilities(effective: CapabilitySet, needs: &Needs) -> Vec<Check> {
    let always = ALL_OF_BPF.into_iter().collect::<CapabilitySet>()
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW;
    let is_used = |one: &&Capability| always.contains(one.set) || one.is_kept(needs);
    let used = CAPABILITIES.iter().filter(is_used);
    used.map(|one| capability(one, effective, needs)).collect()
}

fn capability(one: &Capability, effective: CapabilitySet, needs: &Needs) -> Check {
    let is_of_bpf = ALL_OF_BPF.contains(&one.set);
    let (status, found) = if effective.contains(one.set) {
        (Status::Ok, "effective")
    } else if is_of_bpf && effective.contains(CapabilitySet::SYS_ADMIN) {
        (Status::Ok, "implied by CAP_SYS_ADMIN")
    } else if is_of_bpf {
        (Status::Missing, "not effective")
    } else {
        (Status::Degraded, "not effective")
    };
    let kept = match one.is_kept(needs) {
        true => "the daemon keeps it",
        false => "the daemon gives it up once all is loaded",
    };
    Check::new(one.name, status, found, format!("{}; {kept}", one.purpose))
}

pub(super) fn locked_memory(limits: &str, effective: CapabilitySet) -> Check {
    let name = "RLIMIT_MEMLOCK";
    let meaning = "before kernel 5.11 the programs' maps (about 6 MiB) count against it; set \
                   LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`";
    match soft_limit(limits, "Max locked memory") {
        Some("unlimited") => Check::new(name, Status::Ok, "unlimited", meaning),
        // aya raises the limit if a map is refused.
        Some(bytes) if effective.contains(CapabilitySet::SYS_RESOURCE) => Check::new(
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
