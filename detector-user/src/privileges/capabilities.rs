//! The capabilities that the daemon may use, each with its purpose: the one list of them.

use rustix::thread::CapabilitySet;

use super::Needs;

/// A capability that the daemon uses (include/uapi/linux/capability.h).
#[derive(Debug)]
pub struct Capability {
    pub name: &'static str,
    pub set: CapabilitySet,
    /// What it is used for.
    pub purpose: &'static str,
    /// Whether the start takes it, whatever is configured.
    pub at_start: bool,
    /// Whether the work takes it.
    pub(super) is_kept: fn(&Needs) -> bool,
}

/// All of them. The daemon gives up every other one before it does anything.
pub const CAPABILITIES: [Capability; 12] = [
    Capability {
        name: "CAP_BPF",
        set: CapabilitySet::BPF,
        purpose: "loads the programs and creates their maps; before kernel 5.19, uses the maps",
        at_start: true,
        is_kept: |needs| needs.maps_take_a_capability,
    },
    Capability {
        name: "CAP_PERFMON",
        set: CapabilitySet::PERFMON,
        purpose: "attaches the programs to tracepoints and lets them read sockets",
        at_start: true,
        is_kept: |_| false,
    },
    Capability {
        name: "CAP_NET_ADMIN",
        set: CapabilitySet::NET_ADMIN,
        purpose: "destroys the sockets of a dead peer (destroy_sockets), attaches the programs \
                  that refuse and tune to the cgroups of services (refuse_connects, \
                  tune_sockets); loads the program that reads a flow's sequence numbers",
        at_start: true,
        is_kept: |needs| needs.destroys || needs.protects,
    },
    Capability {
        name: "CAP_NET_RAW",
        set: CapabilitySet::NET_RAW,
        purpose: "probes a silent peer: keepalive segments on its flows, ARP, neighbour discovery",
        at_start: true,
        is_kept: |_| true,
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        set: CapabilitySet::SYS_ADMIN,
        purpose: "enters the network namespaces that are watched (network_namespaces, --rustfs)",
        at_start: false,
        is_kept: |needs| needs.enters_namespaces,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        set: CapabilitySet::SYS_PTRACE,
        purpose: "finds the programs and namespaces of other users' processes (exe:, --rustfs, \
                  network_namespaces)",
        at_start: false,
        is_kept: |needs| needs.enters_namespaces || needs.finds_programs,
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        set: CapabilitySet::DAC_READ_SEARCH,
        purpose: "reads the environment and the configuration of other users' storage programs \
                  (--rustfs and its like)",
        at_start: false,
        is_kept: |needs| needs.reads_stores,
    },
    Capability {
        name: "CAP_DAC_OVERRIDE",
        set: CapabilitySet::DAC_OVERRIDE,
        purpose: "uses the socket's directory, the state directory and the configuration file \
                  where another user owns one of them",
        at_start: true,
        is_kept: |needs| needs.uses_what_others_own,
    },
    Capability {
        name: "CAP_CHOWN",
        set: CapabilitySet::CHOWN,
        purpose: "gives the socket to the group that may use it (socket_group)",
        at_start: true,
        is_kept: |needs| needs.gives_its_socket_to_a_group,
    },
    Capability {
        name: "CAP_NET_BIND_SERVICE",
        set: CapabilitySet::NET_BIND_SERVICE,
        purpose: "serves metrics on a port below 1024",
        at_start: true,
        is_kept: |needs| needs.serves_on_a_low_port,
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        set: CapabilitySet::SYS_RESOURCE,
        purpose: "lifts the limits of locked memory (before kernel 5.11) and of open files",
        at_start: true,
        is_kept: |_| false,
    },
    Capability {
        name: "CAP_SETPCAP",
        set: CapabilitySet::SETPCAP,
        purpose: "takes from this process what it may ever have",
        at_start: true,
        is_kept: |_| false,
    },
];

impl Capability {
    /// Whether a daemon with these needs keeps it.
    pub fn is_kept(&self, needs: &Needs) -> bool {
        (self.is_kept)(needs)
    }
}

/// What the start takes, whatever is configured.
pub(super) fn at_start() -> CapabilitySet {
    let taken = CAPABILITIES.iter().filter(|capability| capability.at_start);
    taken.map(|capability| capability.set).collect()
}

/// Their names, for people; those that the daemon never uses by their bits.
pub fn names(set: CapabilitySet) -> String {
    let known = CAPABILITIES
        .iter()
        .filter(|capability| set.contains(capability.set));
    let mut names: Vec<String> = known.clone().map(|known| known.name.to_owned()).collect();
    let rest = set - known.map(|known| known.set).collect();
    if !rest.is_empty() {
        names.push(format!("{:#x}", rest.bits()));
    }
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(" "),
    }
}
