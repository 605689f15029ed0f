//! IPFS Cluster: its peers from the peerstore, a file with a multiaddress on each line that the
//! running program keeps, and from `peer_addresses` and `--bootstrap`.
//!
//! A peer has an entry for each of its addresses. QUIC is no TCP: an address by UDP alone is passed
//! over.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Cluster, Environment, ReadFile, Started, StoreError, arguments::Arguments};
use crate::config::{PeerSpec, parse_peer_name};

/// The options without a value; others that are not known are taken to have one.
const FLAGS: [&str; 15] = [
    "force", "f", "debug", "d", "upgrade", "u", "leave", "x", "stats", "tracing", "no-trust",
    "help", "h", "version", "v",
];

/// Below the folder of its configuration.
const SETTINGS: &str = "service.json";
const PEERSTORE: &str = "peerstore";

/// The part of `service.json` that names peers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    cluster: Settings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    peerstore_file: String,
    peer_addresses: Vec<String>,
}

pub fn cluster(started: &Started, read: &ReadFile<'_>) -> Result<Cluster, StoreError> {
    let arguments = Arguments::parse(&started.arguments, &FLAGS);
    let asks = ["help", "h", "version", "v"];
    let is_question = asks.iter().any(|name| arguments.get(name).is_some());
    if is_question || arguments.positional.first() != Some(&"daemon") {
        return Err(StoreError::NoServer);
    }
    let folder = folder(&arguments, &started.environment)?;
    let settings = Settings::read(&folder, &started.environment, read)?;
    let mut peerstore = PEERSTORE;
    if !settings.peerstore_file.is_empty() {
        peerstore = &settings.peerstore_file;
    }
    // The program makes it when it first knows a peer.
    let peerstore = read(&folder.join(peerstore)).unwrap_or_default();
    let bootstrap = ["bootstrap", "j"].map(|name| arguments.get(name).unwrap_or_default());
    let named = bootstrap.into_iter().flat_map(|list| list.split(','));
    let all = peerstore.lines().chain(named);
    let all = all.chain(settings.peer_addresses.iter().map(String::as_str));
    let addresses: Vec<&str> = all.map(str::trim).filter(|a| a.starts_with('/')).collect();

    let mut cluster = Cluster {
        named_in: "the peerstore and service.json",
        may_change: true,
        ..Cluster::default()
    };
    for peer in addresses.iter().filter_map(|address| by_tcp(address)) {
        cluster.add(peer)?;
    }
    match cluster.nodes.is_empty() && !addresses.is_empty() {
        true => Err(StoreError::wrong(
            "has peers by QUIC or relays alone, as far as its peerstore and service.json say; let it \
             listen on TCP as well, or name the peers (--peer)",
        )),
        false => Ok(cluster.of_one_pool()),
    }
}

/// Where its configuration is.
fn folder(arguments: &Arguments<'_>, environment: &Environment) -> Result<PathBuf, StoreError> {
    let given = arguments.get("config").or_else(|| arguments.get("c"));
    let variable = |name| environment.get(name).map_err(StoreError::Wrong);
    match (given, variable("IPFS_CLUSTER_PATH")?, variable("HOME")?) {
        (Some(given), _, _) | (None, Some(given), _) => Ok(PathBuf::from(given)),
        (None, None, Some(home)) => Ok(Path::new(home).join(".ipfs-cluster")),
        (None, None, None) => Err(StoreError::wrong(
            "says nowhere where its configuration is: neither --config, nor IPFS_CLUSTER_PATH or HOME \
             is set",
        )),
    }
}

impl Settings {
    /// What the file says, unless the environment says it.
    fn read(
        folder: &Path,
        environment: &Environment,
        read: &ReadFile<'_>,
    ) -> Result<Self, StoreError> {
        let file = folder.join(SETTINGS);
        let wrong = |error: String| StoreError::wrong(format!("{}: {error}", file.display()));
        let text = read(&file).map_err(|error| wrong(error.to_string()))?;
        let service: Service =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut settings = service.cluster;
        let variable = |name| environment.get(name).map_err(StoreError::Wrong);
        if let Some(file) = variable("CLUSTER_PEERSTOREFILE")? {
            settings.peerstore_file = file.to_owned();
        }
        if let Some(list) = variable("CLUSTER_PEERADDRESSES")? {
            settings.peer_addresses = list.split(',').map(str::to_owned).collect();
        }
        Ok(settings)
    }
}

/// The peer at a multiaddress such as `/ip4/10.0.0.2/tcp/9096/p2p/ID`, if TCP leads straight there.
fn by_tcp(address: &str) -> Option<PeerSpec> {
    let parts: Vec<&str> = address.split('/').skip(1).collect();
    let (host, port) = match parts.as_slice() {
        ["ip4" | "dns" | "dns4" | "dns6", host, "tcp", port, ..] => ((*host).to_owned(), port),
        ["ip6", host, "tcp", port, ..] => (format!("[{host}]"), port),
        _ => return None,
    };
    let is_relayed = parts.contains(&"p2p-circuit");
    let peer = parse_peer_name(&format!("http://{host}:{port}")).ok();
    peer.filter(|_| !is_relayed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io};

    use super::*;

    const ID: &str = "12D3KooWGLUdhZqVNoBn5uNieknFc2KfaaxX8ZBqGZtmZ4kwc7Ac";
    const SERVICE: &str = r#"{"cluster": {"peername": "n1", "secret": "00", "listen_multiaddress":
        ["/ip4/0.0.0.0/tcp/9096", "/ip4/0.0.0.0/udp/9096/quic"], "peer_addresses": []},
        "consensus": {"crdt": {"trusted_peers": ["*"]}}, "api": {}}"#;

    fn named(
        line: &str,
        environ: &[u8],
        files: &[(&str, String)],
    ) -> Result<Vec<String>, StoreError> {
        let files: BTreeMap<&Path, &String> = files
            .iter()
            .map(|(path, text)| (Path::new(path), text))
            .collect();
        let read = |path: &Path| match files.get(path) {
            Some(text) => Ok((*text).clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let started = Started {
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: Environment::of_process(environ),
        };
        let cluster = cluster(&started, &read)?;
        assert!(cluster.may_change, "the program rewrites its peerstore");
        Ok(cluster
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect())
    }

    fn peerstore() -> String {
        format!(
            "/ip4/10.0.0.2/tcp/9096/p2p/{ID}\n/ip4/10.0.0.2/udp/9096/quic/p2p/{ID}\n\n# no address\n\
             /ip6/fd00::3/tcp/9096/ipfs/{ID}\n/dns4/node4.example/tcp/9097/p2p/{ID}\n\
             /ip4/10.0.0.9/tcp/1/p2p/{ID}/p2p-circuit/p2p/{ID}\n/ip4/10.0.0.2/tcp/9096/p2p/{ID}\n"
        )
    }

    const THERE: [&str; 3] = [
        "http://10.0.0.2:9096",
        "http://[fd00::3]:9096",
        "http://node4.example:9097",
    ];

    #[test]
    fn peers_are_those_of_the_peerstore_wherever_it_is() {
        let files = |folder: &str| {
            [
                ("service.json", SERVICE.to_owned()),
                ("peerstore", peerstore()),
            ]
            .map(|(file, text)| (format!("{folder}/{file}"), text))
        };
        for (line, environ, folder) in [
            (
                "--loglevel info daemon --upgrade",
                &b"HOME=/root\0"[..],
                "/root/.ipfs-cluster",
            ),
            ("daemon", b"HOME=/root\0IPFS_CLUSTER_PATH=/data\0", "/data"),
            (
                "-c /srv/c --debug daemon",
                b"IPFS_CLUSTER_PATH=/data\0",
                "/srv/c",
            ),
        ] {
            let files = files(folder);
            let files = files
                .each_ref()
                .map(|(path, text)| (path.as_str(), text.clone()));
            assert_eq!(named(line, environ, &files).unwrap(), THERE, "{line}");
        }
    }

    #[test]
    fn the_settings_and_the_environment_may_name_more() {
        let service = format!(
            r#"{{"cluster": {{"peerstore_file": "known", "peer_addresses": ["/dns/a/tcp/9096/p2p/{ID}"]}}}}"#
        );
        let files = [("/c/service.json", service), ("/c/known", peerstore())];
        let line =
            format!("-c /c daemon --bootstrap /ip4/10.0.0.7/tcp/9096/p2p/{ID},/dns6/b/tcp/1");
        let all = named(&line, b"", &files).unwrap();
        assert_eq!(all[..3], THERE);
        assert_eq!(
            all[3..],
            ["http://10.0.0.7:9096", "http://b:1", "http://a:9096"]
        );

        let environ = b"CLUSTER_PEERSTOREFILE=none\0CLUSTER_PEERADDRESSES=/ip4/10.0.0.8/tcp/2,/x\0";
        let all = named("-c /c daemon", environ, &files).unwrap();
        assert_eq!(all, ["http://10.0.0.8:2"]);
    }

    #[test]
    fn what_is_no_peer_s_configuration_is_said() {
        for line in ["init", "--version", "daemon --help", ""] {
            assert_eq!(
                named(line, b"HOME=/\0", &[]),
                Err(StoreError::NoServer),
                "{line}"
            );
        }
        let service = ("/c/service.json", SERVICE.to_owned());
        let quic = (
            "/c/peerstore",
            format!("/ip4/10.0.0.2/udp/9096/quic-v1/p2p/{ID}\n"),
        );
        for (environ, files, part) in [
            (&b""[..], vec![], "IPFS_CLUSTER_PATH"),
            (b"IPFS_CLUSTER_PATH=/c\0", vec![], "/c/service.json: "),
            (
                b"IPFS_CLUSTER_PATH=/c\0",
                vec![service.clone(), quic],
                "TCP",
            ),
            (
                b"IPFS_CLUSTER_PATH=/c\0",
                vec![("/c/service.json", "{".to_owned())],
                "/c/service.json: ",
            ),
        ] {
            let error = named("daemon", environ, &files).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        // Nobody has joined yet.
        assert!(named("-c /c daemon", b"", &[service]).unwrap().is_empty());
    }
}
