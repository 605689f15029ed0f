//! What the daemon says.

use anyhow::anyhow;
use detector_api::v1::{
    DaemonInfo, ExplainPeerRequest, GetDiagnosticsRequest, GetHistoryRequest, ListPeersRequest,
    detector_client::DetectorClient, get_diagnostics_response::Part as Piece,
};
use tonic::{Code, transport::Channel};

use super::{bundle::Part, secrets};
use crate::{
    cli::{
        args::Global,
        client::{answer, connect, socket},
        config as shown,
        exit::Failure,
    },
    config::{ConfigErrors, Loaded},
    json, text,
};

/// The file with the minute around the peer's death.
pub(super) const DEATH: &str = "death.rec";

const EXPLANATION: &str = "the evidence behind the verdict, now (detector explain)";
const RECORDING: &str = "everything that led to the verdicts of the last minute (detector replay)";
const CONFIGURATION: &str = "the configuration in effect";

/// The most bytes of recordings that are taken: more than the daemon keeps, written as text.
const MAX_BYTES: usize = 256 << 20;

/// What was found out.
pub(super) struct Found {
    pub parts: Vec<Part>,
    /// The daemon, if it said what it is.
    pub daemon: Option<DaemonInfo>,
    /// Why it said nothing.
    pub failure: Option<Failure>,
}

/// Asks the daemon. That it cannot be reached is no error: the rest is worth having then.
///
/// # Errors
///
/// If it watches no such peer.
pub(super) async fn ask(global: &Global, peer: &str) -> Result<Found, Failure> {
    let socket = socket(global)?;
    let mut client = match connect(&socket).await {
        Ok(client) => client,
        Err(failure) => return Ok(unreachable(failure)),
    };
    let mut parts = explanation(&mut client, peer).await?;
    let all = answer(client.list_peers(ListPeersRequest {})).await;
    let all = all.map(|all| text::peers_with_sources(&all));
    parts.push(part("peers.txt", "all peers, now (detector peers)", all));
    let request = GetHistoryRequest { peer: peer.into() };
    let history = answer(client.get_history(request)).await;
    let history = history.map(|history| json::messages(&history.peers));
    let about = "its last transitions, round-trip times and losses";
    parts.push(part("history.json", about, history));
    let (more, daemon) = diagnostics(&mut client, peer).await;
    parts.extend(more);
    Ok(Found {
        parts,
        daemon,
        failure: None,
    })
}

fn part(name: &'static str, about: &'static str, found: Result<String, Failure>) -> Part {
    Part::new(name, about, found.map_err(|failure| failure.message()))
}

fn unreachable(failure: Failure) -> Found {
    let missing = |name, about| Part::new(name, about, Err(failure.message()));
    let parts = vec![
        missing("explanation.txt", EXPLANATION),
        missing("recording.rec", RECORDING),
    ];
    Found {
        parts,
        daemon: None,
        failure: Some(failure),
    }
}

async fn explanation(
    client: &mut DetectorClient<Channel>,
    peer: &str,
) -> Result<Vec<Part>, Failure> {
    let request = ExplainPeerRequest { peer: peer.into() };
    let explained = match answer(client.explain_peer(request)).await {
        Err(Failure::Refused {
            code: Code::NotFound,
            ..
        }) => return Err(Failure::NoSuchPeer(peer.to_owned())),
        Err(failure) => return Ok(vec![part("explanation.txt", EXPLANATION, Err(failure))]),
        Ok(explained) => explained,
    };
    let data = json::message(&explained);
    Ok(vec![
        part(
            "explanation.txt",
            EXPLANATION,
            Ok(text::explanation(&explained)),
        ),
        part("explanation.json", "the same as data", Ok(data)),
    ])
}

/// The recordings and the configuration.
async fn diagnostics(
    client: &mut DetectorClient<Channel>,
    peer: &str,
) -> (Vec<Part>, Option<DaemonInfo>) {
    match pieces(client, peer).await {
        Err(failure) => (vec![part("recording.rec", RECORDING, Err(failure))], None),
        Ok(Pieces {
            daemon,
            recording,
            death,
        }) => {
            let told = |daemon: &DaemonInfo| Ok(secrets::without(&daemon.config));
            let none = || Err("the daemon did not say".to_owned());
            let configuration = daemon.as_ref().map_or_else(none, told);
            let mut parts = vec![
                recorded("recording.rec", RECORDING, recording),
                Part::new("config.toml", CONFIGURATION, configuration),
            ];
            if !death.is_empty() {
                let about = "the same of the minute around its last death";
                parts.push(recorded(DEATH, about, death));
            }
            (parts, daemon)
        }
    }
}

fn recorded(name: &'static str, about: &'static str, bytes: Vec<u8>) -> Part {
    Part {
        bytes,
        ..Part::new(name, about, Ok(String::new()))
    }
}

#[derive(Default)]
struct Pieces {
    daemon: Option<DaemonInfo>,
    recording: Vec<u8>,
    death: Vec<u8>,
}

async fn pieces(client: &mut DetectorClient<Channel>, peer: &str) -> Result<Pieces, Failure> {
    let request = GetDiagnosticsRequest { peer: peer.into() };
    let mut stream = answer(client.get_diagnostics(request)).await?;
    let mut all = Pieces::default();
    while let Some(next) = stream.message().await? {
        match next.part {
            Some(Piece::Daemon(daemon)) => all.daemon = Some(daemon),
            Some(Piece::Recording(piece)) => all.recording.extend(piece),
            Some(Piece::Death(piece)) => all.death.extend(piece),
            _ => {}
        }
        if all.recording.len() + all.death.len() > MAX_BYTES {
            return Err(anyhow!("the recordings are longer than {MAX_BYTES} bytes").into());
        }
    }
    Ok(all)
}

/// The configuration of the file, where the daemon does not say by which one it works.
pub(super) fn configuration_file(file: &Result<Loaded, ConfigErrors>) -> Part {
    let about = "the configuration file; the daemon may have started with flags";
    let found = match file {
        Ok(loaded) => Ok(secrets::without(&shown::toml(loaded))),
        Err(errors) => Err(errors.to_string()),
    };
    Part::new("config.toml", about, found)
}
