//! What a follower makes of namespaces that come, stay and go.

use std::{
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{geteuid, gettid},
};

use super::*;

/// A thread that holds a network namespace of its own until it is dropped.
struct Container {
    target: Target,
    id: u32,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Container {
    fn new() -> Self {
        let (stop, stopped) = channel::<()>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send((gettid(), own().unwrap())).unwrap();
            let _ended = stopped.recv();
        });
        let (thread_id, id) = told.recv().unwrap();
        let path = format!("/proc/self/task/{thread_id}/ns/net");
        Self {
            target: Target::parse(&path).unwrap(),
            id,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn following(targets: &[Target]) -> (Follower, watch::Receiver<Arc<Set>>) {
    let (sender, watched) = watch::channel(Arc::new(Set::new()));
    (
        Follower::new(
            own().unwrap(),
            Finder::at(None, std::path::Path::new("/proc")),
            targets,
            sender,
        ),
        watched,
    )
}

fn ids(watched: &watch::Receiver<Arc<Set>>) -> Vec<u32> {
    watched.borrow().keys().copied().collect()
}

#[test]
fn its_own_and_one_that_is_not_there_are_not_among_the_others() {
    let targets = ["/proc/self/ns/net", "/run/netns/no-such-namespace"];
    let targets = targets.map(|target| Target::parse(target).unwrap());
    let (mut follower, watched) = following(&targets);
    follower.look();
    assert!(ids(&watched).is_empty());
    assert!(!watched.has_changed().unwrap());
    assert_eq!(follower.targets[1].1, NOT_THERE);
}

#[test]
fn one_that_is_gone_is_let_go() {
    if !geteuid().is_root() {
        eprintln!("skipped: making a network namespace takes root");
        return;
    }
    let (stays, goes) = (Container::new(), Container::new());
    let targets = [stays.target.clone(), goes.target.clone()];
    let (mut follower, mut watched) = following(&targets);
    follower.look();
    let mut both = [stays.id, goes.id];
    both.sort_unstable();
    assert_eq!(ids(&watched), both);
    let held = Arc::downgrade(&watched.borrow_and_update()[&goes.id]);

    follower.look();
    assert!(!watched.has_changed().unwrap(), "nothing is new");
    drop(goes);
    follower.look();
    assert_eq!(ids(&watched), [stays.id]);
    assert!(held.upgrade().is_none(), "nobody holds it");
}

#[test]
fn they_are_bounded() {
    if !geteuid().is_root() {
        eprintln!("skipped: making a network namespace takes root");
        return;
    }
    let containers: Vec<_> = (0..=MAX_NAMESPACES).map(|_| Container::new()).collect();
    let targets: Vec<_> = containers.iter().map(|c| c.target.clone()).collect();
    let (mut follower, watched) = following(&targets);
    follower.look();
    assert_eq!(ids(&watched).len(), MAX_NAMESPACES);
    assert!(!ids(&watched).contains(&containers[MAX_NAMESPACES].id));
    assert!(follower.targets[MAX_NAMESPACES].1.contains("left out"));
}
