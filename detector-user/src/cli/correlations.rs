//! Commands that show what follows from the node's own reports: `detector locks`, `cascades`,
//! `quorum`.

use detector_api::v1::{GetQuorumOutlookRequest, ListCascadesRequest, ListLocksRequest};

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
    let locks = answer.locks;
    match global.output {
        Output::Text if locks.is_empty() => print("no locks were reported in ten minutes\n")?,
        Output::Text => print(&text::locks(&locks, answer.beyond_bound))?,
        Output::Json => print(&json::messages(&locks))?,
    }
    Ok(Exit::Done)
}

/// `detector cascades`.
pub async fn cascades(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_cascades(ListCascadesRequest {})).await?;
    let cascades = answer.cascades;
    match global.output {
        Output::Text if cascades.is_empty() => print("no cascades within the hour\n")?,
        Output::Text => print(&text::cascades(&cascades))?,
        Output::Json => print(&json::messages(&cascades))?,
    }
    Ok(Exit::Done)
}

/// `detector quorum`.
pub async fn quorum(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.get_quorum_outlook(GetQuorumOutlookRequest {})).await?;
    let pools = answer.pools;
    match global.output {
        Output::Text => print(&text::outlook(&pools))?,
        Output::Json => print(&json::messages(&pools))?,
    }
    Ok(Exit::Done)
}
