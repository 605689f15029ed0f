//! Keeps programs attached to the cgroups of services: attaches them once a cgroup exists, and
//! again when a restarted unit gets a new one.
//!
//! A [`Keeper`](crate::keeper::Keeper) calls it once a second.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tracing::{info, warn};

use super::ProtectError;
use crate::{config::Target, keeper::Look, process::Finder};

/// Programs that can be attached to a cgroup.
pub trait Attach: Send + 'static {
    /// The attachment; dropping it detaches the programs.
    type Link: Send;

    /// What the programs do, for the log.
    const DOING: &'static str;

    fn attach(&mut self, cgroup: &File) -> Result<Self::Link, ProtectError>;
}

/// One kind of programs, with the cgroups where they belong.
#[derive(Debug)]
pub struct Follower<A: Attach> {
    finder: Finder,
    programs: A,
    targets: BTreeMap<Target, Followed<A::Link>>,
}

/// A target, and the cgroups to which the programs are attached for it.
#[derive(Debug)]
struct Followed<L> {
    attached: Vec<Attached<L>>,
    /// Whether another follower says what its cgroups are.
    is_told: bool,
    /// The last message that was logged about it.
    said: String,
}

#[derive(Debug)]
struct Attached<L> {
    path: PathBuf,
    id: CgroupId,
    _link: L,
}

/// The device and inode of a cgroup's directory. A cgroup that is created again gets new ones.
type CgroupId = (u64, u64);

/// The message about a target that names nothing yet.
const NOT_THERE: &str = "not there";

impl<A: Attach> Follower<A> {
    /// Of the `told` ones of the targets, another follower says what their cgroups are.
    pub fn new(finder: Finder, programs: A, targets: &[Target], told: &[Target]) -> Self {
        let waiting = |target: &Target| {
            let followed = Followed {
                attached: Vec::new(),
                is_told: told.contains(target),
                said: String::new(),
            };
            (target.clone(), followed)
        };
        Self {
            finder,
            programs,
            targets: targets.iter().map(waiting).collect(),
        }
    }
}

impl<A: Attach> Look for Follower<A> {
    fn look(&mut self) {
        for (target, followed) in &mut self.targets {
            followed.forget_the_gone(target);
            // A unit and a path have one cgroup, and while it is there nothing else is looked for.
            let has_one = matches!(target, Target::Unit(_) | Target::Path(_));
            if has_one && !followed.attached.is_empty() {
                continue;
            }
            let news = followed.attach_all(&self.finder, &mut self.programs, target);
            if news != followed.said {
                say(target, &self.finder, &news);
                followed.said = news;
            }
        }
    }
}

impl<L> Followed<L> {
    fn forget_the_gone(&mut self, target: &Target) {
        let before = self.attached.len();
        self.attached.retain(|attached| {
            let is_there = cgroup_id(&attached.path).is_ok_and(|now| now == attached.id);
            if !is_there {
                // The kernel has detached the programs; dropping the link has no effect.
                info!(%target, path = %attached.path.display(), "the cgroup is gone");
            }
            is_there
        });
        if self.attached.len() < before {
            self.said.clear();
        }
    }

    /// Attaches the programs wherever they are missing; returns what is to be said.
    fn attach_all<A: Attach<Link = L>>(
        &mut self,
        finder: &Finder,
        programs: &mut A,
        target: &Target,
    ) -> String {
        let found = finder.cgroups(target);
        // A cgroup in which none of the processes is any more is let go.
        self.attached
            .retain(|attached| found.paths.contains(&attached.path));
        let problem = found.problem.filter(|_| !self.is_told);
        let mut news = problem.unwrap_or_default();
        for path in found.paths {
            if self.attached.iter().any(|attached| attached.path == path) {
                continue;
            }
            match attach(programs, path) {
                Ok(Some(attached)) => {
                    info!(%target, path = %attached.path.display(), "{}", A::DOING);
                    self.attached.push(attached);
                }
                Ok(None) => {}
                Err(error) => news = error.to_string(),
            }
        }
        match self.attached.is_empty() && news.is_empty() && !self.is_told {
            true => NOT_THERE.to_owned(),
            false => news,
        }
    }
}

fn say(target: &Target, finder: &Finder, news: &str) {
    let tree = finder.tree().map(|tree| tree.mount().display().to_string());
    match news {
        "" => {}
        NOT_THERE => info!(
            %target,
            tree = tree.unwrap_or_default(),
            "there is no such cgroup yet; waiting for it (a unit is named with its suffix, as in \
             rustfs.service)"
        ),
        news => warn!(%target, "{news}; trying again"),
    }
}

fn attach<A: Attach>(
    programs: &mut A,
    path: PathBuf,
) -> Result<Option<Attached<A::Link>>, ProtectError> {
    let open = |source| ProtectError::Cgroup {
        path: path.clone(),
        source,
    };
    let directory = match File::open(&path) {
        Ok(directory) => directory,
        // The cgroup has gone in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open(error)),
    };
    let metadata = directory.metadata().map_err(open)?;
    let link = programs.attach(&directory)?;
    Ok(Some(Attached {
        path,
        id: (metadata.dev(), metadata.ino()),
        _link: link,
    }))
}

fn cgroup_id(path: &Path) -> io::Result<CgroupId> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
