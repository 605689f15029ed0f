//! Follows the processes: which there are, and what each was started with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{info, warn};

use super::{
    Found, Named, View,
    found::Origin,
    lookup::{Here, suspects},
    members,
};
use crate::{
    clock,
    config::{MAX_TARGETS, Profile, Stores, Target},
    model::Time,
    process::{Executable, Finder, Process, ReadError},
    stores::{self, Cluster, Environment, ReadFile, Started, StoreError},
};

/// How long what a process has said stays valid after its end.
const KEPT: Duration = Duration::from_secs(300);

/// How long what may change serves.
const SERVES_FOR: Duration = Duration::from_secs(15);

/// The most processes of one program that are read.
const MAX_PROCESSES: usize = MAX_TARGETS;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the processes of the configured programs.
#[derive(Debug)]
pub struct Follower {
    stores: Stores,
    finder: Finder,
    here: Here,
    /// What each server has said, and when. A process that is none may become one by execve(2), as
    /// the script does that starts it, and is read again.
    read: BTreeMap<(Profile, Process), (Time, Cluster)>,
    /// What was found last of each program, and when.
    last: BTreeMap<Profile, (Time, Vec<Named>)>,
    /// How long what may change serves.
    serves_for: Duration,
    /// Where the environment files are: below this directory, or in their usual place.
    root: PathBuf,
    said: BTreeSet<String>,
}

impl Follower {
    pub fn new(stores: Stores, finder: Finder) -> Self {
        Self {
            stores,
            finder,
            here: Here::find(),
            read: BTreeMap::new(),
            last: BTreeMap::new(),
            serves_for: SERVES_FOR,
            root: PathBuf::from("/"),
            said: BTreeSet::new(),
        }
    }

    /// What the programs say now. Blocks.
    pub fn look(&mut self) -> Found {
        let mut found = Found::default();
        let mut alive = BTreeSet::new();
        for profile in Profile::ALL {
            if self.stores.of(profile).is_empty() {
                continue;
            }
            let processes = self.processes(profile);
            alive.extend(processes.iter().map(|process| (profile, process.clone())));
            let named = self.named(profile, &processes, &mut found.notes);
            let named = match named.is_empty() {
                true => self.remembered(profile, processes.is_empty(), &mut found.notes),
                false => {
                    self.last.insert(profile, (clock::now(), named.clone()));
                    named
                }
            };
            found.named.extend(named);
        }
        self.read.retain(|known, _| alive.contains(known));
        self.say(&found);
        found
    }

    /// Descriptors that become readable when a process ends that was read.
    pub fn pidfds(&self) -> Vec<OwnedFd> {
        let servers = self.read.keys();
        servers.filter_map(|(_, process)| process.pidfd()).collect()
    }

    /// The processes of a program, bounded. In a unit, cgroup or pod there are others as well:
    /// those with the program's own executable count, or else all.
    fn processes(&self, profile: Profile) -> Vec<Process> {
        let mut processes = BTreeSet::new();
        for target in self.stores.of(profile) {
            let ids = self.finder.processes(target);
            let is_program = |id: &u32| {
                let executable = Executable::of(Path::new("/proc"), *id);
                executable.is_some_and(|executable| executable.is(profile.executable()))
            };
            let of_program: Vec<u32> = match target {
                Target::Exe(_) => Vec::new(),
                _ => ids.iter().copied().filter(is_program).collect(),
            };
            let ids = if of_program.is_empty() {
                ids
            } else {
                of_program
            };
            processes.extend(
                ids.into_iter()
                    .filter_map(Process::find)
                    .take(MAX_PROCESSES),
            );
        }
        processes.into_iter().take(MAX_PROCESSES).collect()
    }

    fn named(
        &mut self,
        profile: Profile,
        processes: &[Process],
        notes: &mut Vec<String>,
    ) -> Vec<Named> {
        let mut named = Vec::new();
        for process in processes {
            match self.of_process(profile, process) {
                Ok(Some(one)) => named.push(one),
                Ok(None) => {}
                Err(why) => notes.push(format!(
                    "{} pid {} ({}): {why}",
                    profile.as_str(),
                    process.id,
                    process.service()
                )),
            }
        }
        named
    }

    fn of_process(&mut self, profile: Profile, process: &Process) -> Result<Option<Named>, String> {
        let view = match self.here.view(process) {
            Ok(view) => view,
            Err(Ok(ReadError::Ended { .. })) => return Ok(None),
            Err(Ok(error)) => return Err(error.to_string()),
            Err(Err(foreign)) => return Err(foreign),
        };
        let cluster = self.cluster_of(profile, process, &view)?;
        Ok(cluster.map(|cluster| Named {
            profile,
            suspects: suspects(&cluster, view.hostname.as_deref()),
            origin: Origin::Process {
                process: process.clone(),
                service: process.service(),
            },
            cluster,
            view,
        }))
    }

    /// What the process says, read anew where that may have changed.
    fn cluster_of(
        &mut self,
        profile: Profile,
        process: &Process,
        view: &View,
    ) -> Result<Option<Cluster>, String> {
        let key = (profile, process.clone());
        let before = self.read.get(&key);
        if let Some((at, known)) = before
            && (clock::now().since(*at) < self.serves_for || !known.may_change)
        {
            return Ok(Some(known.clone()));
        }
        let started = match process.started() {
            Ok(started) => started,
            Err(ReadError::Ended { .. } | ReadError::Starting { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let file = |path: &Path| read_text(process.open_in_root(&process.absolute(path)?)?);
        let Some(mut cluster) = read(profile, &started, &file)? else {
            return Ok(None);
        };
        members::ask(&mut cluster, before.map(|(_, before)| before), view)?;
        self.read.insert(key, (clock::now(), cluster.clone()));
        Ok(Some(cluster))
    }

    /// What is known of a program of which no process tells anything. What is wrong with a process
    /// that runs was noted before.
    fn remembered(
        &mut self,
        profile: Profile,
        none_runs: bool,
        notes: &mut Vec<String>,
    ) -> Vec<Named> {
        if let Some((at, named)) = self.last.get(&profile)
            && clock::now().since(*at) < KEPT
        {
            return named.clone();
        }
        self.last.remove(&profile);
        let file = profile.environment_file().trim_start_matches('/');
        let path = self.root.join(file);
        let text = read_file(&path).map_err(|error| error.to_string());
        let cluster = text.and_then(|text| {
            let started = Started {
                arguments: stores::server(profile),
                environment: Environment::of_file(&text),
            };
            read(profile, &started, &read_file)
        });
        match cluster {
            Ok(Some(cluster)) => vec![Named {
                profile,
                suspects: suspects(&cluster, self.here.hostname()),
                cluster,
                origin: Origin::File(path),
                view: View::default(),
            }],
            Ok(None) => Vec::new(),
            Err(_) if !none_runs => Vec::new(),
            Err(why) => {
                let targets = self.stores.of(profile).iter();
                let targets: Vec<String> = targets.map(Target::to_string).collect();
                notes.push(format!(
                    "no process of {} is found ({}), and {} tells no peers: {why}; start it, or \
                     name its processes (unit:NAME, cgroup:PATH, pod:NAME, exe:NAME)",
                    profile.as_str(),
                    targets.join(", "),
                    path.display(),
                ));
                Vec::new()
            }
        }
    }

    /// Logs what has changed.
    fn say(&mut self, found: &Found) {
        let sources = found.sources().into_iter();
        let news: BTreeSet<String> = sources.map(|source| source.text).collect();
        for line in news.difference(&self.said) {
            match found.notes.contains(line) {
                true => warn!("{line}"),
                false => info!("peers: {line}"),
            }
        }
        self.said = news;
    }
}

/// The cluster that a program names; `None` if it is no server.
fn read(
    profile: Profile,
    started: &Started,
    file: &ReadFile<'_>,
) -> Result<Option<Cluster>, String> {
    match stores::cluster(profile, started, file) {
        Ok(cluster) => Ok(Some(cluster)),
        Err(StoreError::NoServer) => Ok(None),
        Err(StoreError::Wrong(why)) => Err(why),
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    read_text(File::open(path)?)
}

fn read_text(file: File) -> io::Result<String> {
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > MAX_FILE_BYTES {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
