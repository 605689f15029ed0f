//! A table of processes and a tree of cgroups that are made for the test.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{
    pods::uid_of,
    read::{service_of, started_with},
    *,
};
use crate::stores::Started;

const UID: &str = "4fe0a9c6-1d5c-4b5f-9c3e-2d6f0a1b7c8d";

struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["proc", "cgroup", "logs"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn finder(&self) -> Finder {
        let tree = Tree::at(self.path("cgroup"));
        let finder = Finder::at(Some(tree), &self.path("proc"));
        finder.read().pods = Pods::with_logs(&self.path("logs"));
        finder
    }

    fn process(&self, id: u32, exe: &str, cgroup: &str) {
        let folder = self.path(&format!("proc/{id}"));
        fs::create_dir_all(&folder).unwrap();
        symlink(exe, folder.join("exe")).unwrap();
        fs::write(
            folder.join("cgroup"),
            format!("1:name=systemd:/x\n0::{cgroup}\n"),
        )
        .unwrap();
        let stat = format!("{id} (a ) name) S 1{} 77 0\n", " 0".repeat(17));
        fs::write(folder.join("stat"), stat).unwrap();
        let group = self.cgroup(cgroup.trim_start_matches('/'));
        let ids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        fs::write(group.join("cgroup.procs"), format!("{ids}{id}\n")).unwrap();
    }

    fn end(&self, id: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{id}"))).unwrap();
    }

    fn cgroup(&self, path: &str) -> PathBuf {
        let path = self.path("cgroup").join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

#[test]
fn an_executable_s_processes_and_their_cgroups_are_found() {
    let world = World::new();
    let finder = world.finder();
    assert!(finder.processes(&target("exe:rustfs")).is_empty());
    let world = World::new();
    world.process(
        7,
        "/usr/bin/rustfs (deleted)",
        "/system.slice/rustfs.service",
    );
    world.process(8, "/opt/rustfs", "/docker/a");
    world.process(9, "/usr/bin/rustfs-cli", "/docker/b");
    fs::create_dir(world.path("proc/10")).unwrap();
    fs::create_dir(world.path("proc/self")).unwrap();
    let finder = world.finder();
    assert_eq!(finder.processes(&target("exe:rustfs")).len(), 2);
    assert_eq!(finder.processes(&target("exe:/opt/rustfs")), [8]);
    let found = finder.cgroups(&target("exe:rustfs"));
    let wanted = ["docker/a", "system.slice/rustfs.service"];
    assert_eq!(
        found.paths,
        wanted.map(|path| world.path("cgroup").join(path))
    );
    assert_eq!(found.problem, None);
}

#[test]
fn a_process_that_ended_is_noticed_at_once() {
    let world = World::new();
    world.process(7, "/usr/bin/rustfs", "/a");
    let finder = world.finder();
    assert_eq!(finder.processes(&target("exe:rustfs")), [7]);
    world.end(7);
    world.process(8, "/usr/bin/rustfs", "/a");
    assert_eq!(finder.clone().processes(&target("exe:rustfs")), [8]);
}

#[test]
fn the_root_cgroup_is_never_taken_for_a_service() {
    let world = World::new();
    world.process(7, "/usr/bin/rustfs", "/");
    let found = world.finder().cgroups(&target("exe:rustfs"));
    assert!(found.paths.is_empty());
    assert!(found.problem.unwrap().contains("pid 7"));
    // Who names it means it.
    assert_eq!(
        world.finder().cgroups(&target("/")).paths,
        [world.path("cgroup")]
    );
}

/// As seen from a container with a cgroup namespace of its own.
#[test]
fn a_cgroup_outside_of_the_own_namespace_is_searched_for() {
    let world = World::new();
    world.process(7, "/usr/bin/rustfs", "/deep/below");
    let cgroup = "0::/../../elsewhere/below\n";
    fs::write(world.path("proc/7/cgroup"), cgroup).unwrap();
    let found = world.finder().cgroups(&target("exe:rustfs"));
    assert_eq!(found.paths, [world.path("cgroup/deep/below")]);
}

#[test]
fn a_pod_is_found_by_its_uid_and_its_name_with_either_driver() {
    let world = World::new();
    let other = "11111111-1d5c-4b5f-9c3e-2d6f0a1b7c8d";
    let systemd = format!(
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
        UID.replace('-', "_")
    );
    let cgroupfs = format!("kubepods/besteffort/pod{other}");
    world.process(7, "/rustfs", &format!("/{systemd}/cri-containerd-a.scope"));
    world.process(8, "/rustfs", &format!("/{cgroupfs}/b"));
    for (name, uid) in [("rustfs-0", UID), ("rustfs-1", other), ("etcd-0", "x")] {
        fs::create_dir(world.path(&format!("logs/storage_{name}_{uid}"))).unwrap();
    }
    let finder = world.finder();
    let cgroups = |text: &str| finder.cgroups(&target(text)).paths;
    let wanted = [&cgroupfs, &systemd].map(|path| world.path("cgroup").join(path));
    assert_eq!(cgroups(&format!("pod:{UID}")), [wanted[1].clone()]);
    assert_eq!(cgroups("pod:rustfs-1"), [wanted[0].clone()]);
    let both = cgroups("pod:rustfs-*");
    assert_eq!(
        both.iter().collect::<BTreeSet<_>>(),
        wanted.iter().collect()
    );
    assert!(cgroups("pod:rustfs").is_empty());
    assert_eq!(finder.processes(&target("pod:rustfs-*")), [7, 8]);
    assert_eq!(finder.processes(&target("pod:rustfs-0")), [7]);
}

#[test]
fn a_service_is_called_as_people_call_it() {
    let id = "0123456789abcdef".repeat(4);
    for (path, name) in [
        ("/system.slice/rustfs.service", "rustfs.service"),
        ("/system.slice/rustfs.service/inner", "rustfs.service"),
        ("/", "the root cgroup"),
        ("", "the root cgroup"),
        ("/some/where", "/some/where"),
    ] {
        assert_eq!(service_of(path), name, "{path}");
    }
    assert_eq!(
        service_of(&format!("/system.slice/docker-{id}.scope")),
        "container 0123456789ab"
    );
    assert_eq!(
        service_of(&format!("/docker/{id}")),
        "container 0123456789ab"
    );
    let pod = format!("/kubepods/burstable/pod{UID}/{id}");
    assert_eq!(service_of(&pod), format!("pod {UID}"));
    assert_eq!(uid_of("podman"), None);
    assert_eq!(uid_of("machine-pod1.slice"), None);
}

#[test]
fn a_process_is_read_as_it_was_started() {
    let mut command = std::process::Command::new("sleep");
    command
        .arg("1000")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .env_clear()
        .env("RUSTFS_VOLUMES", "/a  /b");
    let mut child = command.spawn().unwrap();
    let read = || {
        let process = Process::find(child.id())?;
        let started = process.started().ok()?;
        // Until it has become `sleep`, it is a copy of this one.
        started
            .environment
            .get("PATH")
            .ok()?
            .is_none()
            .then_some((process, started))
    };
    let (process, started) = loop {
        if let Some(read) = read() {
            break read;
        }
        std::thread::yield_now();
    };
    assert_eq!(started.arguments, ["1000"]);
    assert_eq!(
        started.environment.get("RUSTFS_VOLUMES"),
        Ok(Some("/a  /b"))
    );
    let own = fs::metadata("/proc/self/ns/net").unwrap();
    let own = u32::try_from(std::os::unix::fs::MetadataExt::ino(&own)).unwrap();
    assert_eq!(process.namespace("net").unwrap(), own);
    // What leads out of the root leads to the root.
    assert!(process.open_in_root(Path::new("../../etc/passwd")).is_ok());
    assert!(process.open_in_root(Path::new("etc")).is_err());
    assert!(process.open_in_root(Path::new("etc/passwd")).is_ok());
    let pidfd = process.pidfd().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut ends = [nix::poll::PollFd::new(
        std::os::fd::AsFd::as_fd(&pidfd),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(
        nix::poll::poll(&mut ends, nix::poll::PollTimeout::NONE),
        Ok(1)
    );
    assert!(!process.runs() && process.pidfd().is_none());
    assert!(matches!(process.started(), Err(ReadError::Ended { .. })));
}

/// A name may be empty; between execve(2)'s change of the executable and its end, there is none.
#[test]
fn what_is_being_started_shows_nothing_yet() {
    assert_eq!(started_with(b"", b""), None);
    assert_eq!(started_with(b"\0", b""), Some(Started::default()));
    let started = started_with(b"etcd\0--name\0a\0", b"A=1\0").unwrap();
    assert_eq!(started.arguments, ["--name", "a"]);
    assert_eq!(started.environment.get("A"), Ok(Some("1")));
}
