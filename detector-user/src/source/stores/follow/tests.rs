//! Real processes, and files below a directory that is made for the test.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::model::PeerName;

/// A program that does nothing, with these volumes.
struct Program {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Program {
    /// It has a name that no other program on this machine has.
    fn start(name: &str, volumes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        copy_of("sleep", &file);
        let mut command = Command::new(&file);
        // RustFS's own arguments would be its volumes.
        let volumes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(volumes);
        command
            .arg0("sleep")
            .args(["--", "1000"])
            .env("ETCD_INITIAL_CLUSTER", volumes);
        // It is not asked: by TLS alone it would answer.
        for urls in ["ETCD_LISTEN_PEER_URLS", "ETCD_LISTEN_CLIENT_URLS"] {
            command.env(urls, "https://localhost:2380");
        }
        command
            .env("ETCD_NAME", "a")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self {
            child,
            _directory: directory,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process writes the copy: a child that a test beside this one forks just then would hold
/// this process's descriptor for a moment, and the copy could not be executed (ETXTBSY).
fn copy_of(program: &str, file: &Path) {
    let paths = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(program));
    let found = paths.into_iter().find(|path| path.exists()).unwrap();
    let copied = Command::new("cp").arg(found).arg(file).status().unwrap();
    assert!(copied.success(), "{copied}");
}

fn name(test: &str) -> String {
    format!("store-{test}-{}", std::process::id())
}

fn follower(profile: Profile, exe: &str, root: &Path) -> Follower {
    let targets = vec![Target::parse(&format!("exe:{exe}")).unwrap()];
    let mut stores = Stores::default();
    match profile {
        Profile::RustFs => stores.rustfs = targets,
        Profile::Minio => stores.minio = targets,
        Profile::Etcd => stores.etcd = targets,
        Profile::IpfsCluster => stores.ipfs_cluster = targets,
    }
    let mut follower = Follower::new(stores, Finder::at(None, Path::new("/proc")));
    follower.root = root.to_owned();
    follower
}

fn nodes(found: &Found) -> Vec<&str> {
    found.nodes().map(|(_, node)| node.name.as_str()).collect()
}

/// Looks until something is found: a program is a copy of this one at first.
fn look(follower: &mut Follower) -> Found {
    loop {
        let found = follower.look();
        if !found.named.is_empty() || !found.notes.iter().all(|note| note.contains("no process")) {
            return found;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_process_names_the_peers_and_a_restart_other_ones() {
    let (root, exe) = (tempfile::tempdir().unwrap(), name("restart"));
    let mut follower = follower(Profile::Etcd, &exe, root.path());
    let first = Program::start(&exe, b"a=http://a:2380,b=http://b:2380");
    let found = look(&mut follower);
    assert_eq!(nodes(&found), ["http://b:2380"]);
    assert_eq!(
        found.named[0].cluster.own,
        [PeerName::from_canonical("http://a:2380")]
    );
    assert_eq!(follower.pidfds().len(), 1);
    let line = format!(
        "2 nodes, from ETCD_INITIAL_CLUSTER of pid {} (",
        first.child.id()
    );
    let source = &found.sources()[0];
    assert!(source.text.starts_with(&line), "{source:?}");
    let peers = ["http://a:2380", "http://b:2380"].map(PeerName::from_canonical);
    assert_eq!(source.peers, peers);
    assert_eq!(follower.look(), found, "nothing has changed");

    // What it has said is kept, until another says something else.
    drop(first);
    assert_eq!(nodes(&follower.look()), ["http://b:2380"]);
    assert!(follower.pidfds().is_empty());
    let _second = Program::start(&exe, b"a=http://a:2380,c=http://c:2380,d=http://d:2380");
    let found = loop {
        let found = follower.look();
        if nodes(&found) != ["http://b:2380"] {
            break found;
        }
        std::thread::yield_now();
    };
    assert_eq!(nodes(&found), ["http://c:2380", "http://d:2380"]);
}

#[test]
fn the_environment_file_serves_while_no_process_runs() {
    let (root, exe) = (tempfile::tempdir().unwrap(), name("file"));
    let mut follower = follower(Profile::RustFs, &exe, root.path());
    let found = follower.look();
    assert!(found.named.is_empty());
    let note = &found.notes[0];
    for part in [&format!("exe:{exe}"), "etc/default/rustfs", "unit:NAME"] {
        assert!(note.contains(part), "{note}");
    }
    std::fs::create_dir_all(root.path().join("etc/default")).unwrap();
    let file = root.path().join("etc/default/rustfs");
    let volumes = "RUSTFS_ACCESS_KEY=x\nRUSTFS_VOLUMES=\"http://n{1...4}:9000/d{1...4}\"\n";
    std::fs::write(&file, volumes).unwrap();
    let found = follower.look();
    assert_eq!(nodes(&found).len(), 4);
    assert_eq!(found.pools()[0].nodes.len(), 4);
    let line = format!(
        "4 nodes of pool 1, from RUSTFS_VOLUMES of {} (no process tells)",
        file.display()
    );
    assert_eq!(found.sources()[0].text, line);
    assert_eq!(found.sources()[0].peers.len(), 4);
    std::fs::write(
        &file,
        [b"RUSTFS_VOLUMES=\xff".as_slice(), &[b'a'; 9]].concat(),
    )
    .unwrap();
    assert!(follower.look().named.is_empty());
    std::fs::write(&file, vec![b'#'; (MAX_FILE_BYTES + 1) as usize]).unwrap();
    assert!(
        follower.look().notes[0].contains("too large"),
        "{:?}",
        follower.look().notes
    );
}

#[test]
fn what_a_process_says_wrongly_is_told_with_its_number() {
    for (number, (volumes, why)) in [
        (b"a=http://a:2380,b".as_slice(), "\"b\" is no member"),
        (b"a=http://\xff".as_slice(), "no UTF-8"),
    ]
    .into_iter()
    .enumerate()
    {
        let (root, exe) = (tempfile::tempdir().unwrap(), name(&format!("w{number}")));
        let mut follower = follower(Profile::Etcd, &exe, root.path());
        let program = Program::start(&exe, volumes);
        let found = look(&mut follower);
        assert!(found.named.is_empty());
        let note = &found.notes[0];
        let pid = format!("etcd pid {} (", program.child.id());
        assert!(note.starts_with(&pid) && note.contains(why), "{note}");
        assert_eq!(
            found.notes.len(),
            1,
            "nothing else is said: {:?}",
            found.notes
        );
    }
}

/// A shell that is called like this runs a file that is called like the command of a server.
fn start_shell(name: &str, directory: &Path, file: &str) -> Program {
    copy_of("sh", &directory.join(name));
    std::fs::write(directory.join("daemon"), "read forever\n").unwrap();
    let mut command = Command::new(directory.join(name));
    command.arg(file).current_dir(directory);
    command.env("IPFS_CLUSTER_PATH", ".");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Program {
        child: command.spawn().unwrap(),
        _directory: tempfile::tempdir().unwrap(),
    }
}

/// As of a container whose first script becomes the server, under the same number.
#[test]
fn what_is_no_server_is_read_again_and_may_have_become_one() {
    let (root, exe) = (tempfile::tempdir().unwrap(), name("becomes"));
    let mut follower = follower(Profile::IpfsCluster, &exe, root.path());
    let write = |file: &str, text: &str| std::fs::write(root.path().join(file), text).unwrap();
    write("service.json", "{\"cluster\": {}}");
    write("peerstore", "/ip4/192.0.2.1/tcp/9096/p2p/X\n");
    write(
        "first",
        &format!("echo ready; read go; exec ./{exe} daemon\n"),
    );
    let mut program = start_shell(&exe, root.path(), "first");
    let mut said = BufReader::new(program.child.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    assert_eq!(follower.look(), Found::default(), "it is no server");
    let mut input = program.child.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    assert_eq!(nodes(&look(&mut follower)), ["http://192.0.2.1:9096"]);
}

#[test]
fn a_file_that_the_program_rewrites_is_read_again() {
    let (root, exe) = (tempfile::tempdir().unwrap(), name("files"));
    let mut follower = follower(Profile::IpfsCluster, &exe, root.path());
    follower.serves_for = Duration::ZERO;
    let write = |file: &str, text: &str| std::fs::write(root.path().join(file), text).unwrap();
    write("service.json", "{\"cluster\": {}}");
    write("peerstore", "/ip4/192.0.2.1/tcp/9096/p2p/X\n");
    let _program = start_shell(&exe, root.path(), "daemon");
    assert_eq!(nodes(&look(&mut follower)), ["http://192.0.2.1:9096"]);
    write(
        "peerstore",
        "/ip4/192.0.2.1/tcp/9096/p2p/X\n/dns4/n2/tcp/9096/p2p/Y\n",
    );
    let both = ["http://192.0.2.1:9096", "http://n2:9096"];
    assert_eq!(nodes(&follower.look()), both);

    // While it cannot be read, what it said last stays.
    write("service.json", "{");
    let found = follower.look();
    assert_eq!(nodes(&found), both);
    assert!(
        found.notes[0].contains("./service.json: "),
        "{:?}",
        found.notes
    );
}
