//! Administrators' commands: who sends them, and what they ask for.

use std::time::Duration;

use detector_api::v1;
use tonic::{Request, Status};

use super::clients::Client;
use crate::{
    model::OverrideKind,
    overrides::{Administrators, Caller, Command, LONGEST, LONGEST_REASON, OverrideError},
};

/// The least time that an override holds.
const SHORTEST: Duration = Duration::from_secs(1);

/// The process that sent the request, which needs an administrator's rights `to` do something.
///
/// # Errors
///
/// `PERMISSION_DENIED` if it is no administrator's.
pub(super) fn administrator<T>(
    request: &Request<T>,
    administrators: &Administrators,
    to: &str,
) -> Result<Caller, Status> {
    let Some(credentials) = Client::of(request)?.credentials else {
        return Err(Status::permission_denied(
            "the kernel does not say which user calls",
        ));
    };
    let caller = Caller {
        uid: credentials.uid(),
        gid: credentials.gid(),
        pid: credentials.pid(),
    };
    match administrators.include(caller) {
        true => Ok(caller),
        false => Err(Status::permission_denied(format!(
            "user {} may not {to}; call as root, or add the user to admin_users, or \
             one of its groups to admin_groups, in the daemon's configuration",
            caller.uid
        ))),
    }
}

/// The command of a request.
///
/// # Errors
///
/// `INVALID_ARGUMENT` names the field.
pub(super) fn command(request: &v1::SetOverrideRequest) -> Result<Command, Status> {
    let kind = match request.kind() {
        v1::OverrideKind::Maintenance => OverrideKind::Maintenance,
        v1::OverrideKind::Open => OverrideKind::Open,
        v1::OverrideKind::Closed => OverrideKind::Closed,
        _ => {
            return Err(Status::invalid_argument(
                "kind: say OVERRIDE_KIND_MAINTENANCE, OVERRIDE_KIND_OPEN or OVERRIDE_KIND_CLOSED",
            ));
        }
    };
    let lasts = request.duration.unwrap_or_default();
    let lasts = Duration::try_from(lasts).unwrap_or_default();
    if !(SHORTEST..=LONGEST).contains(&lasts) {
        let show = humantime::format_duration;
        return Err(Status::invalid_argument(format!(
            "duration: at least {} and at most {}",
            show(SHORTEST),
            show(LONGEST)
        )));
    }
    let reason = request.reason.trim();
    if reason.len() > LONGEST_REASON || reason.contains(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "reason: one line of at most {LONGEST_REASON} bytes"
        )));
    }
    if reason.is_empty() && kind != OverrideKind::Maintenance {
        return Err(Status::invalid_argument(
            "reason: say why; others read it when they wonder about the breaker",
        ));
    }
    Ok(Command::Set {
        kind,
        lasts,
        reason: reason.to_owned(),
    })
}

pub(super) fn refused(error: OverrideError) -> Status {
    let text = error.to_string();
    match error {
        OverrideError::UnknownPeer => Status::not_found(text),
        OverrideError::NoOverride => Status::failed_precondition(text),
        OverrideError::TooMany(_) => Status::resource_exhausted(text),
    }
}
