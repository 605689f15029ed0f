//! The eBPF object: one file with all programs. The source and the protection of services each load
//! it separately, with their own programs and maps. Nothing is pinned: when the process ends,
//! programs and maps are gone.

use std::{error, io};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError},
    programs::{Program, ProgramError},
    util::KernelVersion,
};
use thiserror::Error;

/// The object, if `cargo xtask build-ebpf` had been run before this was built.
pub const OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// How many bytes of the verifier's log an error contains.
const LOG_END_BYTES: usize = 2048;

/// The smallest ring; it becomes a whole page where pages are larger.
const LEAST_RING: u32 = 4096;

/// The large maps, which are shrunk where they are not used: each with its users, and the smallest
/// size that the kernel accepts. All others are small.
const SHARES: [(&str, &[Part], u32); 5] = [
    ("WATCHED", &[Part::Source, Part::Tune], 1),
    ("FLOWS", &[Part::Source], 1),
    ("EVENTS", &[Part::Source], LEAST_RING),
    ("TUNED", &[Part::Tune], 1),
    ("TUNED_EVENTS", &[Part::Tune], LEAST_RING),
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

/// The programs and maps of one part, in the kernel. Dropping it removes them.
#[derive(Debug)]
pub struct Programs {
    pub ebpf: Ebpf,
    part: Part,
}

impl Programs {
    /// Creates the maps with these numbers of entries, at least one each, and sets the globals. The
    /// object also contains the maps of the other parts; these are made as small as possible.
    pub fn open(
        part: Part,
        globals: &[(&str, &[u8])],
        entries: &[(&str, u32)],
    ) -> Result<Self, NotTaken> {
        let object = OBJECT.ok_or(NotTaken::NoObject)?;
        let mut loader = EbpfLoader::new();
        // `new` has read all of the kernel's BTF for relocations, and there is no way round that in
        // aya 0.14. The programs have none: it is freed before they are loaded.
        loader.btf(None);
        for (map, parts, least) in SHARES {
            if !parts.contains(&part) {
                loader.map_max_entries(map, least);
            }
        }
        for &(map, entries) in entries {
            loader.map_max_entries(map, entries.max(1));
        }
        for &(global, bytes) in globals {
            loader.override_global(global, bytes, true);
        }
        let ebpf = loader
            .load(object)
            .map_err(|error| part.not_taken("load the eBPF object", error))?;
        Ok(Self { ebpf, part })
    }

    /// Has the kernel verify a program with aya's function for its type.
    pub fn load<'a, P: 'a>(
        &'a mut self,
        name: &'static str,
        load: impl FnOnce(&mut P) -> Result<(), ProgramError>,
    ) -> Result<&'a mut P, NotTaken>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let part = self.part;
        let program: &'a mut P = self
            .program(name)
            .map_err(|error| part.not_taken(format!("find program {name} in the object"), error))?;
        match load(&mut *program) {
            Ok(()) => Ok(program),
            Err(error) => Err(part.not_loaded(name, error)),
        }
    }

    /// The program of this name.
    pub fn program<'a, P>(&'a mut self, name: &str) -> Result<P, ProgramError>
    where
        P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name);
        program.ok_or(ProgramError::NotLoaded)?.try_into()
    }

    /// Takes a map out of the programs.
    pub fn take_map<M>(&mut self, name: &str) -> Result<M, NotTaken>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or_else(|| {
            let name = name.to_owned();
            MapError::InvalidName { name }
        });
        map.and_then(TryInto::try_into)
            .map_err(|error| self.part.not_taken(format!("open map {name}"), error))
    }
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

impl Part {
    /// The capabilities that it needs, for error messages.
    fn needs(self) -> &'static str {
        match self {
            Self::Source => "CAP_BPF and CAP_PERFMON",
            Self::Refuse | Self::Tune => "CAP_BPF and CAP_NET_ADMIN",
            Self::Keepalive => "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
        }
    }

    /// Distinguishes a lack of privilege, and its cause, from other failures.
    pub fn not_taken(self, what: impl Into<String>, error: impl Into<EbpfError>) -> NotTaken {
        let (needs, what) = (self.needs(), what.into());
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
    fn not_loaded(self, program: &'static str, error: ProgramError) -> NotTaken {
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
fn end_of(log: &str) -> String {
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
        let denied = io::Error::from_raw_os_error(nix::libc::EPERM);
        let error = ProgramError::SyscallError(aya::sys::SyscallError {
            call: "perf_event_open",
            io_error: denied,
        });
        let message = Part::Source.not_taken("load", error).to_string();
        assert!(message.contains("CAP_BPF and CAP_PERFMON"), "{message}");
        let other = Part::Source.not_taken("load", EbpfError::NoBTF);
        assert!(matches!(other, NotTaken::Failed { .. }));
    }
}
