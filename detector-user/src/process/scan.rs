//! The processes of this host by their executable.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::debug;

use super::{SERVES_ANYWAY, SERVES_FOR, read::start_time};
use crate::{clock, model::Time};

/// The most processes that are looked at.
const MAX_PROCESSES: usize = 1 << 17;

/// The longest name that a process has for itself (TASK_COMM_LEN without the closing zero).
const MAX_COMM: usize = 15;

/// What a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executable {
    /// The file, also if another file has its name by now.
    File(PathBuf),
    /// The file may not be seen: the first 15 characters of its name.
    Comm(String),
}

impl Executable {
    /// Whether this is the executable of that name or path.
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::File(path) if name.starts_with('/') => path == Path::new(name),
            Self::File(path) => path.file_name().is_some_and(|file| file == name),
            Self::Comm(comm) => {
                let file = name.rsplit('/').next().unwrap_or(name);
                *comm == file[..file.floor_char_boundary(MAX_COMM)]
            }
        }
    }

    /// What the process runs; `None` if it has ended, or is a thread of the kernel.
    pub fn of(proc: &Path, process: u32) -> Option<Self> {
        let directory = proc.join(process.to_string());
        match fs::read_link(directory.join("exe")) {
            Ok(path) => Some(Self::File(without_mark(path))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let comm = fs::read_to_string(directory.join("comm")).ok()?;
                Some(Self::Comm(comm.trim_end().to_owned()))
            }
            Err(_) => None,
        }
    }
}

/// The kernel marks a file that was replaced or removed (proc_pid_exe(5)).
fn without_mark(path: PathBuf) -> PathBuf {
    let text = path
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"));
    text.map(PathBuf::from).unwrap_or(path)
}

/// The table of processes as it was last read.
#[derive(Debug)]
pub(super) struct Scan {
    proc: PathBuf,
    read_at: Option<Time>,
    executables: Vec<(u32, Executable)>,
    /// The processes that somebody was given since, each with its start.
    asked: Vec<(u32, u64)>,
}

impl Scan {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            read_at: None,
            executables: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// The processes with this executable.
    pub(super) fn of_executable(&mut self, name: &str) -> Vec<u32> {
        if !self.is_fresh() {
            self.scan();
        }
        let found = self.executables.iter().filter(|(_, exe)| exe.is(name));
        let found: Vec<u32> = found.map(|(process, _)| *process).collect();
        for process in &found {
            if let Some(start) = start_time(&self.proc, *process)
                && !self.asked.contains(&(*process, start))
            {
                self.asked.push((*process, start));
            }
        }
        found
    }

    fn is_fresh(&self) -> bool {
        let Some(age) = self.read_at.map(|at| clock::now().since(at)) else {
            return false;
        };
        let goes_on =
            |(process, start): &(u32, u64)| start_time(&self.proc, *process) == Some(*start);
        match age {
            age if age < SERVES_ANYWAY => self.asked.iter().all(goes_on),
            age if age < SERVES_FOR => !self.asked.is_empty() && self.asked.iter().all(goes_on),
            _ => false,
        }
    }

    fn scan(&mut self) {
        self.asked.clear();
        self.executables.clear();
        self.read_at = Some(clock::now());
        let entries = match fs::read_dir(&self.proc) {
            Ok(entries) => entries,
            Err(error) => return debug!(%error, "the processes cannot be listed"),
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let processes = names.filter_map(|name| name.to_str()?.parse().ok());
        for process in processes.take(MAX_PROCESSES) {
            if let Some(executable) = Executable::of(&self.proc, process) {
                self.executables.push((process, executable));
            }
        }
    }
}
