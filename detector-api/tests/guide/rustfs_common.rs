//! `crates/common/src/globals.rs`.

use std::{collections::HashMap, sync::LazyLock};

use tokio::sync::RwLock;
use tonic::transport::{Channel, Endpoint};

static GLOBAL_CONN_MAP: LazyLock<RwLock<HashMap<String, Channel>>> = LazyLock::new(RwLock::default);

/// Drop every cached connection to one peer: `http://node4:9000`, its bulk channels
/// (`…\0bulk\0{i}`) and the keys that carry a disk's path.
pub async fn evict_peer_connections(peer: &str) -> usize {
    let mut map = GLOBAL_CONN_MAP.write().await;
    let before = map.len();
    map.retain(|key, _| {
        detector_api::PeerName::parse(key).map_or(true, |name| name.as_str() != peer)
    });
    before - map.len()
}

pub(crate) async fn cache_lazily(key: &str) {
    let peer = detector_api::PeerName::parse(key).expect("a key is a peer's");
    let endpoint = Endpoint::from_shared(String::from(peer)).expect("a URL");
    let channel = endpoint.connect_lazy();
    GLOBAL_CONN_MAP
        .write()
        .await
        .insert(key.to_owned(), channel);
}

pub(crate) async fn cached() -> usize {
    GLOBAL_CONN_MAP.read().await.len()
}
