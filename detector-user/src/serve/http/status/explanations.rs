//! The evidence behind a verdict, for the page. Anyone who reads the page may ask, so the driver is
//! asked for one peer at a time, and the answers serve all viewers for a while.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{body::Bytes, http::StatusCode};
use detector_api::v1;
use serde::Serialize;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    clock,
    config::parse_peer_name,
    json::{self, Object},
    model::{PeerName, Time},
    serve::{Request, board::Board, grpc},
};

/// How long an answer is used again.
const LASTS: Duration = Duration::from_secs(1);

/// The most answers that are kept.
const KEPT: usize = 16;

/// The pause after each question to the driver.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the driver may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no explanation.
pub(super) type Refusal = (StatusCode, &'static str);

const NOT_WATCHED: Refusal = (StatusCode::NOT_FOUND, "this peer is not watched\n");
const NO_ANSWER: Refusal = (
    StatusCode::SERVICE_UNAVAILABLE,
    "the daemon did not answer in time\n",
);

#[derive(Debug)]
struct Kept {
    at: Time,
    peer: PeerName,
    json: Bytes,
}

/// Cheap to clone; all clones share the answers.
#[derive(Clone, Debug)]
pub(super) struct Explanations {
    board: Board,
    requests: mpsc::Sender<Request>,
    kept: Arc<Mutex<VecDeque<Kept>>>,
}

#[derive(Serialize)]
struct Explained {
    explanation: Object,
    history: Option<Object>,
}

impl Explanations {
    pub(super) fn new(board: Board, requests: mpsc::Sender<Request>) -> Self {
        Self {
            board,
            requests,
            kept: Arc::default(),
        }
    }

    /// The explanation of this peer's verdict, as JSON.
    pub(super) async fn of(&self, peer: &str) -> Result<Bytes, Refusal> {
        let peer = parse_peer_name(peer).map_err(|_| NOT_WATCHED)?.name;
        if self.board.get(&peer).is_none() {
            return Err(NOT_WATCHED);
        }
        let mut kept = self.kept.lock().await;
        let now = clock::now();
        kept.retain(|kept| now.since(kept.at) < LASTS);
        if let Some(found) = kept.iter().find(|kept| kept.peer == peer) {
            return Ok(found.json.clone());
        }
        let json = self.ask(&peer).await?;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            at: now,
            peer,
            json: json.clone(),
        });
        // The next question waits for the lock.
        sleep(PAUSE).await;
        Ok(json)
    }

    async fn ask(&self, peer: &PeerName) -> Result<Bytes, Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Explain {
            peer: peer.clone(),
            reply,
        };
        let asked = async {
            self.requests.send(request).await.ok()?;
            answer.await.ok()
        };
        let answer = timeout(ANSWERED_WITHIN, asked).await;
        let explanation = answer.ok().flatten().ok_or(NO_ANSWER)?;
        let explanation = explanation.ok_or(NOT_WATCHED)?;
        let now = clock::now();
        let history = self.board.histories(Some(peer)).pop();
        Ok(Bytes::from(json::line(&Explained {
            explanation: Object::of(&public(grpc::explanation(&explanation, now))),
            history: history.map(|(peer, of)| Object::of(&grpc::history(&peer, &of, now))),
        })))
    }
}

/// Without what the page does not show: the ports of connections, and all that may be long.
fn public(explanation: v1::ExplainPeerResponse) -> v1::ExplainPeerResponse {
    v1::ExplainPeerResponse {
        flows: Vec::new(),
        events: Vec::new(),
        probes: Vec::new(),
        routes: Vec::new(),
        ..explanation
    }
}
