//! How a process sees its peers: its network namespace, its own hosts file and name servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;
use tracing::debug;

use super::name_server;
use crate::{
    model::PeerName,
    netns::{Namespace, NamespaceError},
    process::{Process, ReadError},
    source::{
        network::any_is_local,
        resolve::{Lookup, SystemLookup},
    },
    stores::Cluster,
};

/// The longest hosts file that is read.
const MAX_HOSTS_BYTES: u64 = 1 << 20;

/// From where a process sees its peers. The default is from where the daemon does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The process, if its network or its files are not the daemon's own.
    process: Option<Process>,
    /// Its network namespace, if it is not the daemon's own.
    netns: Option<u32>,
    /// What its host is called.
    pub hostname: Option<String>,
}

/// The daemon's own namespaces, and the host's name.
#[derive(Debug)]
pub(super) struct Here {
    namespaces: BTreeMap<&'static str, u32>,
    hostname: Option<String>,
}

const KINDS: [&str; 4] = ["net", "mnt", "user", "uts"];

impl Here {
    pub(super) fn find() -> Self {
        let number = |kind: &'static str| {
            let metadata = fs::metadata(format!("/proc/self/ns/{kind}")).ok()?;
            Some((kind, u32::try_from(metadata.ino()).ok()?))
        };
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            namespaces: KINDS.into_iter().filter_map(number).collect(),
            hostname: hostname.map(|name| name.trim().to_owned()),
        }
    }

    pub(super) fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// From where the process sees its peers. What a process in a user namespace of its own says
    /// is not believed: the inner error says so.
    pub(super) fn view(&self, process: &Process) -> Result<View, Result<ReadError, String>> {
        let mut is_own = BTreeMap::new();
        let mut netns = None;
        for kind in KINDS {
            let number = process.namespace(kind).map_err(Ok)?;
            let own = self.namespaces.get(kind) == Some(&number);
            is_own.insert(kind, own);
            if kind == "net" && !own {
                netns = Some(number);
            }
        }
        if !is_own["user"] && netns.is_some() {
            return Err(Err(
                "it is in a user namespace of its own, where anyone may take any address, so \
                 that nothing is believed of it; name the peers (--peer) and its network \
                 namespace's file (--network-namespace)"
                    .to_owned(),
            ));
        }
        let is_elsewhere = netns.is_some() || !is_own["mnt"];
        Ok(View {
            process: is_elsewhere.then(|| process.clone()),
            netns,
            hostname: match is_own["uts"] {
                true => self.hostname.clone(),
                false => hostname_of(process),
            },
        })
    }
}

/// Containers have their host's name in their environment and their own file.
fn hostname_of(process: &Process) -> Option<String> {
    let started = process.started().ok();
    let named = started.and_then(|started| {
        let name = started.environment.get("HOSTNAME").ok().flatten();
        name.map(str::to_owned)
    });
    named.or_else(|| {
        let text = read_in_root(process, "etc/hostname").ok()?;
        Some(text.trim().to_owned()).filter(|name| !name.is_empty())
    })
}

/// The nodes whose names say that they are perhaps this one. It is the addresses that decide; until
/// they are known, such a node is not called a peer.
pub(super) fn suspects(cluster: &Cluster, hostname: Option<&str>) -> BTreeSet<PeerName> {
    let hostname = hostname.map(str::to_ascii_lowercase).unwrap_or_default();
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let short = first(&hostname);
    let of_this_host = |host: &str| !hostname.is_empty() && host == hostname;
    let called_alike = |host: &str| !short.is_empty() && first(host) == short;
    let is_local = |host: &str| {
        let address: Option<IpAddr> = host.parse().ok();
        address.is_some_and(|address| address.to_canonical().is_loopback())
            || host == "localhost"
            || host.ends_with(".localhost")
    };
    let named = cluster
        .nodes
        .iter()
        .map(|node| (&node.name, node.host.to_ascii_lowercase()));
    let alike = named.clone().filter(|(_, host)| called_alike(host)).count();
    let nodes = named.filter(|(_, host)| {
        // Where several nodes are called alike the short name says nothing.
        is_local(host) || of_this_host(host) || (alike == 1 && called_alike(host))
    });
    nodes.map(|(name, _)| name.clone()).collect()
}

/// Looks up a node's name as the processes do that name it, and tells whether it is this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLookup {
    pub views: Vec<View>,
    /// Whether the name says that it is perhaps this node.
    pub is_suspect: bool,
}

impl Lookup for StoreLookup {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address.to_canonical()]);
        }
        let (views, name) = (self.views.clone(), host.to_owned());
        let of_processes = move || views.iter().find_map(|view| view.look_up(&name));
        match spawn_blocking(of_processes)
            .await
            .map_err(io::Error::other)?
        {
            Some(addresses) => Ok(addresses),
            None => SystemLookup.lookup(host, port).await,
        }
    }

    async fn is_this_node(&self, addresses: &[IpAddr]) -> Option<bool> {
        if addresses.iter().any(IpAddr::is_loopback) {
            return Some(true);
        }
        let (this, addresses) = (self.clone(), addresses.to_vec());
        let told = spawn_blocking(move || this.is_local(&addresses)).await;
        told.ok().flatten()
    }
}

impl StoreLookup {
    /// Whether the addresses are the daemon's own host's, or local for each process that names the
    /// node: another node on this host is a peer of those that have a network of their own.
    fn is_local(&self, addresses: &[IpAddr]) -> Option<bool> {
        match any_is_local(addresses, None) {
            Ok(true) => return Some(true),
            Ok(false) => {}
            Err(error) => {
                debug!(%error, "not told whether it is local");
                return self.by_name();
            }
        }
        let mut all = true;
        for view in self.views.iter().filter(|view| view.netns.is_some()) {
            all &= match view.is_local(addresses) {
                Ok(is_local) => is_local,
                Err(NotTold::Ended) => return None,
                Err(NotTold::Refused) => return self.by_name(),
            };
        }
        let some_are_elsewhere = self.views.iter().any(|view| view.netns.is_some());
        let all_are_elsewhere = self.views.iter().all(|view| view.netns.is_some());
        Some(some_are_elsewhere && all_are_elsewhere && all)
    }

    /// Without addresses, only a name that is surely another's tells.
    fn by_name(&self) -> Option<bool> {
        (!self.is_suspect).then_some(false)
    }
}

/// Why it is not known whether an address is local in a process's namespace.
enum NotTold {
    Ended,
    Refused,
}

impl View {
    /// The process's network namespace, if it is not the daemon's own; the inner value is `None` if
    /// the process has ended.
    pub(super) fn namespace(&self) -> Option<Result<Option<Namespace>, NamespaceError>> {
        let (process, netns) = (self.process.as_ref()?, self.netns?);
        let path = PathBuf::from(format!("/proc/{}/ns/net", process.id));
        Some(match Namespace::open(&path) {
            Ok(namespace) if namespace.id() == netns && process.runs() => Ok(Some(namespace)),
            Ok(_) | Err(NamespaceError::Look { .. }) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn is_local(&self, addresses: &[IpAddr]) -> Result<bool, NotTold> {
        let namespace = match self.namespace() {
            None => return Ok(false),
            Some(Ok(Some(namespace))) => namespace,
            Some(Ok(None)) => return Err(NotTold::Ended),
            Some(Err(error)) => {
                debug!(%error, "not told what is local in a process's network");
                return Err(NotTold::Refused);
            }
        };
        any_is_local(addresses, Some(&namespace)).map_err(|error| {
            debug!(%error, "not told what is local in a process's network");
            NotTold::Refused
        })
    }

    /// What the process's own hosts file says of a name, or else its own name servers.
    fn look_up(&self, host: &str) -> Option<Vec<IpAddr>> {
        let process = self.process.as_ref()?;
        let hosts = read_in_root(process, "etc/hosts").unwrap_or_default();
        let in_file = in_hosts(&hosts, host);
        if !in_file.is_empty() {
            return Some(in_file);
        }
        let servers = read_in_root(process, "etc/resolv.conf").ok()?;
        let namespace = match self.namespace() {
            None => None,
            Some(namespace) => Some(namespace.ok()??),
        };
        let asked = name_server::ask(&servers, namespace.as_ref(), host);
        asked
            .inspect_err(|error| debug!(host, %error, "the process's name servers do not tell"))
            .ok()
    }
}

fn read_in_root(process: &Process, path: &str) -> io::Result<String> {
    let file = process.open_in_root(Path::new(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_HOSTS_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The addresses of a host in a hosts file (hosts(5)).
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    };
    lines.filter_map(of_line).collect()
}

#[cfg(test)]
mod tests;
