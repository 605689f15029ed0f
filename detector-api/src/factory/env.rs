//! What an operator may set by environment variables.

use std::time::Duration;

use super::{Profile, Settings};

const TCP_KEEPALIVE: &str = "RUSTFS_TCP_KEEPALIVE_SECS";
const PING_INTERVAL: &str = "RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS";
const PING_TIMEOUT: &str = "RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS";

/// The largest number of seconds that makes sense: an hour. It lies within what the kernel takes
/// for a keepalive, too.
const MAX_SECS: u64 = 3600;

/// An environment variable that cannot be made sense of.
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
    "{name} is {value:?}, which is not a whole number of seconds from {min} to {max}: set it to \
     one, as in {default}, or unset it for the default"
)]
pub struct EnvError {
    pub name: &'static str,
    pub value: String,
    pub min: u64,
    pub max: u64,
    pub default: u64,
}

impl Profile {
    /// The settings with what the environment says in the place of the defaults:
    /// - `RUSTFS_TCP_KEEPALIVE_SECS`: how long a connection is idle before the first keepalive
    ///   probe, of both profiles;
    /// - `RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS` and `RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS`: the PING
    ///   of control connections. 0 as the interval sends none. Bulk connections have none, whatever
    ///   these say: see the [module's text](crate::factory).
    ///
    /// # Errors
    /// The first variable whose value is not a whole number of seconds within bounds. Nothing is
    /// guessed: a program that goes on says so, and uses [`settings`](Self::settings).
    ///
    /// ```
    /// use detector_api::Profile;
    ///
    /// let control = Profile::Control.settings_from_env().unwrap_or_else(|error| {
    ///     eprintln!("{error}");
    ///     Profile::Control.settings()
    /// });
    /// # drop(control);
    /// ```
    pub fn settings_from_env(self) -> Result<Settings, EnvError> {
        self.settings_from(|name| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        })
    }

    /// The same with `get` in the place of the environment.
    ///
    /// ```
    /// use detector_api::Profile;
    ///
    /// let off = |name: &str| name.contains("INTERVAL").then(|| "0".to_owned());
    /// assert_eq!(Profile::Control.settings_from(off)?.ping, None);
    /// # Ok::<(), detector_api::EnvError>(())
    /// ```
    pub fn settings_from(
        self,
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Settings, EnvError> {
        let mut settings = self.settings();
        let secs = |name, min, default: Duration| parse(name, get(name), min, default);
        settings.keepalive_idle = secs(TCP_KEEPALIVE, 1, settings.keepalive_idle)?;
        if let Some(ping) = &mut settings.ping {
            ping.interval = secs(PING_INTERVAL, 0, ping.interval)?;
            ping.timeout = secs(PING_TIMEOUT, 1, ping.timeout)?;
        }
        settings.ping = settings.ping.filter(|ping| !ping.interval.is_zero());
        Ok(settings)
    }
}

fn parse(
    name: &'static str,
    value: Option<String>,
    min: u64,
    default: Duration,
) -> Result<Duration, EnvError> {
    let Some(value) = value else {
        return Ok(default);
    };
    match value.trim().parse() {
        Ok(secs) if (min..=MAX_SECS).contains(&secs) => Ok(Duration::from_secs(secs)),
        _ => Err(EnvError {
            name,
            value,
            min,
            max: MAX_SECS,
            default: default.as_secs(),
        }),
    }
}
