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
use crate::{cgroup::Tree, config::Target, keeper::Look};

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
    tree: Tree,
    programs: A,
    targets: BTreeMap<Target, State<A::Link>>,
}

#[derive(Debug)]
enum State<L> {
    /// Not attached. Holds the last message that was logged about it.
    Waiting(String),
    Attached {
        path: PathBuf,
        id: CgroupId,
        _link: L,
    },
}

/// The device and inode of a cgroup's directory. A cgroup that is created again gets new ones.
type CgroupId = (u64, u64);

impl<A: Attach> Follower<A> {
    pub fn new(tree: Tree, programs: A, targets: &[Target]) -> Self {
        let waiting = |target: &Target| (target.clone(), State::Waiting(String::new()));
        Self {
            tree,
            programs,
            targets: targets.iter().map(waiting).collect(),
        }
    }
}

impl<A: Attach> Look for Follower<A> {
    fn look(&mut self) {
        for (target, state) in &mut self.targets {
            if let State::Attached { path, id, .. } = &*state {
                if cgroup_id(path).is_ok_and(|now| now == *id) {
                    continue;
                }
                info!(%target, path = %path.display(), "the cgroup is gone");
                // The kernel has detached the programs; dropping the link has no effect.
                *state = State::Waiting(String::new());
            }
            let outcome = attach(&self.tree, &mut self.programs, target);
            match (outcome, &mut *state) {
                (Ok(Some((path, id, link))), state) => {
                    info!(%target, path = %path.display(), "{}", A::DOING);
                    *state = State::Attached {
                        path,
                        id,
                        _link: link,
                    };
                }
                (Ok(None), State::Waiting(said)) => {
                    let news = "not there";
                    if said != news {
                        info!(
                            %target,
                            tree = %self.tree.mount().display(),
                            "there is no such cgroup yet; waiting for it (a unit is named with its \
                             suffix, as in rustfs.service)"
                        );
                        news.clone_into(said);
                    }
                }
                (Err(error), State::Waiting(said)) => {
                    let news = error.to_string();
                    if *said != news {
                        warn!(%target, "{news}; trying again");
                        *said = news;
                    }
                }
                (_, State::Attached { .. }) => {}
            }
        }
    }
}

type Attached<L> = (PathBuf, CgroupId, L);

fn attach<A: Attach>(
    tree: &Tree,
    programs: &mut A,
    target: &Target,
) -> Result<Option<Attached<A::Link>>, ProtectError> {
    let Some(path) = tree.locate(target) else {
        return Ok(None);
    };
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
    Ok(Some((path, (metadata.dev(), metadata.ino()), link)))
}

fn cgroup_id(path: &Path) -> io::Result<CgroupId> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::keeper::Keeper;

    /// Records the inodes of the cgroups to which it is attached; can be set to refuse.
    #[derive(Debug, Default)]
    struct Fake {
        attached: Arc<Mutex<Vec<u64>>>,
        refuse: Arc<Mutex<bool>>,
    }

    #[derive(Debug)]
    struct FakeLink(u64, Arc<Mutex<Vec<u64>>>);

    impl Drop for FakeLink {
        fn drop(&mut self) {
            self.1.lock().unwrap().retain(|inode| *inode != self.0);
        }
    }

    impl Attach for Fake {
        type Link = FakeLink;
        const DOING: &'static str = "pretending";

        fn attach(&mut self, cgroup: &File) -> Result<FakeLink, ProtectError> {
            if *self.refuse.lock().unwrap() {
                return Err(ProtectError::NoLinks);
            }
            let inode = cgroup.metadata().unwrap().ino();
            self.attached.lock().unwrap().push(inode);
            Ok(FakeLink(inode, Arc::clone(&self.attached)))
        }
    }

    fn follower(root: &Path, target: &str) -> (Follower<Fake>, impl Fn() -> Vec<u64>) {
        let programs = Fake::default();
        let attached = Arc::clone(&programs.attached);
        let targets = [Target::parse(target).unwrap()];
        let follower = Follower::new(Tree::at(root), programs, &targets);
        (follower, move || attached.lock().unwrap().clone())
    }

    fn inode(path: &Path) -> u64 {
        path.metadata().unwrap().ino()
    }

    #[test]
    fn a_cgroup_is_followed_from_before_it_is_there_and_through_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let (mut follower, attached) = follower(root.path(), "a.service");
        follower.look();
        assert!(attached().is_empty());

        let path = root.path().join("system.slice/a.service");
        fs::create_dir_all(&path).unwrap();
        let first = inode(&path);
        follower.look();
        follower.look();
        assert_eq!(attached(), [first]);

        // The cgroup is created anew before the next look. The old one is kept so that the inodes
        // differ.
        fs::rename(&path, root.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        let second = inode(&path);
        follower.look();
        assert_eq!(attached(), [second]);

        fs::remove_dir(&path).unwrap();
        follower.look();
        assert!(attached().is_empty());
    }

    #[test]
    fn what_is_refused_is_tried_again_and_said_once() {
        let root = tempfile::tempdir().unwrap();
        let (mut follower, attached) = follower(root.path(), "/");
        let refuse = Arc::clone(&follower.programs.refuse);
        *refuse.lock().unwrap() = true;
        follower.look();
        assert!(attached().is_empty());
        let said = |follower: &Follower<Fake>| match follower.targets.values().next() {
            Some(State::Waiting(said)) => said.clone(),
            _ => String::new(),
        };
        assert_eq!(said(&follower), ProtectError::NoLinks.to_string());
        *refuse.lock().unwrap() = false;
        follower.look();
        assert_eq!(attached(), [inode(root.path())]);
    }

    #[test]
    fn dropping_the_keeper_detaches() {
        let root = tempfile::tempdir().unwrap();
        let (follower, attached) = follower(root.path(), "/");
        let keeper = Keeper::start("cgroups", vec![Box::new(follower)]).unwrap();
        assert_eq!(attached().len(), 1);
        drop(keeper);
        assert!(attached().is_empty());
    }
}
