//! RustFS and MinIO: the nodes of a cluster from its volumes, as in
//! `http://node{1...4}:9000/data{1...4}`; each argument with a pattern is a pool.

mod dialect;

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

pub use self::dialect::{Dialect, MINIO, RUSTFS};
use super::{
    Cluster, Environment, Started, StoreError,
    arguments::Arguments,
    ellipses::{MAX_EXPANDED, Pattern, is_pattern},
    sets,
};
use crate::{
    config::{MAX_POOLS, PeerSpec, parse_peer_name},
    insight::Pool,
    model::PeerName,
};

/// The programs' port where they are given none.
const DEFAULT_PORT: u16 = 9000;

/// The most text that all patterns stand for, in bytes: 256 for each of the most drives.
const MAX_TEXT: usize = MAX_EXPANDED * 256;

/// The nodes and sets of a program that was started like this.
pub fn cluster(dialect: &Dialect, started: &Started) -> Result<Cluster, StoreError> {
    let arguments = Arguments::parse(&started.arguments, dialect.flags);
    let given = server_arguments(dialect, &arguments)?;
    let environment = &started.environment;
    let set = |name| environment.get(name).map_err(StoreError::Wrong);
    let (named_in, volumes) = match (words(given), set(dialect.volumes)?) {
        (given, _) if !given.is_empty() => ("its command line", given),
        (_, Some(volumes)) => (dialect.volumes, words(iter::once(volumes))),
        (_, None) => {
            return Err(StoreError::wrong(format!(
                "names no volumes, neither on its command line nor in {}",
                dialect.volumes
            )));
        }
    };
    let address = match arguments.get("address") {
        Some(address) => Some(address),
        None => set(dialect.address)?,
    };
    let port = port_of(address)?;
    let pools = expand(&volumes)?;
    let mut cluster = nodes(&pools, port)?;
    cluster.named_in = named_in;
    if let Some(name) = dialect.own_host
        && let Some(host) = set(name)?
    {
        let own = parse_peer_name(&format!("{}:{port}", bracketed(host)));
        let own = own.map_err(|error| StoreError::wrong(format!("{name}: {error}")))?;
        let is_own = |node: &&PeerSpec| node.host == own.host && node.port == own.port;
        cluster.own = cluster
            .nodes
            .iter()
            .filter(is_own)
            .map(|node| node.name.clone())
            .collect();
    }
    match layout(dialect, environment, &pools, &cluster.nodes, port) {
        Ok(pools) => cluster.pools = pools,
        Err(why) => cluster.no_layout = Some(why),
    }
    Ok(cluster)
}

/// The positional arguments of a server.
fn server_arguments<'a>(
    dialect: &Dialect,
    arguments: &'a Arguments<'a>,
) -> Result<impl Iterator<Item = &'a str> + use<'a>, StoreError> {
    let mut rest = arguments.positional.as_slice();
    let asks = ["help", "version", "h", "V", "v", "info"];
    let is_question = asks.iter().any(|name| arguments.get(name).is_some());
    match rest.first() {
        Some(&"server") => rest = &rest[1..],
        Some(command) if dialect.other_commands.contains(command) => {
            return Err(StoreError::NoServer);
        }
        _ if !dialect.bare => return Err(StoreError::NoServer),
        _ => {}
    }
    match is_question {
        true => Err(StoreError::NoServer),
        false => Ok(rest.iter().copied()),
    }
}

fn words<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    texts.flat_map(str::split_whitespace).collect()
}

/// The port on which the program listens, from an address such as `:9000` or `[::]:9000`.
fn port_of(address: Option<&str>) -> Result<u16, StoreError> {
    let Some(address) = address else {
        return Ok(DEFAULT_PORT);
    };
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.filter(|port| *port != 0).ok_or_else(|| {
        StoreError::wrong(format!("its address {address:?} has no port, as :9000 has"))
    })
}

/// An IPv6 address in brackets, anything else as it is.
fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

/// A pool: its drives in the order of the erasure sets.
struct Expanded {
    drives: Vec<String>,
    pattern: Option<Pattern>,
}

/// Without any pattern, all volumes are one pool; else each is a pool of its own.
fn expand(volumes: &[&str]) -> Result<Vec<Expanded>, StoreError> {
    if !volumes.iter().any(|volume| is_pattern(volume)) {
        if volumes.len() > MAX_EXPANDED {
            let message = format!("more than {MAX_EXPANDED} volumes, which is the most");
            return Err(StoreError::Wrong(message));
        }
        let drives = volumes.iter().map(|volume| (*volume).to_owned()).collect();
        let pattern = None;
        return Ok(vec![Expanded { drives, pattern }]);
    }
    if volumes.len() > MAX_POOLS {
        let message = format!("{} pools; {MAX_POOLS} is the most", volumes.len());
        return Err(StoreError::Wrong(message));
    }
    let patterns = volumes.iter().map(|volume| Pattern::parse(volume));
    let patterns = patterns
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::wrong)?;
    let total = patterns
        .iter()
        .map(Pattern::count)
        .fold(0, usize::saturating_add);
    if total > MAX_EXPANDED {
        let message = format!("the pools have {total} drives; {MAX_EXPANDED} is the most");
        return Err(StoreError::Wrong(message));
    }
    let bytes = patterns
        .iter()
        .map(Pattern::bytes)
        .fold(0, usize::saturating_add);
    if bytes > MAX_TEXT {
        let message = format!("the drives' names have {bytes} bytes; {MAX_TEXT} is the most");
        return Err(StoreError::Wrong(message));
    }
    let expanded = patterns.into_iter().map(|pattern| Expanded {
        drives: pattern.expand(),
        pattern: Some(pattern),
    });
    Ok(expanded.collect())
}

/// The node of a drive; `None` for a path, which is a drive of the program's own.
fn node_of(drive: &str, port: u16) -> Result<Option<PeerSpec>, StoreError> {
    let Some((scheme, rest)) = drive.split_once("://") else {
        return Ok(None);
    };
    let (authority, _path) = rest.split_once('/').unwrap_or((rest, ""));
    let named = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'));
    let default = match scheme.to_ascii_lowercase().as_str() {
        "https" => "443",
        _ => "80",
    };
    // The programs cannot tell a scheme's default port from none, and put their own in its place.
    let name = match named {
        Some((host, given)) if given == default || given.is_empty() => {
            format!("{scheme}://{host}:{port}")
        }
        Some(_) => format!("{scheme}://{authority}"),
        None => format!("{scheme}://{authority}:{port}"),
    };
    let mut spec = parse_peer_name(&name)
        .map_err(|error| StoreError::wrong(format!("volume {drive:?}: {error}")))?;
    // Its addresses are looked at like those of a name: they may be the node's own.
    spec.addresses.clear();
    Ok(Some(spec))
}

/// The nodes of all pools, each once.
fn nodes(pools: &[Expanded], port: u16) -> Result<Cluster, StoreError> {
    let mut cluster = Cluster::default();
    let mut known: BTreeMap<PeerName, usize> = BTreeMap::new();
    for (number, pool) in pools.iter().enumerate() {
        let mut of_pool = Vec::new();
        for drive in &pool.drives {
            let Some(spec) = node_of(drive, port)? else {
                continue;
            };
            match known.insert(spec.name.clone(), number) {
                Some(last) if last == number => {}
                Some(_) => of_pool.push(spec.name),
                None => {
                    of_pool.push(spec.name.clone());
                    cluster.nodes.push(spec);
                }
            }
        }
        cluster.nodes_of_pools.push(of_pool);
    }
    Ok(cluster)
}

/// The erasure sets of all pools.
fn layout(
    dialect: &Dialect,
    environment: &Environment,
    pools: &[Expanded],
    nodes: &[PeerSpec],
    port: u16,
) -> Result<Vec<Pool>, String> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let sizes: Vec<usize> = pools.iter().map(|pool| pool.drives.len()).collect();
    let patterns: Vec<Pattern> = pools
        .iter()
        .filter_map(|pool| pool.pattern.clone())
        .collect();
    let wanted = match environment.get(dialect.set_size)?.map(str::parse) {
        None | Some(Ok(0)) => None,
        Some(Ok(wanted)) => Some(wanted),
        Some(Err(_)) => return Err(format!("{} is no number", dialect.set_size)),
    };
    let size = sets::set_size(&sizes, &patterns, wanted)?;
    let class = environment.get(dialect.storage_class)?;
    let parity = match class {
        None => sets::default_parity(size),
        Some(class) => sets::parity_of_class(class, size).ok_or_else(|| {
            format!(
                "{} is {class:?}, which is no parity of {size} drives",
                dialect.storage_class
            )
        })?,
    };
    let pools = pools.iter().enumerate();
    pools
        .map(|(index, pool)| set_pool(index + 1, pool, (size - parity, parity), port))
        .collect()
}

/// A pool as the outlook takes it: the first drive of every node, then the second of every node.
fn set_pool(
    number: usize,
    pool: &Expanded,
    (data, parity): (usize, usize),
    port: u16,
) -> Result<Pool, String> {
    let owner = |drive: &String| match node_of(drive, port) {
        Ok(Some(spec)) => Ok(spec.name),
        Ok(None) => Err(format!("pool {number} has a drive without a node, {drive}")),
        Err(error) => Err(error.to_string()),
    };
    let owners = pool
        .drives
        .iter()
        .map(owner)
        .collect::<Result<Vec<_>, _>>()?;
    let mut nodes: Vec<PeerName> = Vec::new();
    for owner in &owners {
        match nodes.first() {
            // From here on the nodes come again.
            Some(first) if first == owner => break,
            _ => nodes.push(owner.clone()),
        }
    }
    let mut turns = owners.iter().zip(nodes.iter().cycle());
    let is_even = owners.len().is_multiple_of(nodes.len())
        && turns.all(|(drive, node)| drive == node)
        && nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len();
    if !is_even {
        return Err(format!(
            "the drives of pool {number} do not go round its nodes in turn"
        ));
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Pool {
        name: format!("pool{number}"),
        drives_per_node: count(owners.len() / nodes.len()),
        nodes,
        data: count(data),
        parity: count(parity),
    })
}

#[cfg(test)]
mod tests;
