//! The recording and the configuration for a ticket.

use super::*;
use crate::{
    config::Config,
    core::Core as _,
    model::Settings,
    record::{Reader, Taped},
    serve::Diagnostics,
};

/// How many inputs the recording has. It takes more pieces than can wait unread on the way to a client.
const INPUTS: usize = 20_000;

/// What the fake driver knows of the peer.
pub(super) fn of(named: &PeerName) -> Option<Diagnostics> {
    let mut taped = Taped::new(Settings::default(), None);
    let start = clock::now();
    for n in 0..INPUTS as u32 {
        taped.handle_timeout(start + n * Duration::from_micros(1));
    }
    (named == &peer(PEER)).then(|| Diagnostics {
        config: Config {
            node_name: Some(peer("http://node1:9000")),
            ..Config::default()
        },
        recent: taped.excerpt(clock::now()),
        death: None,
    })
}

fn about(name: &str) -> v1::GetDiagnosticsRequest {
    v1::GetDiagnosticsRequest { peer: name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_comes_first_and_then_the_recording_in_pieces() {
    use v1::get_diagnostics_response::Part;
    let rig = Rig::start().await;
    let answer = rig.client().get_diagnostics(about("NODE4:9000")).await;
    let mut stream = answer.unwrap().into_inner();
    let mut next = async || {
        stream
            .message()
            .await
            .unwrap()
            .map(|next| next.part.unwrap())
    };
    let Some(Part::Daemon(daemon)) = next().await else {
        panic!("the daemon comes first");
    };
    assert_eq!(daemon.pid, std::process::id());
    assert!(
        daemon
            .config
            .contains("node_name = \"http://node1:9000\"\n")
    );
    let (mut recording, mut pieces) = (Vec::new(), 0);
    while let Some(part) = next().await {
        let Part::Recording(piece) = part else {
            panic!("{part:?}");
        };
        recording.extend(piece);
        pieces += 1;
    }
    assert!(pieces > 1);
    let mut reader = Reader::new(&*recording).unwrap();
    let entries = std::iter::from_fn(|| reader.read().unwrap());
    assert_eq!(entries.count(), INPUTS + 1, "and the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_get_it_and_only_of_watched_peers() {
    let (requests, mut driver) = mpsc::channel(4);
    let rig = Rig::start_for(requests, Administrators::default()).await;
    let refused = rig.client().get_diagnostics(about(PEER)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("the recording"), "{refused}");
    assert!(driver.try_recv().is_err(), "nothing reaches the driver");

    let rig = Rig::start().await;
    let unknown = rig.client().get_diagnostics(about("http://b:1")).await;
    assert_eq!(code(unknown), Code::NotFound);
}

/// A client that does not read keeps its place, and no more places than there are.
#[tokio::test(flavor = "multi_thread")]
async fn few_are_answered_at_once() {
    let rig = Rig::start().await;
    let mut held = Vec::new();
    let refused = loop {
        match rig.client().get_diagnostics(about(PEER)).await {
            Ok(stream) => held.push(stream),
            Err(refused) => break refused,
        }
        assert!(held.len() < 10);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(held);
}
