//! etcd: its members from `--initial-cluster`, as in `a=http://10.0.0.1:2380,b=http://10.0.0.2:2380`.

use std::collections::BTreeSet;

use super::{Cluster, Started, StoreError, arguments::Arguments};
use crate::{config::parse_peer_name, core::PeerName};

/// The options without a value; others that are not known are taken to have one.
const FLAGS: [&str; 8] = [
    "version",
    "help",
    "h",
    "client-cert-auth",
    "peer-client-cert-auth",
    "auto-tls",
    "peer-auto-tls",
    "strict-reconfig-check",
];

/// etcd's own name of a member that is given none.
const DEFAULT_NAME: &str = "default";

/// The most members that are read.
const MAX_MEMBERS: usize = 1024;

pub fn cluster(started: &Started) -> Result<Cluster, StoreError> {
    let arguments = Arguments::parse(&started.arguments, &FLAGS);
    if ["version", "help", "h"]
        .iter()
        .any(|flag| arguments.get(flag).is_some())
    {
        return Err(StoreError::NoServer);
    }
    let variable = |name| started.environment.get(name).map_err(StoreError::Wrong);
    let (named_in, members) = match arguments.get("initial-cluster") {
        Some(members) => ("--initial-cluster", members),
        None => match variable("ETCD_INITIAL_CLUSTER")? {
            Some(members) => ("ETCD_INITIAL_CLUSTER", members),
            None => {
                return Err(StoreError::wrong(
                    "names no members, neither by --initial-cluster nor in ETCD_INITIAL_CLUSTER; \
                     what a file (--config-file) or a discovery service names is not read",
                ));
            }
        },
    };
    let own = match arguments.get("name") {
        Some(name) => Some(name),
        None => variable("ETCD_NAME")?,
    };
    members_of(named_in, members, own.unwrap_or(DEFAULT_NAME))
}

fn members_of(
    named_in: &'static str,
    members: &str,
    own_name: &str,
) -> Result<Cluster, StoreError> {
    let mut cluster = Cluster {
        named_in,
        ..Cluster::default()
    };
    let mut known: BTreeSet<PeerName> = BTreeSet::new();
    for member in members
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
    {
        let Some((name, url)) = member.split_once('=') else {
            return Err(StoreError::wrong(format!(
                "{named_in}: {member:?} is no member; one is written name=http://host:2380"
            )));
        };
        let mut spec = parse_peer_name(url)
            .map_err(|error| StoreError::wrong(format!("{named_in}: member {name:?}: {error}")))?;
        spec.addresses.clear();
        if name == own_name {
            cluster.own.push(spec.name.clone());
        }
        if known.insert(spec.name.clone()) {
            cluster.nodes.push(spec);
        }
        if known.len() > MAX_MEMBERS {
            let message = format!("{named_in} has more than {MAX_MEMBERS} members");
            return Err(StoreError::Wrong(message));
        }
    }
    cluster.nodes_of_pools = vec![cluster.nodes.len()];
    Ok(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::Environment;

    fn started(line: &str, environ: &[u8]) -> Started {
        Started {
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: Environment::of_process(environ),
        }
    }

    fn names(names: &[PeerName]) -> Vec<&str> {
        names.iter().map(PeerName::as_str).collect()
    }

    #[test]
    fn members_come_from_the_command_line_or_else_the_environment() {
        let line = "--name b --auto-tls --initial-cluster \
                    a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,b=http://b.example:2380";
        let read = cluster(&started(line, b"ETCD_INITIAL_CLUSTER=x=http://no:1\0")).unwrap();
        assert_eq!(read.named_in, "--initial-cluster");
        assert_eq!(read.nodes.len(), 3);
        assert_eq!(
            names(&read.own),
            ["http://10.0.0.2:2380", "http://b.example:2380"]
        );

        let environ =
            b"ETCD_NAME=c\0ETCD_INITIAL_CLUSTER=c=https://[fd00::3]:2380, d=https://d:2380\0";
        let read = cluster(&started("--data-dir /d", environ)).unwrap();
        assert_eq!(read.named_in, "ETCD_INITIAL_CLUSTER");
        assert_eq!(names(&read.own), ["https://[fd00::3]:2380"]);
        assert_eq!(read.nodes_of_pools, [2]);
    }

    #[test]
    fn what_names_no_members_is_said() {
        assert_eq!(
            cluster(&started("--version", b"")),
            Err(StoreError::NoServer)
        );
        for (line, part) in [
            ("", "--config-file"),
            ("--initial-cluster http://a:1", "name=http://host:2380"),
            ("--initial-cluster a=ftp://a:1", "\"a\""),
        ] {
            let error = cluster(&started(line, b"")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let many: Vec<String> = (0..2000).map(|n| format!("m=http://n{n}:2380")).collect();
        let line = format!("--initial-cluster {}", many.join(","));
        assert!(cluster(&started(&line, b"")).is_err());
    }
}
