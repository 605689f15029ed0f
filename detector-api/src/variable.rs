//! Numbers that an operator sets with environment variables.

use std::{env, ops::RangeInclusive};

/// An environment variable with an invalid value.
///
/// ```
/// use detector_api::Profile;
///
/// let error = Profile::Control
///     .settings_from(|name| (name == "RUSTFS_TCP_KEEPALIVE_SECS").then(|| "10s".into()))
///     .unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "RUSTFS_TCP_KEEPALIVE_SECS is \"10s\", which is not a whole number of seconds from 1 to \
///      3600: set it to one, as in 10, or unset it for the default",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is {value:?}, which is not a whole number of {unit} from {min} to {max}: set it to \
     one, as in {default}, or unset it for the default"
)]
pub struct VariableError {
    /// The variable's name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The unit of the number.
    pub unit: &'static str,
    /// The smallest valid value.
    pub min: u64,
    /// The largest valid value.
    pub max: u64,
    /// The value that applies while it is not set.
    pub default: u64,
}

/// Reads a variable from the process's environment.
pub(crate) fn from_env(name: &'static str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The number to which a variable is set, or its default if it is not set.
pub(crate) fn number(
    (name, unit): (&'static str, &'static str),
    value: Option<String>,
    bounds: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, VariableError> {
    let Some(value) = value else {
        return Ok(default);
    };
    match value.trim().parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(VariableError {
            name,
            value,
            unit,
            min: *bounds.start(),
            max: *bounds.end(),
            default,
        }),
    }
}
