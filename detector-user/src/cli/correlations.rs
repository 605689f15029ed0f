//! Commands that show what follows from the node's own reports: `detector locks`, `cascades`,
//! `quorum`.

use detector_api::v1::{GetQuorumOutlookRequest, ListCascadesRequest, ListLocksRequest};

use super::{
    args::Global,
    client::{answer, connect, list, socket},
    exit::{Exit, Failure},
    text,
};

/// `detector locks`.
pub async fn locks(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_locks(ListLocksRequest {})).await?;
    let none = "no locks were reported in ten minutes\n";
    let text = |locks: &[_]| text::locks(locks, answer.beyond_bound);
    list(global, &answer.locks, none, text)
}

/// `detector cascades`.
pub async fn cascades(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.list_cascades(ListCascadesRequest {})).await?;
    let none = "no cascades within the hour\n";
    list(global, &answer.cascades, none, text::cascades)
}

/// `detector quorum`.
pub async fn quorum(global: &Global) -> Result<Exit, Failure> {
    let mut client = connect(&socket(global)?).await?;
    let answer = answer(client.get_quorum_outlook(GetQuorumOutlookRequest {})).await?;
    // Without a layout the daemon refuses: there is always a pool.
    list(global, &answer.pools, "", text::outlook)
}
