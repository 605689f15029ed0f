//! Recordings from other machines, and what a storage program was started with.

use std::{collections::BTreeSet, io};

use crate::{
    config::Profile,
    model::Time,
    record::{Reader, Replay, Timeouts},
    stores::{self, Environment, Started, ellipses::MAX_EXPANDED},
};

/// The most entries of a recording that are run through the core.
const ENTRIES: usize = 256;

/// A recording, which `detector replay` runs through the core.
pub(super) fn recording(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else {
        return;
    };
    let settings = reader.header().settings.clone();
    let mut replay = Replay::new(reader.header(), settings, Timeouts::Recorded);
    let mut last = Time::default();
    for _ in 0..ENTRIES {
        let Ok(Some(entry)) = reader.read() else {
            break;
        };
        assert!(entry.now >= last, "time goes back");
        last = entry.now;
        replay.step(entry, &mut |_, _| {});
    }
    let peers: Vec<_> = replay.peers().cloned().collect();
    for peer in &peers {
        let _ = replay.explain(peer);
    }
}

/// The arguments of a program in the first line, variables in those up to an empty line, and then
/// the content of any file that it names.
pub(super) fn volumes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (start, file) = text.split_once("\n\n").unwrap_or((&text, ""));
    let (arguments, environment) = start.split_once('\n').unwrap_or((start, ""));
    let started = Started {
        arguments: arguments.split(' ').map(str::to_owned).collect(),
        environment: Environment::of_file(environment),
    };
    let read = |_: &std::path::Path| -> io::Result<String> { Ok(file.to_owned()) };
    for profile in Profile::ALL {
        let Ok(cluster) = stores::cluster(profile, &started, &read) else {
            continue;
        };
        let names: BTreeSet<_> = cluster.nodes.iter().map(|node| &node.name).collect();
        assert_eq!(names.len(), cluster.nodes.len(), "a node comes twice");
        assert!(names.len() <= MAX_EXPANDED, "more nodes than the bound");
        for pool in &cluster.pools {
            assert_eq!(pool.disks() % pool.set_size(), 0, "uneven sets");
        }
        if let Some(members) = &cluster.members {
            let _ = members.read(file.as_bytes());
        }
    }
}
