//! One node: its drives, its leases, and how it calls the others.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use axum::{Router, routing};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tonic::service::Routes;

use super::{
    MAX_MESSAGE_BYTES, control::Control, drive::Drive, erasure::Code, front, iam, locks::Leases,
    proto::node_server::NodeServer, shards, today, wires::Wires,
};
use crate::{clock, peer};

/// A node of the small store.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreNode {
    /// All nodes in order, as in http://10.77.0.1:9000.
    #[arg(long = "node", required = true)]
    pub nodes: Vec<String>,
    /// Which of them this is, from 1.
    #[arg(long)]
    pub me: usize,
    /// The directory of its drives.
    #[arg(long)]
    pub root: PathBuf,
    /// Drives of each node.
    #[arg(long, default_value_t = 4)]
    pub drives: usize,
    /// How many drives of the whole set hold parity.
    #[arg(long, default_value_t = 4)]
    pub parity: usize,
    /// The detector's socket. Empty, which is the default: without a detector.
    #[arg(long, default_value = "")]
    pub detector_socket: String,
}

/// A running node; clones are the same one.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Vec<String>,
    number: usize,
    drives: Vec<Drive>,
    code: Code,
    leases: Leases,
    wires: Wires,
    versions: AtomicU64,
    started_ns: u64,
}

/// A drive of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveAt {
    pub node: usize,
    pub drive: usize,
}

impl Node {
    pub fn open(options: &StoreNode) -> anyhow::Result<Self> {
        let all = options.nodes.len() * options.drives;
        ensure!(
            (1..=options.nodes.len()).contains(&options.me),
            "--me {}: there are {} nodes",
            options.me,
            options.nodes.len()
        );
        ensure!(
            (1..=all / 2).contains(&options.parity),
            "--parity {}: 1 to half of the {all} drives",
            options.parity
        );
        let number = options.me - 1;
        let drives = (0..options.drives)
            .map(|n| Drive::open(&options.root.join(format!("drive{n}"))))
            .collect::<Result<_, _>>()
            .with_context(|| format!("cannot open the drives in {}", options.root.display()))?;
        let mut peers = options.nodes.clone();
        peers.remove(number);
        Ok(Self(Arc::new(Inner {
            nodes: options.nodes.clone(),
            number,
            drives,
            code: Code {
                data: all - options.parity,
                parity: options.parity,
            },
            leases: Leases::default(),
            wires: Wires::new(Some(&options.detector_socket), &peers),
            versions: AtomicU64::new(1),
            started_ns: clock::now_ns(),
        })))
    }

    /// All nodes, this one among them.
    pub fn nodes(&self) -> &[String] {
        &self.0.nodes
    }

    /// Its place among them.
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// Its own name, as in http://node1:9000.
    pub fn url(&self) -> &str {
        &self.0.nodes[self.0.number]
    }

    /// The name by which locks are asked for at a node: with a disk's path, as RustFS has it.
    pub fn lock_key(&self, number: usize) -> String {
        format!("{}/data/drive0", self.0.nodes[number])
    }

    pub fn drive(&self, number: usize) -> Option<Drive> {
        self.0.drives.get(number).cloned()
    }

    pub fn drives(&self) -> &[Drive] {
        &self.0.drives
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    pub fn wires(&self) -> &Wires {
        &self.0.wires
    }

    pub fn started_ns(&self) -> u64 {
        self.0.started_ns
    }

    /// Where shard `number` of an object is: the set turned by the object's name.
    pub fn place(&self, object: &str, number: usize) -> DriveAt {
        let turn = crc32fast::hash(object.as_bytes()) as usize;
        let place = (number + turn) % self.0.code.shards();
        // Neighbouring shards are on different nodes.
        DriveAt {
            node: place % self.0.nodes.len(),
            drive: place / self.0.nodes.len(),
        }
    }

    /// A name for a new version: later ones sort behind.
    pub fn new_version(&self) -> String {
        let number = self.0.versions.fetch_add(1, Ordering::Relaxed);
        format!("{:020}-{}-{number}", clock::now_ns(), self.0.number)
    }
}

impl StoreNode {
    /// Serves until killed: gRPC, shards and clients at one port, as RustFS does.
    pub async fn run(self) -> anyhow::Result<()> {
        let node = Node::open(&self)?;
        let listener = peer::listen(([0, 0, 0, 0], crate::PEER_PORT).into()).await?;
        let app = router(node.clone());
        tokio::spawn(super::background(node.clone()));
        tokio::spawn(iam::make_users(node));
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("accept: {error}");
                    tokio::time::sleep(today::CONNECT).await;
                    continue;
                }
            };
            let _best_effort = stream.set_nodelay(true);
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let served = server.serve_connection(TokioIo::new(stream), service).await;
                if let Err(error) = served {
                    eprintln!("connection: {error}");
                }
            });
        }
    }
}

fn router(node: Node) -> Router {
    let control = NodeServer::new(Control::new(node.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Router::new()
        .route(
            "/shards/{drive}/{version}",
            routing::put(shards::take).get(shards::give),
        )
        .route(
            "/objects/{*object}",
            routing::put(front::put).get(front::get),
        )
        .route("/console", routing::get(front::console))
        .route("/login/{user}", routing::post(front::login))
        .route("/lock/{resource}", routing::post(front::lock))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(node)
        .merge(Routes::new(control).into_axum_router())
}
