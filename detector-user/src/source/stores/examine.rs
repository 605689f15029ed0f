//! Checks for `detector doctor`: node by node, whether watching a program's peers would work.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use nix::libc::{ECONNREFUSED, EHOSTUNREACH, ENETUNREACH};
use tokio::{task::spawn_blocking, time::timeout};

use super::{Follower, Found, Named, StoreLookup, View};
use crate::{
    check::{Check, Status},
    config::{PeerSpec, Profile, Stores},
    model::PeerName,
    netns,
    process::Finder,
    source::resolve::Lookup as _,
};

/// How long a name may take to resolve, and a node to answer.
const RESOLVES_WITHIN: Duration = Duration::from_secs(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// How many nodes are checked at a time, and in all.
const AT_A_TIME: usize = 16;
const MAX_NODES: usize = 1024;

/// Everything that has to do with these programs.
pub async fn examine(stores: &Stores, finder: &Finder) -> Vec<Check> {
    if stores.is_empty() {
        return Vec::new();
    }
    let found = Follower::new(stores.clone(), finder.clone()).look();
    let mut checks = named(&found);
    checks.extend(services(stores, finder));
    let mut nodes: BTreeMap<PeerName, (PeerSpec, StoreLookup, bool)> = BTreeMap::new();
    for named in &found.named {
        for node in named.cluster.nodes.iter().take(MAX_NODES) {
            let lookup = StoreLookup {
                views: Vec::new(),
                is_suspect: true,
            };
            let entry = nodes.entry(node.name.clone());
            let (_, lookup, is_own) = entry.or_insert_with(|| (node.clone(), lookup, true));
            lookup.views.push(named.view.clone());
            lookup.is_suspect &= named.suspects.contains(&node.name);
            *is_own &= named.cluster.own.contains(&node.name);
        }
    }
    let checked = stream::iter(nodes.into_values().take(MAX_NODES))
        .map(|(spec, lookup, is_own)| node(spec, lookup, is_own))
        .buffered(AT_A_TIME);
    checks.extend(checked.collect::<Vec<_>>().await);
    checks
}

/// Where the peers come from, and what could not be found.
fn named(found: &Found) -> Vec<Check> {
    let of = |named: &Named| {
        let sources = named.sources().into_iter().map(|source| source.text);
        let lines = sources.collect::<Vec<_>>().join("; ");
        let name = named.profile.as_str();
        match named.cluster.nodes.len() {
            0 | 1 => Check::new(name, Status::Degraded, lines, "there is no peer to watch"),
            _ => Check::new(
                name,
                Status::Ok,
                lines,
                "its peers are watched, and followed",
            ),
        }
    };
    let notes = found.notes.iter().map(|note| {
        let meaning = "nothing is watched for it until this is mended";
        Check::new("peers of a program", Status::Missing, note.clone(), meaning)
    });
    found.named.iter().map(of).chain(notes).collect()
}

/// Whether the programs can be protected, and their networks entered.
fn services(stores: &Stores, finder: &Finder) -> Vec<Check> {
    let all = Profile::ALL.into_iter();
    let targets = all.flat_map(|profile| {
        stores
            .of(profile)
            .iter()
            .map(move |target| (profile, target))
    });
    let mut checks = Vec::new();
    for (profile, target) in targets {
        let cgroups = finder.cgroups(target);
        let name = |what: &str| format!("{} {target}: {what}", profile.as_str());
        let paths = cgroups.paths.iter().map(|path| path.display().to_string());
        let paths = paths.collect::<Vec<_>>().join(", ");
        checks.push(match (cgroups.problem, paths.is_empty()) {
            (None, false) => Check::new(
                name("cgroup"),
                Status::Ok,
                paths,
                "connects to dead peers are refused, connections with peers tuned",
            ),
            (problem, _) => Check::new(
                name("cgroup"),
                Status::Degraded,
                problem.unwrap_or_else(|| "not there now".to_owned()),
                "nothing is refused or tuned until it has a cgroup; sockets with a dead peer \
                 are destroyed all the same",
            ),
        });
        let entered = netns::open(finder, target).map(|set| match set.len() {
            0 => "not there now".to_owned(),
            _ => format!(
                "entered: {}",
                set.into_keys()
                    .map(|id| id.to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        });
        checks.push(Check::tried(
            name("network namespace"),
            entered,
            "its flows are watched, wherever they are",
            (
                Status::Degraded,
                "nothing of its network is seen; entering takes CAP_SYS_ADMIN, finding that of \
                 another user's processes CAP_SYS_PTRACE",
            ),
        ));
    }
    checks
}

/// Whether the node resolves, is this one, and answers.
async fn node(spec: PeerSpec, lookup: StoreLookup, is_own: bool) -> Check {
    let name = format!("node {}", spec.name);
    let this = || {
        let meaning = "it is no peer of its own";
        Check::new(name.clone(), Status::Ok, "this node itself", meaning)
    };
    if is_own {
        return this();
    }
    let looked_up = timeout(RESOLVES_WITHIN, lookup.lookup(&spec.host, spec.port)).await;
    let addresses = match looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => addresses,
        Err(error) => {
            return Check::new(
                name,
                Status::Missing,
                format!("{} does not resolve: {error}", spec.host),
                "it is not watched until it does: name it in DNS or in /etc/hosts of this host, or \
                 in a [[peer]] with its addresses",
            );
        }
    };
    let shown = addresses
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    match lookup.is_this_node(&addresses).await {
        Some(true) => return this(),
        Some(false) => {}
        None => {
            return Check::new(
                name,
                Status::Degraded,
                format!("{shown}, and it cannot be told whether that is this node"),
                "it is called like this node, and not watched; entering the program's network \
                 takes CAP_SYS_ADMIN and CAP_SYS_PTRACE",
            );
        }
    }
    let view = lookup.views.into_iter().next().unwrap_or_default();
    let targets = addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, spec.port))
        .collect();
    let reached = spawn_blocking(move || connect(&view, targets)).await;
    reachable(
        name,
        &shown,
        reached.unwrap_or_else(|error| Err(io::Error::other(error))),
    )
}

/// Connects to one of the addresses, from where the program does.
fn connect(view: &View, targets: Vec<SocketAddr>) -> io::Result<()> {
    let connect = move || {
        let mut last = Err(io::ErrorKind::AddrNotAvailable.into());
        for target in targets {
            last = TcpStream::connect_timeout(&target, ANSWERS_WITHIN).map(|_| ());
            if last.is_ok() {
                break;
            }
        }
        last
    };
    match view.namespace() {
        None => connect(),
        Some(Ok(Some(namespace))) => namespace.within(connect)?,
        Some(Ok(None)) => Err(io::ErrorKind::NotFound.into()),
        Some(Err(error)) => Err(io::Error::other(error)),
    }
}

fn reachable(name: String, shown: &str, reached: io::Result<()>) -> Check {
    let error = match reached {
        Ok(()) => {
            let meaning = "it is watched, and probed at this port";
            return Check::new(
                name,
                Status::Ok,
                format!("{shown}, and it answers"),
                meaning,
            );
        }
        Err(error) => error,
    };
    let meaning = match error.raw_os_error() {
        Some(ECONNREFUSED) => {
            return Check::new(
                name,
                Status::Ok,
                format!("{shown}: its host answers, and no program listens"),
                "it is watched: it is the host that counts",
            );
        }
        Some(EHOSTUNREACH | ENETUNREACH) => {
            "there is no way to it: see `ip route get` and the other end of the link"
        }
        _ => "it is down, or a firewall drops what is sent to it: probes of this port say nothing",
    };
    let found = format!("{shown}: does not answer within 1 s: {error}");
    Check::new(name, Status::Degraded, found, meaning)
}
