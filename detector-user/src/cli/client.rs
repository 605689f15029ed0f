//! Commands that query a running daemon.

use std::{
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use detector_api::v1::{ExplainPeerRequest, ListPeersRequest, detector_client::DetectorClient};
use prost::Name;
use tonic::{Code, Response, Status, transport::Channel};

use super::{
    args::{Global, Output},
    exit::{Exit, Failure},
    json, print, text,
};
use crate::config::{self, Config, parse_peer_name};

/// The daemon answers from memory, so an answer that takes longer means that it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Enough for all flows of the largest peer that the bounds permit.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The daemon's socket: from the flag, else from the configuration file, else the default.
pub fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(socket) = &global.socket {
        return Ok(PathBuf::from(socket));
    }
    match config::load(global.config.as_deref(), &[]) {
        Ok(loaded) => Ok(loaded.config.socket),
        Err(errors) if global.config.is_some() => Err(Failure::Config(errors)),
        // A broken file that the user did not name must not prevent a query. If the daemon listens
        // elsewhere, the connect error shows which path was tried.
        Err(_) => Ok(Config::default().socket),
    }
}

pub async fn connect(socket: &Path) -> Result<DetectorClient<Channel>, Failure> {
    let client = detector_api::connect(socket).await?;
    Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// Waits for an answer, but no longer than `ANSWER_LIMIT`.
pub async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_LIMIT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Failure::Timeout {
            limit: ANSWER_LIMIT,
        }),
    }
}

/// `detector peers`.
pub async fn peers(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_peers(ListPeersRequest {})).await?;
    match global.output {
        Output::Text => print(&text::peers_with_sources(&answer))?,
        Output::Json => {
            print(&json::peers(&answer))?;
            // Standard output has a peer on each line.
            for source in answer
                .sources
                .iter()
                .filter(|source| source.peers.is_empty())
            {
                // If stderr is closed, nobody wants to know.
                let _ = writeln!(io::stderr(), "{}", source.text);
            }
        }
    }
    Ok(Exit::Done)
}

/// Prints a list, or as text `none` where it is empty.
pub fn list<M: Name>(
    global: &Global,
    items: &[M],
    none: &str,
    text: impl FnOnce(&[M]) -> String,
) -> Result<Exit, Failure> {
    match global.output {
        Output::Text if items.is_empty() => print(none)?,
        Output::Text => print(&text(items))?,
        Output::Json => print(&json::messages(items))?,
    }
    Ok(Exit::Done)
}

/// `detector explain PEER`.
pub async fn explain(global: &Global, peer: &str) -> Result<Exit, Failure> {
    let peer = parse_peer_name(peer)?.name.to_string();
    let mut client = connect(&socket(global)?).await?;
    let request = ExplainPeerRequest { peer: peer.clone() };
    let answer = match answer(client.explain_peer(request)).await {
        Err(Failure::Refused {
            code: Code::NotFound,
            ..
        }) => return Err(Failure::NoSuchPeer(peer)),
        answer => answer?,
    };
    print(&global.output.show(&answer, text::explanation))?;
    Ok(Exit::Done)
}
