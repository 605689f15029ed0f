//! The settings that an operator can change with environment variables.

use std::time::Duration;

use super::{Profile, Settings};
use crate::variable::{VariableError, from_env, number};

const TCP_KEEPALIVE: &str = "RUSTFS_TCP_KEEPALIVE_SECS";
const PING_INTERVAL: &str = "RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS";
const PING_TIMEOUT: &str = "RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS";

/// The largest number of seconds that makes sense: an hour. The kernel accepts this for keepalives,
/// too.
const MAX_SECS: u64 = 3600;

impl Profile {
    /// The settings, with the defaults replaced by these environment variables:
    /// - `RUSTFS_TCP_KEEPALIVE_SECS`: how long a connection is idle before the first keepalive
    ///   probe, in both profiles;
    /// - `RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS` and `RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS`: the PING
    ///   of control connections. An interval of 0 turns it off. Bulk connections never have a PING:
    ///   see the [module's documentation](crate::factory).
    ///
    /// # Errors
    /// The first variable whose value is not a whole number of seconds within its bounds. A program
    /// that continues should report the error and use [`settings`](Self::settings).
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
    pub fn settings_from_env(self) -> Result<Settings, VariableError> {
        self.settings_from(from_env)
    }

    /// The same, with `get` in place of the environment.
    ///
    /// ```
    /// use detector_api::Profile;
    ///
    /// let off = |name: &str| name.contains("INTERVAL").then(|| "0".to_owned());
    /// assert_eq!(Profile::Control.settings_from(off)?.ping, None);
    /// # Ok::<(), detector_api::VariableError>(())
    /// ```
    pub fn settings_from(
        self,
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Settings, VariableError> {
        let mut settings = self.settings();
        let secs = |name, min, default: Duration| {
            let bounds = min..=MAX_SECS;
            number((name, "seconds"), get(name), bounds, default.as_secs()).map(Duration::from_secs)
        };
        settings.keepalive_idle = secs(TCP_KEEPALIVE, 1, settings.keepalive_idle)?;
        if let Some(ping) = &mut settings.ping {
            ping.interval = secs(PING_INTERVAL, 0, ping.interval)?;
            ping.timeout = secs(PING_TIMEOUT, 1, ping.timeout)?;
        }
        settings.ping = settings.ping.filter(|ping| !ping.interval.is_zero());
        Ok(settings)
    }
}
