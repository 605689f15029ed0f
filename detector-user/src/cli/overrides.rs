//! `detector maintenance` and `detector override`.

use std::time::Duration;

use detector_api::v1::{EndOverrideRequest, OverrideKind, PeerState, SetOverrideRequest};
use tonic::Code;

use super::{
    args::{Global, MaintenanceArgs, OverrideArgs, Wanted},
    client::{answer, connect, socket},
    exit::{Exit, Failure},
    print, text,
};
use crate::config::parse_peer_name;

pub async fn maintenance(global: &Global, args: &MaintenanceArgs) -> Result<Exit, Failure> {
    let wanted = args.lasts.map(|lasts| (OverrideKind::Maintenance, lasts));
    apply(global, &args.peer, wanted, args.reason.as_deref()).await
}

pub async fn r#override(global: &Global, args: &OverrideArgs) -> Result<Exit, Failure> {
    let kind = args.wanted.map(|wanted| match wanted {
        Wanted::Open => OverrideKind::Open,
        Wanted::Closed => OverrideKind::Closed,
    });
    let wanted = kind.zip(args.lasts);
    apply(global, &args.peer, wanted, args.reason.as_deref()).await
}

/// Sets an override, or ends it where none is wanted.
async fn apply(
    global: &Global,
    peer: &str,
    wanted: Option<(OverrideKind, Duration)>,
    reason: Option<&str>,
) -> Result<Exit, Failure> {
    let peer = parse_peer_name(peer)?.name.to_string();
    let mut client = connect(&socket(global)?).await?;
    let done = match wanted {
        Some((kind, lasts)) => {
            let request = SetOverrideRequest {
                peer: peer.clone(),
                kind: kind.into(),
                duration: lasts.try_into().ok(),
                reason: reason.unwrap_or_default().to_owned(),
            };
            let set = answer(client.set_override(request)).await;
            set.map(|set| (set.peer, set.warning))
        }
        None => {
            let request = EndOverrideRequest { peer: peer.clone() };
            let ended = answer(client.end_override(request)).await;
            ended.map(|ended| (ended.peer, ended.warning))
        }
    };
    let (state, warning) = match done {
        Err(Failure::Refused {
            code: Code::NotFound,
            ..
        }) => return Err(Failure::NoSuchPeer(peer)),
        done => done?,
    };
    if let Some(state) = &state {
        print(&global.output.show(state, said))?;
    }
    if !warning.is_empty() {
        let warning = text::printable(&warning);
        eprintln!("warning: {warning}; the override holds, but not beyond a restart");
    }
    Ok(Exit::Done)
}

/// What holds now, as one line.
fn said(state: &PeerState) -> String {
    let held = match text::overridden(state) {
        Some(held) => held,
        None => "no override".to_owned(),
    };
    format!("{}: {held}; breaker {}\n", state.peer, state.breaker())
}
