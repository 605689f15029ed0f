//! Users: small objects of the store itself, read under a lock at every login.

use std::time::Duration;

use bytes::Bytes;
use tokio_stream::iter;

use super::{get, node::Node, put, set::SetError, wires::Class};

/// The users there are.
pub const USERS: [&str; 2] = ["root", "reader"];
/// The store may still be starting on other nodes.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

fn object(user: &str) -> String {
    format!(".system/iam/users/{user}")
}

/// Reads the user's record from the drives: nothing is cached.
pub async fn login(node: &Node, user: &str) -> Result<(), SetError> {
    let record = get::read(node, Class::IamRead, &object(user)).await?;
    match record == record_of(user) {
        true => Ok(()),
        false => Err(SetError::Damaged(object(user))),
    }
}

fn record_of(user: &str) -> Bytes {
    format!("{{\"user\":\"{user}\",\"policy\":\"readwrite\"}}").into()
}

/// The first node makes the users, once the others are there.
pub async fn make_users(node: Node) {
    if node.number() != 0 {
        return;
    }
    for user in USERS {
        while login(&node, user).await.is_err() {
            let body = iter([Ok::<_, std::io::Error>(record_of(user))]);
            if put::put(&node, &object(user), body).await.is_err() {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}
