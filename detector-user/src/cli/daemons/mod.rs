//! `detector doctor --all`: asks each node's daemon for its metrics, and says how it does.
//!
//! The daemons are this node's own, and one on the host of each peer, at the same port.

mod fetch;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use self::{fetch::fetch, summary::Summary};
use crate::{
    check::{Check, Status},
    config::{Config, PeerSpec},
    process::Finder,
    source::{
        resolve::{Lookup as _, SystemLookup},
        stores::Follower,
    },
};

/// How many daemons are asked at a time, and the time limit for the lookup of each and for its
/// answer.
const AT_A_TIME: usize = 16;
const RESOLVES_WITHIN: Duration = Duration::from_secs(2);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

const NO_DAEMON: &str = "no daemon runs there, or it does not serve metrics to this node: its \
                         `metrics` must be an address that this node reaches, with the same port \
                         as here. Without a daemon, a node notices a dead peer only by its own \
                         time-outs";

/// A daemon, by the name of its host and by addresses, if these are known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Daemon {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

/// A check for each daemon, this node's own first.
pub async fn examine(config: &Config, finder: &Finder) -> Vec<Check> {
    let Some(own) = config.metrics else {
        let meaning = "set `metrics` to an address and port: the other daemons' is the same port";
        let found = "metrics = \"off\"".to_owned();
        return vec![Check::new("daemons", Status::Missing, found, meaning)];
    };
    let found = Follower::new(config.stores.clone(), finder.clone()).look();
    let found = found.nodes().map(|(_, spec)| spec);
    let daemons = daemons(own, config.peers.iter().chain(found));
    let checks = stream::iter(daemons).map(check).buffered(AT_A_TIME);
    checks.collect().await
}

/// The own one, and one for each other host that the peers are on.
fn daemons<'a>(own: SocketAddr, peers: impl Iterator<Item = &'a PeerSpec>) -> Vec<Daemon> {
    let asked = match own.ip() {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        address => address,
    };
    let mut hosts: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    for peer in peers {
        let addresses = peer.addresses.iter().copied();
        hosts.entry(&peer.host).or_default().extend(addresses);
    }
    let others = hosts.into_iter().map(|(host, addresses)| Daemon {
        host: host.to_owned(),
        port: own.port(),
        addresses: addresses.into_iter().collect(),
    });
    let own = Daemon {
        host: "this node".to_owned(),
        port: own.port(),
        addresses: vec![asked],
    };
    [own].into_iter().chain(others).collect()
}

async fn check(daemon: Daemon) -> Check {
    let name = format!("daemon of {}", daemon.host);
    match summary(&daemon).await {
        Ok(summary) => summary.check(name),
        Err(why) => Check::new(name, Status::Missing, why, NO_DAEMON),
    }
}

/// What the first of its addresses that answers says; or what was tried.
async fn summary(daemon: &Daemon) -> Result<Summary, String> {
    let mut failed = Vec::new();
    for address in addresses(daemon).await? {
        let address = SocketAddr::new(address, daemon.port);
        match timeout(ANSWERS_WITHIN, fetch(address)).await {
            Ok(Ok(text)) => return Summary::of(&text).map_err(|what| format!("{address}: {what}")),
            Ok(Err(error)) => failed.push(format!("{address}: {error:#}")),
            Err(_) => failed.push(format!("{address}: no answer within {ANSWERS_WITHIN:?}")),
        }
    }
    Err(failed.join("; "))
}

async fn addresses(daemon: &Daemon) -> Result<Vec<IpAddr>, String> {
    if !daemon.addresses.is_empty() {
        return Ok(daemon.addresses.clone());
    }
    let lookup = SystemLookup.lookup(&daemon.host, daemon.port);
    match timeout(RESOLVES_WITHIN, lookup).await {
        Ok(Ok(found)) if found.is_empty() => Err("its name has no address".to_owned()),
        Ok(Ok(found)) => Ok(found.into_iter().collect()),
        Ok(Err(error)) => Err(format!("its name does not resolve: {error}")),
        Err(_) => Err(format!(
            "its name does not resolve within {RESOLVES_WITHIN:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_peer_name;

    #[test]
    fn each_host_is_asked_once_at_the_own_port() {
        let peer = |url: &str| parse_peer_name(url).unwrap();
        let peers = [
            peer("http://node2:9000"),
            peer("http://node2:9001"),
            PeerSpec {
                addresses: vec![IpAddr::from([10, 0, 0, 3])],
                ..peer("http://node3:9000")
            },
        ];
        let asked = daemons("0.0.0.0:9470".parse().unwrap(), peers.iter());
        let asked: Vec<_> = asked
            .iter()
            .map(|daemon| (daemon.host.as_str(), daemon.port, daemon.addresses.len()))
            .collect();
        assert_eq!(
            asked,
            [
                ("this node", 9470, 1),
                ("node2", 9470, 0),
                ("node3", 9470, 1)
            ]
        );
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_missing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        drop(listener);
        let config = Config {
            metrics: Some(own),
            ..Config::default()
        };
        let finder = Finder::new().unwrap();
        let checks = examine(&config, &finder).await;
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].status, Status::Missing);
        assert!(checks[0].found.contains("refused"), "{:?}", checks[0]);
    }
}
