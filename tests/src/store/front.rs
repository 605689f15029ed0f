//! What clients ask of a node: objects, logins, the console, and locks.

use std::io;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::{
    control, drive, get, iam,
    node::Node,
    proto::InfoRequest,
    put,
    quorum::{Lock, LockError},
    set::SetError,
    wires::{Class, Control, Shown},
};

/// The SHA-256 of an object, in hexadecimal.
pub const SHA256: &str = "x-sha256";

/// An upload that was acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acknowledged {
    pub size: u64,
    pub sha256: String,
    pub drives: usize,
}

/// One node on the console.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shows {
    pub node: String,
    pub online: bool,
    /// Why it is not.
    pub why: String,
    pub objects: u64,
}

impl IntoResponse for SetError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Lock(LockError::Held { .. } | LockError::HeldByDead { .. }) => {
                StatusCode::CONFLICT
            }
            Self::Damaged(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.to_string()).into_response()
    }
}

/// PUT /objects/{object}
pub async fn put(
    State(node): State<Node>,
    Path(object): Path<String>,
    body: Body,
) -> Result<Json<Acknowledged>, SetError> {
    let stored = put::put(&node, &object, body.into_data_stream()).await?;
    Ok(Json(Acknowledged {
        size: stored.size,
        sha256: drive::hex(&stored.sha256),
        drives: stored.drives,
    }))
}

/// GET /objects/{object}. An error in mid-download breaks the connection off.
pub async fn get(
    State(node): State<Node>,
    Path(object): Path<String>,
) -> Result<Response, SetError> {
    let found = get::get(&node, Class::Control, &object).await?;
    let data = stream::unfold(found.data, async |mut data| {
        let next = data.recv().await?;
        Some((
            next.map_err(|error| io::Error::other(error.to_string())),
            data,
        ))
    });
    let mut response = Body::from_stream(data).into_response();
    let sum = HeaderValue::from_str(&drive::hex(&found.meta.sha256));
    let headers = response.headers_mut();
    headers.insert("content-length", found.meta.size.into());
    if let Ok(sum) = sum {
        headers.insert(SHA256, sum);
    }
    Ok(response)
}

/// GET /console: every node, asked at once.
pub async fn console(State(node): State<Node>) -> Json<Vec<Shows>> {
    let others: Vec<String> = node
        .nodes()
        .iter()
        .filter(|url| *url != node.url())
        .cloned()
        .collect();
    let call = |mut peer: Control| async move { peer.info(InfoRequest {}).await };
    let mut all = node.wires().ask_all(&others, call).await;
    all.push((node.url().to_owned(), Shown::Online(control::info(&node))));
    let mut shown: Vec<Shows> = all
        .into_iter()
        .map(|(url, shown)| shows(url, &shown))
        .collect();
    shown.sort_by(|a, b| a.node.cmp(&b.node));
    Json(shown)
}

fn shows(node: String, shown: &Shown<super::proto::InfoResponse>) -> Shows {
    let (online, why, objects) = match shown {
        Shown::Online(info) => {
            let objects = info.drives.iter().map(|drive| drive.objects).max();
            (true, String::new(), objects.unwrap_or_default())
        }
        Shown::Offline(why) => (false, why.clone(), 0),
    };
    Shows {
        node,
        online,
        why,
        objects,
    }
}

/// POST /login/{user}
pub async fn login(
    State(node): State<Node>,
    Path(user): Path<String>,
) -> Result<StatusCode, SetError> {
    iam::login(&node, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// POST /lock/{resource}: answers once the lock is there, and gives it back.
pub async fn lock(
    State(node): State<Node>,
    Path(resource): Path<String>,
) -> Result<StatusCode, SetError> {
    Lock::acquire(&node, &resource, true).await?;
    Ok(StatusCode::NO_CONTENT)
}
