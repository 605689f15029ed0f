//! Loads the programs: the offsets of this kernel go into a global, and each tracepoint that exists
//! gets its program.

use std::{io, path::Path};

use aya::programs::RawTracePoint;
use detector_ebpf::{CONFIG_NAME, Config, config_flag};
use nix::errno::Errno;
use thiserror::Error;
use tracing::{debug, warn};
use zerocopy::IntoBytes;

use super::{
    btf::{BtfError, KernelTypes, VMLINUX},
    tracepoints::{CONG_STATE_SET, RETRANSMIT_SKB, RETRANSMIT_WITH_ERROR, TRACEPOINTS, Tracepoint},
};
use crate::{
    clock,
    model::Settings,
    netns,
    object::{NotTaken, Part, Programs},
};

/// The smallest ring: one page, whatever the page is.
const MIN_RING_BYTES: u32 = 64 << 10;
const MAX_RING_BYTES: u32 = 256 << 20;
const MAX_FLOWS: u32 = 1 << 20;
/// aya-log's levels.
const LOG_OFF: u8 = 0;
const LOG_DEBUG: u8 = 4;

/// How the programs are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EbpfOptions {
    /// Endpoints that can be watched.
    pub max_watched: u32,
    /// Flows that the kernel's map holds; at most 1,048,576.
    pub max_flows: u32,
    /// Size of the ring, in bytes; rounded up to a power of two from 64 KiB to 256 MiB.
    pub ring_bytes: u32,
    /// Inode of the only network namespace to watch; `None` means the daemon's own, 0 means all.
    pub netns: Option<u32>,
    /// Whether other namespaces may be watched as well; [`EbpfSource::look_at`](super::EbpfSource)
    /// then sets them.
    pub other_namespaces: bool,
    /// Whether the programs write debug messages to the log.
    pub log: bool,
}

impl Default for EbpfOptions {
    fn default() -> Self {
        Self {
            max_watched: Settings::default().bounds().map_entries(),
            max_flows: 16_384,
            ring_bytes: 1 << 20,
            netns: None,
            other_namespaces: false,
            log: false,
        }
    }
}

/// Why the eBPF source, or a [`SequenceReader`](super::SequenceReader), is not available here.
#[derive(Debug, Error)]
pub enum EbpfUnavailable {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("cannot tell where this kernel's sockets keep their fields: {0}")]
    Btf(#[from] BtfError),
    #[error("the kernel's BTF ({VMLINUX}) lacks fields of sockets: {0}")]
    Fields(String),
    #[error(
        "this kernel has neither of the tracepoints tcp:tcp_cong_state_set and tcp:tcp_retransmit_skb"
    )]
    NoTracepoint,
    #[error(
        "this process is in a time namespace whose CLOCK_MONOTONIC is not the kernel's own, so \
         that the times of the kernel's records would be wrong; start the daemon in the initial one"
    )]
    TimeNamespace,
    #[error("cannot read this process's network namespace from /proc/thread-self/ns/net: {0}")]
    Netns(#[source] io::Error),
}

impl EbpfUnavailable {
    /// The error with which keepalive probes fail because of this.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotTaken(NotTaken::NotPermitted { .. } | NotTaken::MemoryLocked { .. }) => {
                Errno::EPERM
            }
            _ => Errno::EOPNOTSUPP,
        }
    }
}

/// The programs, loaded and attached. Dropping it removes them.
#[derive(Debug)]
pub struct Loaded {
    pub programs: Programs,
    /// What the programs are attached to.
    pub attached: Vec<Tracepoint>,
}

impl Loaded {
    /// Loads and attaches them.
    pub fn load(options: &EbpfOptions) -> Result<Self, EbpfUnavailable> {
        if !clock::is_the_kernels() {
            return Err(EbpfUnavailable::TimeNamespace);
        }
        // This comes first: the memory that it uses is free again for what follows.
        let types = KernelTypes::read(Path::new(VMLINUX))?;
        let config = config(options, &types)?;
        let mut programs = open(options, &config)?;
        let mut attached = Vec::new();
        for tracepoint in TRACEPOINTS {
            if types.tracepoints.contains_key(tracepoint.name) {
                attach(&mut programs, &tracepoint)?;
                attached.push(tracepoint);
            } else {
                warn!(
                    "this kernel has no tracepoint {tracepoint} ({} have it), which {}",
                    tracepoint.kernels, tracepoint.meaning
                );
            }
        }
        Ok(Self { programs, attached })
    }
}

/// The programs' configuration for this kernel.
fn config(options: &EbpfOptions, types: &KernelTypes) -> Result<Config, EbpfUnavailable> {
    if !types.is_sufficient {
        let missing: Vec<_> = types.missing().map(ToString::to_string).collect();
        return Err(EbpfUnavailable::Fields(missing.join(", ")));
    }
    for missing in types.missing() {
        warn!("the kernel's BTF lacks a field: {missing}");
    }
    let arguments = |tracepoint: Tracepoint| types.tracepoints.get(tracepoint.name).copied();
    let (cong_state, retransmit) = (arguments(CONG_STATE_SET), arguments(RETRANSMIT_SKB));
    if cong_state.is_none() && retransmit.is_none() {
        return Err(EbpfUnavailable::NoTracepoint);
    }
    let netns = match options.netns {
        Some(netns) => netns,
        None => netns::own().map_err(EbpfUnavailable::Netns)?,
    };
    let mut flags = 0;
    for (flag, is_set) in [
        (config_flag::CONG_STATE, cong_state.is_some()),
        (
            config_flag::RETRANSMIT_ERROR,
            retransmit >= Some(RETRANSMIT_WITH_ERROR),
        ),
        (config_flag::OTHER_NAMESPACES, options.other_namespaces),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    Ok(Config {
        jiffy_ns: u64::try_from(clock::jiffy().as_nanos()).unwrap_or(u64::MAX),
        netns,
        flags,
        socket: types.offsets,
    })
}

fn open(options: &EbpfOptions, config: &Config) -> Result<Programs, NotTaken> {
    let log_level = if options.log { LOG_DEBUG } else { LOG_OFF };
    let ring_bytes = options
        .ring_bytes
        .clamp(MIN_RING_BYTES, MAX_RING_BYTES)
        .next_power_of_two();
    let globals = [
        (CONFIG_NAME, config.as_bytes()),
        (aya_log::LEVEL, &[log_level]),
    ];
    let entries = [
        ("WATCHED", options.max_watched),
        ("FLOWS", options.max_flows.min(MAX_FLOWS)),
        ("EVENTS", ring_bytes),
    ];
    Programs::open(Part::Source, &globals, &entries)
}

fn attach(programs: &mut Programs, tracepoint: &Tracepoint) -> Result<(), NotTaken> {
    let name = tracepoint.name;
    let program = programs.load(name, RawTracePoint::load)?;
    program.attach(name).map_err(|error| {
        Part::Source.not_taken(format!("attach to tracepoint {tracepoint}"), error)
    })?;
    // How many instructions the verifier processed; it gives up at a million. Known since 5.16.
    let walked = program
        .info()
        .ok()
        .and_then(|info| info.verified_instruction_count());
    debug!(?walked, "attached to tracepoint {tracepoint}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use detector_ebpf::SocketOffsets;

    use super::{super::btf::FieldError, *};

    fn types(tracepoints: &[(&'static str, usize)]) -> KernelTypes {
        KernelTypes {
            offsets: SocketOffsets::ABSENT,
            fields: Vec::new(),
            is_sufficient: true,
            tracepoints: tracepoints.iter().copied().collect(),
        }
    }

    fn flags(tracepoints: &[(&'static str, usize)], other_namespaces: bool) -> u32 {
        let options = EbpfOptions {
            netns: Some(7),
            other_namespaces,
            ..EbpfOptions::default()
        };
        let config = config(&options, &types(tracepoints)).unwrap();
        assert_eq!(config.netns, 7);
        config.flags
    }

    #[test]
    fn the_global_says_what_the_kernel_has() {
        let (cong_state, retransmit) = (CONG_STATE_SET.name, RETRANSMIT_SKB.name);
        let linux_5_10 = [(retransmit, 2)];
        assert_eq!(flags(&linux_5_10, false), 0);
        let linux_6_1 = [(cong_state, 2), (retransmit, 2)];
        assert_eq!(flags(&linux_6_1, false), config_flag::CONG_STATE);
        let linux_6_18 = [(cong_state, 2), (retransmit, 3)];
        let both = config_flag::CONG_STATE | config_flag::RETRANSMIT_ERROR;
        assert_eq!(flags(&linux_6_18, false), both);
        let others = both | config_flag::OTHER_NAMESPACES;
        assert_eq!(flags(&linux_6_18, true), others);
    }

    #[test]
    fn one_of_the_two_tracepoints_is_needed() {
        let error = config(&EbpfOptions::default(), &types(&[])).unwrap_err();
        assert!(matches!(error, EbpfUnavailable::NoTracepoint));
    }

    #[test]
    fn fields_that_are_needed_and_missing_are_named() {
        let types = KernelTypes {
            is_sufficient: false,
            fields: vec![("sock.sk_err".to_owned(), Err(FieldError::NoStruct("sock")))],
            ..types(&[(CONG_STATE_SET.name, 2)])
        };
        let error = config(&EbpfOptions::default(), &types).unwrap_err();
        assert!(error.to_string().contains("no struct `sock`"), "{error}");
    }
}
