//! Requests of any bytes, for the tests with hostile input.

use detector_api::v1;
use prost::Message;
use tonic::Status;

use super::{convert, overrides, reports, service};
use crate::model::{PeerName, Time};

/// The longest message of a refusal: it repeats what is wrong, and that is as long as a request.
const LONGEST_REFUSAL: usize = 4096;

/// Reads any bytes as a request: see [`hostile`](crate::hostile). The first byte says which.
pub fn any_request(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    match kind % 5 {
        0 => read(body, |request: v1::ReportRequest| {
            let now = Time::from_nanos(1_000_000_000_000_000);
            let reports = reports::reports(request.reports, now)?;
            for report in &reports {
                assert!(report.ended_at <= now, "{report:?}");
                one_line(report.lock.as_deref().unwrap_or_default());
                one_line(report.peer.as_ref().map_or("", PeerName::as_str));
            }
            Ok(())
        }),
        1 => read(body, |request: v1::SetOverrideRequest| {
            overrides::command(&request)?;
            one_line(request.reason.trim());
            named(&request.peer)
        }),
        2 => read(body, |request: v1::FinishTrialRequest| {
            let _ = convert::trial_outcome(request.outcome);
            named(&request.peer)
        }),
        3 => read(body, |request: v1::ExplainPeerRequest| named(&request.peer)),
        _ => read(body, |request: v1::WatchPeersRequest| {
            let _ = request.last_revision;
            Ok(())
        }),
    }
}

fn named(peer: &str) -> Result<(), Status> {
    let peer = service::peer_name(peer)?;
    Err(service::not_watched(&peer))
}

fn read<M: Message + Default>(body: &[u8], check: impl FnOnce(M) -> Result<(), Status>) {
    let Ok(request) = M::decode(body) else {
        return;
    };
    if let Err(refusal) = check(request) {
        let message = refusal.message();
        assert!(message.len() <= LONGEST_REFUSAL, "{}", message.len());
        one_line(message);
    }
}

/// What is shown in a line of a log or of a table neither ends it nor moves the cursor.
fn one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
