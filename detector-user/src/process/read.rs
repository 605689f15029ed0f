//! What a process shows of itself in `/proc`: with what it was started, and where it is.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use super::pods::uid_of;
use crate::{
    cgroup::v2_path,
    stores::{Environment, Started},
};

/// The most that is read of a command line or an environment: ARG_MAX is 2 MiB where nobody has
/// changed it, and no volumes are so long.
const MAX_BYTES: u64 = 2 << 20;

/// Why a process cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("pid {process} has ended")]
    Ended { process: u32 },
    #[error("pid {process} is being started")]
    Starting { process: u32 },
    #[error(
        "{} cannot be read: {source}; another user's process takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", path.display()
    )]
    Refused { path: PathBuf, source: io::Error },
    #[error("{} has more than {MAX_BYTES} bytes, and is not read", path.display())]
    TooLong { path: PathBuf },
}

/// A process, as it was found. Its number may be another's by the time that it has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub id: u32,
    /// When it was started, in ticks since boot: with its number this names it for good.
    start: u64,
}

impl Process {
    /// The process with this number; `None` if there is none.
    pub fn find(id: u32) -> Option<Self> {
        let start = start_time(Path::new("/proc"), id)?;
        Some(Self { id, start })
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        start_time(Path::new("/proc"), self.id) == Some(self.start)
    }

    /// A descriptor that becomes readable when it ends (pidfd_open(2)).
    pub fn pidfd(&self) -> Option<OwnedFd> {
        let id = Pid::from_raw(i32::try_from(self.id).ok()?)?;
        let pidfd = pidfd_open(id, PidfdFlags::empty()).ok()?;
        // The number may have become another's before the descriptor was opened.
        self.runs().then_some(pidfd)
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.id))
    }

    /// Its command line and environment. The kernel shows neither between execve(2)'s change of the
    /// executable and the end of that call.
    pub fn started(&self) -> Result<Started, ReadError> {
        let line = self.read("cmdline")?;
        let environment = self.read("environ")?;
        let again = self.read("cmdline")?;
        if !self.runs() {
            return Err(ReadError::Ended { process: self.id });
        }
        // What was read is of one program only if the line is the same before and after.
        let whole = Some(line).filter(|line| *line == again);
        let started = whole.and_then(|line| started_with(&line, &environment));
        started.ok_or(ReadError::Starting { process: self.id })
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, ReadError> {
        let path = self.path(file);
        let mut content = Vec::new();
        let read =
            File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content));
        match read {
            Ok(read) if read as u64 > MAX_BYTES => Err(ReadError::TooLong { path }),
            Ok(_) => Ok(content),
            Err(source) if self.runs() => Err(ReadError::Refused { path, source }),
            Err(_) => Err(ReadError::Ended { process: self.id }),
        }
    }

    /// The number of its namespace of this kind, as in `net`.
    pub fn namespace(&self, kind: &str) -> Result<u32, ReadError> {
        let path = self.path(&format!("ns/{kind}"));
        match fs::metadata(&path) {
            Ok(metadata) => u32::try_from(metadata.ino()).map_err(|_| ReadError::Refused {
                path,
                source: io::ErrorKind::InvalidData.into(),
            }),
            Err(source) if self.runs() => Err(ReadError::Refused { path, source }),
            Err(_) => Err(ReadError::Ended { process: self.id }),
        }
    }

    /// The directory that is its root, held open. A path below it may be a link out of it.
    fn root(&self) -> io::Result<File> {
        let root = File::open(self.path("root"))?;
        match self.runs() {
            true => Ok(root),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The path from the process's root, where this one may be from its working directory.
    pub fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        match path.is_absolute() {
            true => Ok(path.to_owned()),
            false => Ok(fs::read_link(self.path("cwd"))?.join(path)),
        }
    }

    /// Opens a file as the process would, links included (openat2(2), RESOLVE_IN_ROOT).
    pub fn open_in_root(&self, path: &Path) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(self.root()?, path, how)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// What people call the service that it belongs to: its unit, pod or container, or its cgroup.
    pub fn service(&self) -> String {
        let text = fs::read_to_string(self.path("cgroup")).unwrap_or_default();
        service_of(v2_path(&text).unwrap_or_default())
    }
}

/// What a program was started with, by `/proc/PID/cmdline` and `environ`; `None` if it has nothing
/// yet, not even a name.
pub(super) fn started_with(line: &[u8], environment: &[u8]) -> Option<Started> {
    if line.is_empty() {
        return None;
    }
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let arguments = line.split(|byte| *byte == 0).skip(1);
    Some(Started {
        arguments: arguments
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect(),
        environment: Environment::of_process(environment),
    })
}

/// When the process was started (proc_pid_stat(5), field 22); `None` if it has ended.
pub(super) fn start_time(proc: &Path, process: u32) -> Option<u64> {
    let stat = fs::read(proc.join(process.to_string()).join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name before it may have any character.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // What is dead has ended, even if nobody has asked for its result yet.
    let ends = ["Z", "X", "x"];
    let state = fields.next().filter(|state| !ends.contains(state));
    state.and_then(|_| fields.nth(18)?.parse().ok())
}

/// What a cgroup's path says about the service in it.
pub(super) fn service_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(uid) = parts.iter().find_map(|part| uid_of(part)) {
        return format!("pod {uid}");
    }
    let Some(last) = parts.last() else {
        return "the root cgroup".to_owned();
    };
    let stem = Path::new(last)
        .file_stem()
        .and_then(OsStr::to_str)
        .unwrap_or(last);
    let id = stem.rsplit('-').next().unwrap_or(stem);
    if id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()) {
        return format!("container {}", &id[..12]);
    }
    let is_unit = |part: &&&str| part.ends_with(".service") || part.ends_with(".scope");
    let unit = parts.iter().rev().find(is_unit);
    unit.map_or_else(|| path.to_owned(), |unit| (*unit).to_owned())
}
