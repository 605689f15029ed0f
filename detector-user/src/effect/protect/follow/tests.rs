//! Which cgroups are protected, as services come and go.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{cgroup::Tree, keeper::Keeper};

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
    let finder = Finder::at(Some(Tree::at(root)), Path::new("/proc"));
    let follower = Follower::new(finder, programs, &targets, &[]);
    (follower, move || attached.lock().unwrap().clone())
}

fn said(follower: &Follower<Fake>) -> &str {
    let followed = follower.targets.values().next();
    followed.map_or("", |followed| &followed.said)
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
    assert_eq!(said(&follower), ProtectError::NoLinks.to_string());
    *refuse.lock().unwrap() = false;
    follower.look();
    assert_eq!(attached(), [inode(root.path())]);
}

#[test]
fn what_another_follower_says_of_a_cgroup_is_not_said_again() {
    let root = tempfile::tempdir().unwrap();
    let (mut follower, attached) = follower(root.path(), "a.service");
    follower.look();
    assert_eq!(said(&follower), NOT_THERE);
    for followed in follower.targets.values_mut() {
        followed.is_told = true;
    }
    follower.look();
    assert_eq!(said(&follower), "");
    // What is wrong with its own programs is.
    *follower.programs.refuse.lock().unwrap() = true;
    fs::create_dir(root.path().join("a.service")).unwrap();
    follower.look();
    assert_eq!(said(&follower), ProtectError::NoLinks.to_string());
    assert!(attached().is_empty());
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
