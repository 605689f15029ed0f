//! Commands that show what follows from the node's own reports: `detector locks`, `cascades`,
//! `quorum`.

use detector_api::v1::{GetQuorumOutlookRequest, ListCascadesRequest, ListLocksRequest};
use serde::Serialize;

use super::{
    args::{Global, Output},
    client::{answer, connect, socket},
    exit::{Exit, Failure},
    json, print, text,
};

/// `detector locks`.
pub async fn locks(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_locks(ListLocksRequest {})).await?;
    let locks: Vec<json::Lock> = answer.locks.into_iter().map(Into::into).collect();
    match global.output {
        Output::Text if locks.is_empty() => print("no locks were reported in ten minutes\n")?,
        Output::Text => print(&text::locks(&locks, answer.beyond_bound))?,
        Output::Json => print(&lines(&locks))?,
    }
    Ok(Exit::Done)
}

/// `detector cascades`.
pub async fn cascades(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_cascades(ListCascadesRequest {})).await?;
    let cascades: Vec<json::Cascade> = answer.cascades.into_iter().map(Into::into).collect();
    match global.output {
        Output::Text if cascades.is_empty() => print("no cascades within the hour\n")?,
        Output::Text => print(&text::cascades(&cascades))?,
        Output::Json => print(&lines(&cascades))?,
    }
    Ok(Exit::Done)
}

/// `detector quorum`.
pub async fn quorum(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.get_quorum_outlook(GetQuorumOutlookRequest {})).await?;
    let pools: Vec<json::PoolOutlook> = answer.pools.into_iter().map(Into::into).collect();
    match global.output {
        Output::Text => print(&text::outlook(&pools))?,
        Output::Json => print(&lines(&pools))?,
    }
    Ok(Exit::Done)
}

/// The values as JSON, one object on each line.
fn lines<T: Serialize>(values: &[T]) -> String {
    values.iter().map(json::line).collect()
}
