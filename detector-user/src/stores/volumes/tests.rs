//! RustFS's volumes: patterns, pools, and what is none.

use proptest::prelude::*;

use super::*;

fn started(line: &str, environ: &str) -> Started {
    Started {
        arguments: line.split_whitespace().map(str::to_owned).collect(),
        environment: Environment::of_process(environ.replace('|', "\0").as_bytes()),
    }
}

fn read(line: &str, environ: &str) -> Result<Cluster, StoreError> {
    cluster(&RUSTFS, &started(line, environ))
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect()
}

fn error(line: &str, environ: &str) -> String {
    read(line, environ).unwrap_err().to_string()
}

/// How many nodes each pool has.
fn sizes(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes_of_pools.iter().map(Vec::len).collect()
}

#[test]
fn nodes_come_from_the_command_line_or_else_the_environment() {
    let environ = "RUSTFS_VOLUMES=http://node{1...4}:9000/data/rustfs{0...3}|HOME=/";
    let from_environment = read("server", environ).unwrap();
    let four = [
        "http://node1:9000",
        "http://node2:9000",
        "http://node3:9000",
        "http://node4:9000",
    ];
    assert_eq!(names(&from_environment), four);
    assert_eq!(from_environment.named_in, "RUSTFS_VOLUMES");
    assert_eq!(sizes(&from_environment), [4]);
    let pool = &from_environment.pools[0];
    assert_eq!((pool.drives_per_node, pool.data, pool.parity), (4, 12, 4));
    assert_eq!(pool.nodes.len(), 4);

    let line = "server --console-enable --address :9001 https://A{1...2}/d{1...2}";
    let from_arguments = read(line, environ).unwrap();
    assert_eq!(
        names(&from_arguments),
        ["https://a1:9001", "https://a2:9001"]
    );
    assert_eq!(from_arguments.named_in, "its command line");
    // Without the word `server`, and with spaces in one argument.
    let bare = read(
        "--region=x http://b1:80/d http://b2:9000/d",
        "RUSTFS_ADDRESS=[::]:7000",
    );
    assert_eq!(names(&bare.unwrap()), ["http://b1:7000", "http://b2:9000"]);
}

#[test]
fn each_pattern_is_a_pool() {
    let environ = "RUSTFS_VOLUMES=http://a{1...4}:9000/d{1...4} http://b{1...2}:9000/d{1...8}|\
                   RUSTFS_STORAGE_CLASS_STANDARD=EC:6";
    let two = read("server", environ).unwrap();
    assert_eq!(sizes(&two), [4, 2]);
    assert_eq!(two.nodes.len(), 6);
    let shapes = two
        .pools
        .iter()
        .map(|p| (p.name.as_str(), p.nodes.len(), p.data, p.parity));
    let shapes: Vec<_> = shapes.collect();
    assert_eq!(shapes, [("pool1", 4, 10, 6), ("pool2", 2, 10, 6)]);
    // One node may be in several pools.
    let grown = "RUSTFS_VOLUMES=http://a{1...4}:9000/d{1...4} http://a{1...4}:9000/e{1...4}";
    let grown = read("server", grown).unwrap();
    assert_eq!((grown.nodes.len(), sizes(&grown)), (4, vec![4, 4]));
}

#[test]
fn a_node_of_paths_alone_has_no_peers() {
    for volumes in ["/data", "/data{1...4}", "/a /b"] {
        let alone = read(&format!("server {volumes}"), "").unwrap();
        assert_eq!((alone.nodes.len(), alone.pools.len()), (0, 0), "{volumes}");
    }
}

#[test]
fn the_node_itself_is_known_where_it_is_named() {
    let environ = "RUSTFS_VOLUMES=http://n{0...3}.x.svc:9000/d|RUSTFS_LOCAL_ENDPOINT_HOST=N2.x.svc";
    let own = read("server", environ).unwrap().own;
    assert_eq!(own, [PeerName::from_canonical("http://n2.x.svc:9000")]);
    let environ = "RUSTFS_VOLUMES=http://[fd00::{1...4}]:9000/d|RUSTFS_LOCAL_ENDPOINT_HOST=fd00::3";
    let own = read("server", environ).unwrap().own;
    assert_eq!(own, [PeerName::from_canonical("http://[fd00::3]:9000")]);
}

#[test]
fn a_layout_that_cannot_be_told_costs_no_peers() {
    for environ in [
        "RUSTFS_VOLUMES=http://n{1...17}/d",
        "RUSTFS_VOLUMES=http://n{1...4}/d|RUSTFS_ERASURE_SET_DRIVE_COUNT=3",
        "RUSTFS_VOLUMES=http://n{1...4}/d|RUSTFS_STORAGE_CLASS_STANDARD=EC:9",
        "RUSTFS_VOLUMES=http://n1/d1 http://n1/d2 http://n2/d1 http://n2/d2",
    ] {
        let read = read("server", environ).unwrap();
        assert!(read.nodes.len() >= 2 && read.pools.is_empty(), "{environ}");
        assert!(read.no_layout.is_some(), "{environ}");
    }
}

#[test]
fn what_is_no_server_is_told_from_what_is_wrong() {
    for line in ["--version", "info", "server --help", "inspect x", "--info"] {
        assert_eq!(
            read(line, "RUSTFS_VOLUMES=http://n{1...4}/d"),
            Err(StoreError::NoServer)
        );
    }
    assert!(error("server", "").contains("RUSTFS_VOLUMES"));
    assert!(error("server http://n{1...4}/d /e", "").contains("\"/e\""));
    assert!(error("server http://n{1...1000000000}/d", "").contains("10000"));
    assert!(error("server http://u@n{1...4}/d", "").contains("user or password"));
    assert!(error("server http://n{1...4}:0/d", "").contains("port 0"));
    assert!(error("server --address here /d", "").contains("\"here\""));
    assert!(error("server ftp://n{1...4}/d", "").contains("ftp"));
    let pools = "http://n{1...9999}/d{1...6} ".repeat(3);
    assert!(error(&format!("server {pools}"), "").contains("65536"));
    let long = format!("/{}{{1...9999}}", "d".repeat(4000));
    assert!(error(&format!("server {long}"), "").contains("bytes"));
    let bytes = Environment::of_process(b"RUSTFS_VOLUMES=http://n{1...4}/\xff");
    let started = Started {
        environment: bytes,
        ..started("server", "")
    };
    let told = cluster(&RUSTFS, &started).unwrap_err().to_string();
    assert_eq!(told, "RUSTFS_VOLUMES is no UTF-8 text");
}

#[test]
fn minio_is_read_in_the_same_way() {
    let environ = "MINIO_VOLUMES=https://minio{1...4}.example:9000/mnt/disk{1...4}/minio";
    let read = cluster(&MINIO, &started("server --console-address :9001", environ)).unwrap();
    assert_eq!(read.nodes.len(), 4);
    assert_eq!(read.pools[0].data, 12);
    let line = "--quiet server --json http://h{01...16}/d";
    let read = cluster(&MINIO, &started(line, "")).unwrap();
    assert_eq!(read.nodes[0].name.as_str(), "http://h01:9000");
    assert_eq!(
        cluster(&MINIO, &started("--version", environ)),
        Err(StoreError::NoServer)
    );
}

proptest! {
    /// Whatever a program was started with, the answer is bounded and names each node once.
    #[test]
    fn nothing_that_a_process_says_panics(
        line in "(server )?([-a-z=]{0,8} ){0,3}(http://)?[a-z{}.0-9:/\\[\\]@]{0,30}",
        volumes in "(https?://)?[a-zA-Z0-9.{}:/\\[\\]% ]{0,60}",
        address in "[0-9:a.\\[\\]]{0,12}",
    ) {
        let environ = format!("RUSTFS_VOLUMES={volumes}|RUSTFS_ADDRESS={address}");
        if let Ok(cluster) = read(&line, &environ) {
            let unique: BTreeSet<_> = names(&cluster).into_iter().collect();
            prop_assert_eq!(unique.len(), cluster.nodes.len());
            prop_assert!(cluster.nodes.len() <= MAX_EXPANDED);
            for pool in &cluster.pools {
                prop_assert_eq!(pool.disks() % pool.set_size(), 0);
            }
        }
    }

    #[test]
    fn a_regular_cluster_is_read_whole(nodes in 2_usize..33, drives in 1_usize..9, port in 1_u16..) {
        let environ = format!("RUSTFS_VOLUMES=http://n{{1...{nodes}}}:{port}/d{{1...{drives}}}");
        let cluster = read("server", &environ).unwrap();
        prop_assert_eq!(cluster.nodes.len(), nodes);
        for pool in &cluster.pools {
            prop_assert_eq!(pool.nodes.len(), nodes);
            prop_assert_eq!(pool.drives_per_node as usize, drives);
        }
        prop_assert_eq!(cluster.pools.is_empty(), cluster.no_layout.is_some());
    }
}
