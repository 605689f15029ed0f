//! Which addresses the names of a process mean.

use super::*;
use crate::config::parse_peer_name;

fn cluster(nodes: &[&str]) -> Cluster {
    Cluster {
        nodes: nodes
            .iter()
            .map(|node| parse_peer_name(node).unwrap())
            .collect(),
        ..Cluster::default()
    }
}

fn suspected(nodes: &[&str], hostname: &str) -> Vec<String> {
    let found = suspects(&cluster(nodes), Some(hostname));
    found.iter().map(PeerName::to_string).collect()
}

#[test]
fn a_node_that_is_called_like_this_host_is_perhaps_this_one() {
    let short = ["http://node1:9000", "http://node2:9000"];
    assert_eq!(suspected(&short, "NODE2"), ["http://node2:9000"]);
    assert_eq!(
        suspected(&short, "node2.example.com"),
        ["http://node2:9000"]
    );
    let long = [
        "http://rustfs-0.h.ns.svc:9000",
        "http://rustfs-1.h.ns.svc:9000",
    ];
    assert_eq!(
        suspected(&long, "rustfs-1"),
        ["http://rustfs-1.h.ns.svc:9000"]
    );
    // Two sites that call their hosts alike.
    let sites = ["http://node1.a:9000", "http://node1.b:9000"];
    assert!(suspected(&sites, "node1").is_empty());
    assert_eq!(suspected(&sites, "node1.b"), ["http://node1.b:9000"]);
    assert!(suspected(&short, "").is_empty());
    assert!(suspected(&short, "other").is_empty());
}

#[test]
fn every_spelling_of_loopback_is_this_host() {
    let all = [
        "http://localhost:9000",
        "http://127.0.0.2:9001",
        "http://[::1]:9000",
        "http://[::ffff:127.0.0.1]:9002",
        "http://a.localhost:9000",
    ];
    assert_eq!(suspected(&all, "x").len(), all.len());
}

#[test]
fn a_hosts_file_gives_all_addresses_of_a_name() {
    let text = "127.0.0.1 localhost\n10.0.0.4\tnode4 node4.x # node9\n#10.0.0.5 node4\nfd00::4 NODE4\nbad node4\n";
    assert_eq!(
        in_hosts(text, "node4"),
        ["10.0.0.4", "fd00::4"].map(|a| a.parse::<IpAddr>().unwrap())
    );
    assert!(in_hosts(text, "node9").is_empty());
}

#[tokio::test]
async fn the_daemon_s_own_addresses_are_this_node() {
    let lookup = StoreLookup {
        views: vec![View::default()],
        is_suspect: false,
    };
    for (address, is_own) in [
        ("127.0.0.1", true),
        ("127.3.2.1", true),
        ("::1", true),
        ("192.0.2.77", false),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(
            lookup.is_this_node(&[address]).await,
            Some(is_own),
            "{address}"
        );
    }
    assert_eq!(lookup.lookup("192.0.2.77", 1).await.unwrap().len(), 1);
}
