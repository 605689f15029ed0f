//! The binary: `rustfs/src/startup_detector.rs`, `startup_entrypoint.rs`, `runtime_capabilities.rs`.

// Crates of RustFS's.
use crate::{rustfs_common, rustfs_config, rustfs_io_metrics, rustfs_utils};

use crate::storage_api::startup::notification::{EndpointServerPools, get_global_notification_sys};
use detector_api::{PeerStates, PeerWatch, v1::Breaker};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Starts the watch. Connections that are made before it are not guarded.
pub(crate) fn start_detector_watch() {
    let socket = rustfs_utils::get_env_opt_str(rustfs_config::ENV_DETECTOR_SOCKET);
    if let Some(socket) = socket.filter(|path| !path.is_empty()) {
        PeerWatch::start_global(socket);
    }
}

/// Follows every other node until the server stops.
pub(crate) fn follow_detected_peers(pools: &EndpointServerPools, ctx: CancellationToken) {
    let Some(watch) = PeerWatch::global() else {
        return;
    };
    for node in pools.get_nodes().into_iter().filter(|node| !node.is_local) {
        tokio::spawn(
            ctx.clone()
                .run_until_cancelled_owned(follow(node.grid_host)),
        );
    }
    tokio::spawn(async move {
        ctx.cancelled().await;
        watch.shutdown().await;
    });
}

/// RustFS's own records use `grid_host`; the connections are found by the peer's name.
async fn follow(grid_host: String) {
    let states = PeerStates::global();
    let peer = states.peer(&grid_host);
    states.until_fresh().await;
    if let Some(gap) = states.not_watched(&grid_host) {
        warn!("{gap}");
    }
    loop {
        let down = peer.until_down().await;
        let evicted = rustfs_common::evict_peer_connections(&down.peer).await;
        rustfs_io_metrics::internode_metrics::record_peer_unreachable(&grid_host, 1);
        warn!(evicted, "{down}"); // http://node4:9000 is down: rto_unanswered
        peer.until(|state| state.breaker != Breaker::Open).await;
        // Without this, RustFS dials again after 15 s, then 30 s.
        let clients = get_global_notification_sys();
        if let Some(client) = clients.and_then(|all| all.peer_client_for_grid_host(&grid_host)) {
            client.prepare_retry().await;
        }
    }
}

/// What RustFS has here: a state with a reason.
type Capability = Result<(), String>;

struct CapabilityStatus;

impl CapabilityStatus {
    fn supported() -> Capability {
        Ok(())
    }

    fn unknown() -> Self {
        Self
    }

    fn with_reason(self, reason: impl Into<String>) -> Capability {
        Err(reason.into())
    }
}

pub(crate) fn ebpf_status() -> Capability {
    if let Some(watch) = detector_api::PeerWatch::global() {
        return match watch.status() {
            detector_api::WatchStatus::Live { .. } => CapabilityStatus::supported(),
            status => CapabilityStatus::unknown().with_reason(status.to_string()),
        };
    }
    CapabilityStatus::unknown().with_reason("not wired into runtime")
}

#[expect(dead_code, reason = "compiled only")]
fn log_degraded(peer: &detector_api::Peer) {
    let state = peer.state();
    if state.verdict == detector_api::v1::Verdict::Degraded {
        let details = peer.details();
        // degraded: flows_stalled; breaker closed: packet_received
        warn!(
            peer = peer.name(),
            stalled = details.stalled_flows,
            "{state}"
        );
    }
}
