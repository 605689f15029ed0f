//! Loading the programs: what this kernel has goes into the global, and each tracepoint
//! that exists gets its program. Nothing is pinned: when the process ends, programs and
//! maps are gone.

use std::{io, path::Path};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, TracePoint},
};
use detector_ebpf::{CONFIG_NAME, Config, SocketOffsets, config_flag};
use thiserror::Error;
use tracing::{debug, warn};
use zerocopy::IntoBytes;

use super::{
    btf::{SocketLayout, VMLINUX},
    tracefs::{
        CONG_STATE_SET, ERROR_REPORT, RETRANSMIT_SKB, SOCK_SET_STATE, TracefsError, Tracepoint,
        Tracepoints,
    },
};
use crate::{
    clock,
    core::Settings,
    netns,
    object::{self, Needs, NotTaken, OBJECT, Part},
};

pub(super) const NEEDS: Needs = Needs("CAP_BPF and CAP_PERFMON");

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
    /// Inode of the only network namespace to look at: `None` is the daemon's own, 0 all.
    pub netns: Option<u32>,
    /// Whether other namespaces may be looked at as well, which
    /// [`EbpfSource::look_at`](super::EbpfSource) then names.
    pub other_namespaces: bool,
    /// Whether to use the kernel's BTF where it is there.
    pub btf: bool,
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
            btf: true,
            log: false,
        }
    }
}

/// Why the eBPF source cannot be had here.
#[derive(Debug, Error)]
pub enum EbpfUnavailable {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    Tracefs(#[from] TracefsError),
    #[error("this kernel has neither tracepoint tcp:tcp_cong_state_set nor tcp:tcp_retransmit_skb")]
    NoTracepoint,
    #[error(
        "without tcp:tcp_cong_state_set (which 6.1 has and 5.10 has not) the socket's fields are needed to know a \
         retransmission time-out, and there is no usable BTF in {VMLINUX}, \
         or the configuration (`--no-btf`) keeps from using it"
    )]
    Blind,
    #[error("cannot read this process's network namespace from /proc/thread-self/ns/net: {0}")]
    Netns(#[source] io::Error),
}

/// The programs, loaded and attached. Dropping it removes them.
#[derive(Debug)]
pub struct Loaded {
    pub ebpf: Ebpf,
    /// What the programs are attached to.
    pub attached: Vec<Tracepoint>,
    /// Whether records carry the socket's fields.
    pub has_socket_fields: bool,
}

impl Loaded {
    /// Loads and attaches them.
    pub fn load(options: &EbpfOptions) -> Result<Self, EbpfUnavailable> {
        let object = OBJECT.ok_or(NotTaken::NoObject)?;
        // Reads the kernel's BTF. Done first and let go at once, its memory serves what
        // follows.
        let loader = object::loader(Part::Source);
        let tracepoints = Tracepoints::read()?;
        let socket = if options.btf { socket_offsets() } else { None };
        check_signals(&tracepoints, socket.is_some())?;
        let config = config(options, &tracepoints, socket)?;

        let mut ebpf = load_object(loader, object, options, &config)?;
        let mut attached = Vec::new();
        for (tracepoint, is_there) in [
            (CONG_STATE_SET, tracepoints.cong_state.is_some()),
            (RETRANSMIT_SKB, tracepoints.retransmit.is_some()),
            (SOCK_SET_STATE, tracepoints.set_state.is_some()),
            (ERROR_REPORT, tracepoints.error_report.is_some()),
        ] {
            if is_there {
                attach(&mut ebpf, &tracepoint)?;
                attached.push(tracepoint);
            } else {
                warn!(
                    "this kernel has no tracepoint {}:{} ({} have it), which {}",
                    tracepoint.category, tracepoint.name, tracepoint.kernels, tracepoint.meaning
                );
            }
        }
        Ok(Self {
            ebpf,
            attached,
            has_socket_fields: socket.is_some(),
        })
    }
}

/// Whether what this kernel has can show a retransmission time-out at all.
fn check_signals(tracepoints: &Tracepoints, has_fields: bool) -> Result<(), EbpfUnavailable> {
    match (tracepoints.cong_state, tracepoints.retransmit) {
        (None, None) => Err(EbpfUnavailable::NoTracepoint),
        (None, Some(_)) if !has_fields => Err(EbpfUnavailable::Blind),
        _ => Ok(()),
    }
}

fn socket_offsets() -> Option<SocketOffsets> {
    match SocketLayout::read(Path::new(VMLINUX)) {
        Ok(layout) => {
            for missing in layout.missing() {
                warn!("the kernel's BTF lacks a field: {missing}");
            }
            layout.is_sufficient.then_some(layout.offsets)
        }
        Err(error) => {
            warn!("going without the sockets' fields: {error}");
            None
        }
    }
}

fn config(
    options: &EbpfOptions,
    tracepoints: &Tracepoints,
    socket: Option<SocketOffsets>,
) -> Result<Config, EbpfUnavailable> {
    let netns = match options.netns {
        Some(netns) => netns,
        None => netns::own().map_err(EbpfUnavailable::Netns)?,
    };
    let mut flags = 0;
    if socket.is_some() {
        flags |= config_flag::SOCKET_FIELDS;
    }
    if tracepoints.cong_state.is_some() {
        flags |= config_flag::CONG_STATE;
    }
    if options.other_namespaces {
        flags |= config_flag::OTHER_NAMESPACES;
    }
    let absent = Config::ABSENT;
    Ok(Config {
        jiffy_ns: u64::try_from(clock::jiffy().as_nanos()).unwrap_or(u64::MAX),
        netns,
        flags,
        cong_state: tracepoints.cong_state.unwrap_or(absent.cong_state),
        retransmit: tracepoints.retransmit.unwrap_or(absent.retransmit),
        set_state: tracepoints.set_state.unwrap_or(absent.set_state),
        error_report: tracepoints.error_report.unwrap_or(absent.error_report),
        socket: socket.unwrap_or(absent.socket),
    })
}

fn load_object<'a>(
    mut loader: EbpfLoader<'a>,
    object: &[u8],
    options: &EbpfOptions,
    config: &'a Config,
) -> Result<Ebpf, EbpfUnavailable> {
    let log_level = if options.log { &LOG_DEBUG } else { &LOG_OFF };
    let ring_bytes = options
        .ring_bytes
        .clamp(MIN_RING_BYTES, MAX_RING_BYTES)
        .next_power_of_two();
    loader
        .override_global(CONFIG_NAME, config.as_bytes(), true)
        .override_global(aya_log::LEVEL, log_level, true)
        .map_max_entries("WATCHED", options.max_watched.max(1))
        .map_max_entries("FLOWS", options.max_flows.clamp(1, MAX_FLOWS))
        .map_max_entries("EVENTS", ring_bytes)
        .load(object)
        .map_err(|error| NEEDS.not_taken("load the eBPF object", error).into())
}

fn attach(ebpf: &mut Ebpf, tracepoint: &Tracepoint) -> Result<(), EbpfUnavailable> {
    let &Tracepoint { category, name, .. } = tracepoint;
    let failed = |what: String| move |error: ProgramError| NEEDS.not_taken(what, error);
    let program: &mut TracePoint = ebpf
        .program_mut(name)
        .ok_or(ProgramError::NotLoaded)
        .and_then(TryInto::try_into)
        .map_err(failed(format!("find program {name} in the object")))?;
    program
        .load()
        .map_err(|error| NEEDS.not_loaded(name, error))?;
    program
        .attach(category, name)
        .map_err(failed(format!("attach to tracepoint {category}:{name}")))?;
    // What the verifier walked; it gives up at a million. Known from 5.16.
    let walked = program
        .info()
        .ok()
        .and_then(|info| info.verified_instruction_count());
    debug!(?walked, "attached to tracepoint {category}:{name}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracepoints() -> Tracepoints {
        Tracepoints {
            cong_state: Some(Config::ABSENT.cong_state),
            retransmit: Some(Config::ABSENT.retransmit),
            set_state: None,
            error_report: None,
        }
    }

    #[test]
    fn one_of_the_two_tracepoints_is_needed() {
        let all = tracepoints();
        assert!(check_signals(&all, false).is_ok());
        let oldest = Tracepoints {
            cong_state: None,
            ..all
        };
        assert!(check_signals(&oldest, true).is_ok());
        assert!(matches!(
            check_signals(&oldest, false),
            Err(EbpfUnavailable::Blind)
        ));
        let none = Tracepoints {
            retransmit: None,
            ..oldest
        };
        assert!(matches!(
            check_signals(&none, true),
            Err(EbpfUnavailable::NoTracepoint)
        ));
    }

    #[test]
    fn the_global_says_what_the_kernel_has() {
        let options = EbpfOptions {
            netns: Some(7),
            ..EbpfOptions::default()
        };
        let known = config(&options, &tracepoints(), Some(SocketOffsets::ABSENT)).unwrap();
        assert_eq!(known.netns, 7);
        assert_eq!(
            known.flags,
            config_flag::SOCKET_FIELDS | config_flag::CONG_STATE
        );
        let blind = config(&options, &tracepoints(), None).unwrap();
        assert_eq!(blind.flags, config_flag::CONG_STATE);
        let options = EbpfOptions {
            other_namespaces: true,
            ..options
        };
        let others = config(&options, &tracepoints(), None).unwrap();
        assert_ne!(others.flags & config_flag::OTHER_NAMESPACES, 0);
    }
}
