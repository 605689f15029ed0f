//! The lab's own storage peers: what the other tests take for granted about the traffic.

use std::time::Duration;

use detector_tests::{Cut, Lab, PEER_PORT, Traffic, clock, peer::Kind, testbed};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn grpc_clients_load_both_directions_over_both_families() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        for url in [lab.host(2).url(), lab.host(2).url_v6()] {
            for kind in [Kind::Ping, Kind::Put, Kind::Get] {
                let mut client = Traffic::grpc_client(lab.host(1), &url, kind, 2, 50).await?;
                client.process.kill().await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_grpc_client_redials_after_a_kill_of_its_server() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let mut server = Traffic::grpc_server(lab.host(2)).await?;
        let url = lab.host(2).url();
        let client = Traffic::grpc_client(lab.host(1), &url, Kind::Ping, 1, 50).await?;
        let killed = clock::now_ns();
        server.process.kill().await?;
        client.error_since(killed, SOON).await?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}

/// A cut ends neither calls nor connections: that is what the detector is for.
#[tokio::test]
async fn a_cut_hangs_a_grpc_client_without_an_error() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let url = lab.host(2).url();
        let client = Traffic::grpc_client(lab.host(1), &url, Kind::Put, 2, 50).await?;
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let quiet = Duration::from_secs(3);
        assert!(client.error_since(cut.at_ns, quiet).await.is_err());
        lab.heal(&[2])?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn http_uploads_run_and_a_stopped_server_closes_its_window() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let server = Traffic::http_server(lab.host(2)).await?;
        let client = Traffic::http_client(lab.host(1), lab.host(2), 1).await?;
        server.process.signal(Signal::SIGSTOP)?;
        testbed::until("the upload meets a closed window", SOON, async || {
            // A pending zero-window probe is timer:(persist,…).
            let filter = format!("dport = :{PEER_PORT}");
            let sockets = lab.host(1).exec("ss", &["-tinoH", &filter])?;
            Ok(sockets.contains("persist").then_some(()))
        })
        .await?;
        server.process.signal(Signal::SIGCONT)?;
        client.ok_since(clock::now_ns(), SOON).await?;
        Ok(())
    })
    .await
}
