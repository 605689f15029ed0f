//! The eBPF object: one file with all programs. The source and the protection of services each load
//! it separately, with their own programs and maps.

use std::{error, io};

use aya::{EbpfError, EbpfLoader, maps::MapError, programs::ProgramError, util::KernelVersion};
use thiserror::Error;

/// The object, if `cargo xtask build-ebpf` had been run before this was built.
pub const OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// How many bytes of the verifier's log an error contains.
const LOG_END_BYTES: usize = 2048;

/// A map, its users, and the smallest size that the kernel accepts.
struct Share {
    map: &'static str,
    parts: &'static [Part],
    least: u32,
}

/// The smallest ring; it becomes a whole page where pages are larger.
const LEAST_RING: u32 = 4096;

/// The large maps, which are shrunk where they are not used. All others are small.
const SHARES: [Share; 5] = [
    Share {
        map: "WATCHED",
        parts: &[Part::Source, Part::Tune],
        least: 1,
    },
    Share {
        map: "FLOWS",
        parts: &[Part::Source],
        least: 1,
    },
    Share {
        map: "EVENTS",
        parts: &[Part::Source],
        least: LEAST_RING,
    },
    Share {
        map: "TUNED",
        parts: &[Part::Tune],
        least: 1,
    },
    Share {
        map: "TUNED_EVENTS",
        parts: &[Part::Tune],
        least: LEAST_RING,
    },
];

/// Programs that are loaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The programs of the tracepoints.
    Source,
    /// The connect programs.
    Refuse,
    /// The sockops program.
    Tune,
    /// The program that reads the current sequence numbers of a flow.
    Keepalive,
}

/// A loader for one part. The object also contains the maps of the other parts; these are made as
/// small as possible.
pub fn loader<'a>(part: Part) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    // Otherwise aya reads all of the kernel's BTF for relocations, and the programs have none.
    loader.btf(None);
    for share in SHARES {
        if !share.parts.contains(&part) {
            loader.map_max_entries(share.map, share.least);
        }
    }
    loader
}

/// Why the kernel did not accept a part of the object.
#[derive(Debug, Error)]
pub enum NotTaken {
    #[error(
        "this daemon was built without the eBPF object; \
         run `cargo xtask build-ebpf` and build it again"
    )]
    NoObject,
    #[error("not permitted to {what}: {source}; needs {needs} (CAP_SYS_ADMIN before 5.8)")]
    NotPermitted {
        what: String,
        needs: &'static str,
        source: io::Error,
    },
    #[error(
        "not permitted to {what}: {source}; before kernel 5.11 maps count against \
         RLIMIT_MEMLOCK: set LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`"
    )]
    MemoryLocked { what: String, source: io::Error },
    #[error("the kernel's verifier refused program {program}: {source}; its log ends:\n{log_end}")]
    Refused {
        program: &'static str,
        source: io::Error,
        log_end: String,
    },
    #[error("cannot {what}: {}", chain(source))]
    Failed {
        what: String,
        #[source]
        source: Box<EbpfError>,
    },
}

/// The capabilities that a part needs, for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Needs(pub &'static str);

impl Needs {
    /// Distinguishes a lack of privilege, and its cause, from other failures.
    pub fn not_taken(self, what: impl Into<String>, error: impl Into<EbpfError>) -> NotTaken {
        let (Self(needs), what) = (self, what.into());
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let source = match error.into() {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) if denied(&io_error) => {
                if counts_locked_memory() {
                    let source = io_error;
                    return NotTaken::MemoryLocked { what, source };
                }
                io_error
            }
            EbpfError::ProgramError(ProgramError::LoadError { io_error, .. })
                if denied(&io_error) =>
            {
                io_error
            }
            EbpfError::ProgramError(ProgramError::SyscallError(error))
                if denied(&error.io_error) =>
            {
                error.io_error
            }
            error => {
                let source = Box::new(error);
                return NotTaken::Failed { what, source };
            }
        };
        NotTaken::NotPermitted {
            what,
            needs,
            source,
        }
    }

    /// The same for a program. If the verifier refused it, the error contains the end of its log.
    pub fn not_loaded(self, program: &'static str, error: ProgramError) -> NotTaken {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } if io_error.raw_os_error() != Some(nix::libc::EPERM) => NotTaken::Refused {
                program,
                source: io_error,
                log_end: end_of(&verifier_log.to_string()),
            },
            error => self.not_taken(format!("load program {program}"), error),
        }
    }
}

/// Whether this kernel counts maps against RLIMIT_MEMLOCK (before 5.11).
pub fn counts_locked_memory() -> bool {
    KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 11, 0))
}

/// The end of a log, from the start of a line if possible.
pub fn end_of(log: &str) -> String {
    let trimmed = log.trim_end();
    if trimmed.len() <= LOG_END_BYTES {
        return trimmed.to_owned();
    }
    let from = trimmed.ceil_char_boundary(trimmed.len() - LOG_END_BYTES);
    let end = &trimmed[from..];
    end.split_once('\n')
        .map_or(end, |(_, rest)| rest)
        .to_owned()
}

/// An error with its causes.
pub fn chain(error: &dyn error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_kept() {
        let log = format!("{}\nthe reason\n\n", "é".repeat(4000));
        assert_eq!(end_of(&log), "the reason");
        assert_eq!(end_of("short\n"), "short");
    }

    #[test]
    fn a_lack_of_privilege_is_told_from_the_rest() {
        let needs = Needs("CAP_BPF and CAP_PERFMON");
        let denied = io::Error::from_raw_os_error(nix::libc::EPERM);
        let error = ProgramError::SyscallError(aya::sys::SyscallError {
            call: "perf_event_open",
            io_error: denied,
        });
        let message = needs.not_taken("load", error).to_string();
        assert!(message.contains("CAP_BPF and CAP_PERFMON"), "{message}");
        let other = needs.not_taken("load", EbpfError::NoBTF);
        assert!(matches!(other, NotTaken::Failed { .. }));
    }
}
