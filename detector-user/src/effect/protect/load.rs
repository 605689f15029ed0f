//! Loads the programs that protect services. They are attached by links: however the process ends,
//! the kernel detaches and frees them.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
};

use aya::{
    programs::{
        CgroupAttachMode, CgroupSockAddr, ProgramError, ProgramType, SockOps,
        cgroup_sock_addr::CgroupSockAddrLink, sock_ops::SockOpsLink,
    },
    sys::{BpfHelper, is_helper_supported},
    util::KernelVersion,
};
use detector_ebpf::{REFUSE_NAME, RefuseConfig, TUNE_NAME, TuneConfig, refuse_flag};
use nix::sys::stat::{major, minor};
use tracing::{debug, warn};
use zerocopy::IntoBytes;

use super::{ProtectError, follow::Attach};
use crate::object::{Part, Programs, chain};

/// The names of the programs in the object.
const CONNECT: [&str; 2] = ["refuse_connect4", "refuse_connect6"];
const TUNE: &str = "tune_sockets";

/// `PROC_PID_INIT_INO` in include/linux/proc_ns.h: the initial pid namespace.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// The bits of a minor device number in the kernel's encoding (MINORBITS, include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// The mode of attaching with a link. The kernel takes no flags here: whatever the mode, programs
/// of others stay attached as well (`cgroup_bpf_link_attach` in kernel/bpf/cgroup.c).
const BESIDE_OTHERS: CgroupAttachMode = CgroupAttachMode::Single;

/// Checks that the kernel has bpf_link for cgroups (`BPF_LINK_CREATE`, 5.7).
pub fn check_links() -> Result<(), ProtectError> {
    let is_old = KernelVersion::current().is_ok_and(|now| now < KernelVersion::new(5, 7, 0));
    if is_old {
        return Err(ProtectError::NoLinks);
    }
    Ok(())
}

/// The loaded connect programs.
#[derive(Debug)]
pub struct RefusePrograms {
    pub programs: Programs,
    /// The bits of `refuse_flag` with which they were loaded.
    pub flags: u32,
}

impl RefusePrograms {
    /// Loads them with room for this many peers' counters and this many addresses.
    pub fn load(peers: u32, addresses: u32) -> Result<Self, ProtectError> {
        check_links()?;
        let config = refuse_config();
        let globals = [(REFUSE_NAME, config.as_bytes())];
        let entries = [("DEAD", addresses), ("REFUSALS", peers)];
        let mut programs = Programs::open(Part::Refuse, &globals, &entries)?;
        for name in CONNECT {
            programs.load(name, CgroupSockAddr::load)?;
        }
        Ok(Self {
            programs,
            flags: config.flags,
        })
    }
}

impl Attach for RefusePrograms {
    type Link = [CgroupSockAddrLink; 2];
    const DOING: &'static str = "connects to dead peers are refused";

    fn attach(&mut self, cgroup: &File) -> Result<Self::Link, ProtectError> {
        let mut attach = |name| {
            let program: &mut CgroupSockAddr = self.programs.program(name)?;
            let link = program.attach(cgroup, BESIDE_OTHERS)?;
            program.take_link(link)
        };
        let failed = |error: ProgramError| Part::Refuse.not_taken("refuse connects", error);
        let [v4, v6] = CONNECT;
        Ok([attach(v4).map_err(failed)?, attach(v6).map_err(failed)?])
    }
}

/// The loaded sockops program.
#[derive(Debug)]
pub struct TuneProgram(pub Programs);

impl TuneProgram {
    /// Loads it with room for this many endpoints.
    pub fn load(config: &TuneConfig, endpoints: u32) -> Result<Self, ProtectError> {
        check_links()?;
        let globals = [(TUNE_NAME, config.as_bytes())];
        let mut programs = Programs::open(Part::Tune, &globals, &[("WATCHED", endpoints)])?;
        programs.load(TUNE, SockOps::load)?;
        Ok(Self(programs))
    }
}

impl Attach for TuneProgram {
    type Link = SockOpsLink;
    const DOING: &'static str = "new connections with peers are tuned";

    fn attach(&mut self, cgroup: &File) -> Result<SockOpsLink, ProtectError> {
        let attached = self.0.program(TUNE).and_then(|program: &mut SockOps| {
            let link = program.attach(cgroup, BESIDE_OTHERS)?;
            program.take_link(link)
        });
        attached.map_err(|error| Part::Tune.not_taken("tune sockets", error).into())
    }
}

/// The connect programs' configuration for this kernel and this process.
fn refuse_config() -> RefuseConfig {
    // The kernel is probed for both, because kernels with the same version number differ. They
    // came with
    // 6.1 (commit "bpf: expose bpf_{g,s}et_retval to more cgroup hooks") and
    // 6.10 (commit "bpf: Allow helper bpf_get_[ns_]current_pid_tgid() for all prog types").
    let has = |helper| match is_helper_supported(ProgramType::CgroupSockAddr, helper) {
        Ok(has) => has,
        Err(error) => {
            debug!(?helper, error = chain(&error), "taken to be missing");
            false
        }
    };
    let namespace = match fs::metadata("/proc/self/ns/pid") {
        Ok(metadata) => Some((kernel_device(metadata.dev()), metadata.ino())),
        Err(error) => {
            warn!(%error, "cannot read this process's pid namespace from /proc/self/ns/pid");
            None
        }
    };
    let config = refuse_config_of(
        has(BpfHelper::BPF_FUNC_set_retval),
        has(BpfHelper::BPF_FUNC_get_ns_current_pid_tgid),
        namespace,
    );
    if config.flags & (refuse_flag::PID_IN_NAMESPACE | refuse_flag::PID_IN_INITIAL) == 0 {
        warn!(
            "before kernel 6.10 a daemon in a pid namespace of its own cannot be told from the \
             programs beside it: keep it out of the cgroups whose connects are refused, or its \
             probes of dead peers are refused as well"
        );
    }
    config
}

/// The pure part of [`refuse_config`].
fn refuse_config_of(
    has_retval: bool,
    has_namespaced_pid: bool,
    namespace: Option<(u64, u64)>,
) -> RefuseConfig {
    let mut flags = 0;
    if has_retval {
        flags |= refuse_flag::SET_RETVAL;
    }
    match namespace {
        Some(_) if has_namespaced_pid => flags |= refuse_flag::PID_IN_NAMESPACE,
        Some((_, INITIAL_PID_NAMESPACE)) => flags |= refuse_flag::PID_IN_INITIAL,
        _ => {}
    }
    let (pid_namespace_device, pid_namespace_inode) = namespace.unwrap_or_default();
    RefuseConfig {
        pid_namespace_device,
        pid_namespace_inode,
        pid: std::process::id(),
        flags,
    }
}

/// Converts a device number from stat(2)'s encoding to the kernel's own.
fn kernel_device(device: u64) -> u64 {
    (major(device) << MINOR_BITS) | minor(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_known_by_its_namespace_or_the_initial_one() {
        let flags = |namespaced, namespace| refuse_config_of(false, namespaced, namespace).flags;
        let container = Some((4, 4_026_532_000));
        let initial = Some((4, INITIAL_PID_NAMESPACE));
        assert_eq!(flags(true, container), refuse_flag::PID_IN_NAMESPACE);
        assert_eq!(flags(true, initial), refuse_flag::PID_IN_NAMESPACE);
        assert_eq!(flags(false, initial), refuse_flag::PID_IN_INITIAL);
        assert_eq!(flags(false, container), 0);
        assert_eq!(flags(true, None), 0);
        let config = refuse_config_of(true, true, container);
        assert_ne!(config.flags & refuse_flag::SET_RETVAL, 0);
        assert_eq!(config.pid, std::process::id());
        assert_eq!(
            (config.pid_namespace_device, config.pid_namespace_inode),
            (4, 4_026_532_000)
        );
    }

    #[test]
    fn devices_are_encoded_as_the_kernel_does() {
        use nix::sys::stat::makedev;
        assert_eq!(kernel_device(makedev(0, 4)), 4);
        assert_eq!(kernel_device(makedev(0, 300)), 300);
        assert_eq!(kernel_device(makedev(8, 1)), (8 << 20) | 1);
    }
}
