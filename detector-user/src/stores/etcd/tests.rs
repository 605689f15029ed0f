//! The members of an etcd cluster, from its flags and its answers.

use std::io;

use super::*;
use crate::model::PeerName;

fn started(line: &str, environ: &[u8]) -> Started {
    Started {
        arguments: line.split_whitespace().map(str::to_owned).collect(),
        environment: Environment::of_process(environ),
    }
}

/// With a configuration file of this text, if there is one.
fn with_file(line: &str, environ: &[u8], text: Option<&str>) -> Result<Cluster, StoreError> {
    let read = |path: &Path| match text {
        Some(text) if path == Path::new("/etc/etcd.yml") => Ok(text.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    super::cluster(&started(line, environ), &read)
}

fn cluster(line: &str, environ: &[u8]) -> Result<Cluster, StoreError> {
    with_file(line, environ, None)
}

fn names(names: &[PeerName]) -> Vec<&str> {
    names.iter().map(PeerName::as_str).collect()
}

fn questions(cluster: &Cluster) -> &[Question] {
    let members = cluster.members.as_ref();
    members.map_or(&[], |members| &members.questions)
}

#[test]
fn members_come_from_the_command_line_or_else_the_environment() {
    let line = "--name b --auto-tls --initial-cluster \
                a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,b=http://b.example:2380";
    let read = cluster(line, b"ETCD_INITIAL_CLUSTER=x=http://no:1\0").unwrap();
    assert_eq!(read.named_in, "--initial-cluster");
    assert_eq!(read.nodes.len(), 3);
    assert_eq!(
        names(&read.own),
        ["http://10.0.0.2:2380", "http://b.example:2380"]
    );

    let environ = b"ETCD_NAME=c\0ETCD_INITIAL_CLUSTER=c=https://[fd00::3]:2380, d=https://d:2380\0";
    let read = cluster("--data-dir /d", environ).unwrap();
    assert_eq!(read.named_in, "ETCD_INITIAL_CLUSTER");
    assert_eq!(names(&read.own), ["https://[fd00::3]:2380"]);
    assert_eq!(read.nodes_of_pools[0].len(), 2);
}

/// As in etcd's own sample.
const FILE: &str = "\
# This is the configuration file for the etcd server.
name: 'b'
data-dir:
snapshot-count: 10000
listen-peer-urls: https://10.0.0.2:2380
listen-client-urls: http://0.0.0.0:2379,http://[::]:3379
initial-cluster: \"a=https://10.0.0.1:2380,b=https://10.0.0.2:2380\"
peer-transport-security:
  client-cert-auth: true
log-outputs: [stderr]
";

#[test]
fn of_a_configuration_file_alone_is_read_where_there_is_one() {
    for (line, environ) in [
        ("--config-file /etc/etcd.yml --name a", &b""[..]),
        ("", b"ETCD_CONFIG_FILE=/etc/etcd.yml\0ETCD_NAME=a\0"),
    ] {
        let read = with_file(line, environ, Some(FILE)).unwrap();
        assert_eq!(read.named_in, "initial-cluster in the configuration file");
        assert_eq!(names(&read.own), ["https://10.0.0.2:2380"]);
        assert_eq!(read.nodes.len(), 2);
        assert!(read.may_change);
        // Its peers' place takes certificates.
        let clients = ["127.0.0.1:2379", "[::1]:3379"];
        let clients = clients.map(|at| Question::AsClient(at.parse().unwrap()));
        assert_eq!(questions(&read), clients);
    }
    let line = "--config-file=/etc/etcd.yml";
    let error = cluster(line, b"").unwrap_err().to_string();
    assert!(error.starts_with("/etc/etcd.yml: "), "{error}");
    let error = with_file(line, b"", Some("name: ["))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/etc/etcd.yml: "), "{error}");
}

#[test]
fn the_running_program_is_asked_who_joined_later() {
    let line = "--name a --listen-peer-urls http://10.0.0.1:2380,https://10.0.0.1:2381";
    let read = cluster(line, b"").unwrap();
    assert!(read.nodes.is_empty() && read.may_change);
    let asked = [
        Question::AsPeer("10.0.0.1:2380".parse().unwrap()),
        Question::AsClient("127.0.0.1:2379".parse().unwrap()),
    ];
    assert_eq!(questions(&read), asked);

    // Answers of 3.4.23, and a member that has not started yet.
    let as_peer = r#"[{"id":11417610130673999598,"peerURLs":["http://10.0.0.1:2380"],"name":"a","clientURLs":["http://10.0.0.1:2379"]},
        {"id":7,"peerURLs":["http://10.0.0.2:2380","http://b:2380"],"name":""}]"#;
    let as_client = r#"{"header":{"raft_term":"2"},"members":[{"ID":"1","name":"a","peerURLs":["http://10.0.0.1:2380"]},
        {"ID":"7","peerURLs":["http://10.0.0.2:2380","http://b:2380"]}]}"#;
    let members = read.members.unwrap();
    for answer in [as_peer, as_client] {
        let told = members.read(answer.as_bytes()).unwrap();
        let nodes: Vec<_> = told.nodes.iter().map(|node| node.name.as_str()).collect();
        let all = [
            "http://10.0.0.1:2380",
            "http://10.0.0.2:2380",
            "http://b:2380",
        ];
        assert_eq!(nodes, all);
        assert_eq!(names(&told.own), ["http://10.0.0.1:2380"]);
        assert_eq!(told.members.as_ref(), Some(&members), "it is asked again");
    }
    for absurd in ["", "{}", "[]", "[{\"peerURLs\":[\"x y\"]}]", "<html>"] {
        assert!(members.read(absurd.as_bytes()).is_err(), "{absurd}");
    }
}

#[test]
fn what_names_no_members_is_said() {
    assert_eq!(cluster("--version", b""), Err(StoreError::NoServer));
    let by_tls = "--listen-peer-urls https://a:2380 --listen-client-urls https://a:2379";
    for (line, part) in [
        (by_tls, "--config-file"),
        ("--initial-cluster http://a:1", "name=http://host:2380"),
        ("--initial-cluster a=ftp://a:1", "\"a\""),
    ] {
        let error = cluster(line, b"").unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let many: Vec<String> = (0..2000).map(|n| format!("m=http://n{n}:2380")).collect();
    let line = format!("--initial-cluster {}", many.join(","));
    assert!(cluster(&line, b"").is_err());
}
