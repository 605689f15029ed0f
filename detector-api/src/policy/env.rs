//! The environment variables of the policies, with the names in RustFS's deployment checklist.

use std::time::Duration;

use super::{Deadline, Policies, Retry};
use crate::variable::{VariableError, from_env, number};

/// The longest deadline that can be set.
const MOST_SECONDS: u64 = 3600;

/// The most retries that can be set.
const MOST_RETRIES: u64 = 100;

impl Policies {
    /// The defaults, with the values of those of these variables that are set:
    ///
    /// | variable | what it sets | default |
    /// |---|---|---|
    /// | `RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS` | disk state: deadline | 3 |
    /// | `RUSTFS_IAM_CONFIG_READ_TIMEOUT_SECS` | IAM read: deadline | 10 |
    /// | `RUSTFS_LOCK_RETRY_MAX_ATTEMPTS` | lock: attempts after the first | 3 |
    /// | `RUSTFS_LOCK_RETRY_BASE_DELAY_MS` | lock: the first pause | 100 |
    ///
    /// The failure threshold and the recovery time-out belong to the daemon's configuration
    /// (`failure_threshold`, `recovery_timeout`), because the breaker is in the daemon.
    ///
    /// ```
    /// # fn main() -> Result<(), detector_api::VariableError> {
    /// let policies = detector_api::policy::Policies::from_env()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first variable that is not a number within its bounds.
    pub fn from_env() -> Result<Self, VariableError> {
        Self::from_variables(from_env)
    }

    /// The same, with any source of variables.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::policy::Policies;
    ///
    /// let policies = Policies::from_variables(|name| {
    ///     (name == "RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS").then(|| "1".to_owned())
    /// });
    /// let deadline = policies.map(|policies| policies.disk_state.deadline.at_most());
    /// assert_eq!(deadline, Ok(Duration::from_secs(1)));
    /// ```
    ///
    /// # Errors
    /// The errors of [`Self::from_env`].
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, VariableError> {
        let within =
            |name, unit, bounds, default| number((name, unit), variable(name), bounds, default);
        let seconds = |name, default| {
            let limit = within(name, "seconds", 1..=MOST_SECONDS, default)?;
            Ok(Deadline::Fixed(Duration::from_secs(limit)))
        };
        let mut policies = Self::default();
        policies.disk_state.deadline = seconds("RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS", 3)?;
        policies.iam_read.deadline = seconds("RUSTFS_IAM_CONFIG_READ_TIMEOUT_SECS", 10)?;
        let base = within(
            "RUSTFS_LOCK_RETRY_BASE_DELAY_MS",
            "milliseconds",
            1..=10_000,
            100,
        )?;
        let retries = within(
            "RUSTFS_LOCK_RETRY_MAX_ATTEMPTS",
            "attempts",
            0..=MOST_RETRIES,
            3,
        )?;
        policies.lock.retry = Retry {
            // The value fits, because it is within its bounds.
            retries: u32::try_from(retries).unwrap_or(u32::MAX),
            base_delay: Duration::from_millis(base),
        };
        Ok(policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Policies, VariableError> {
        Policies::from_variables(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn unset_is_the_default() {
        assert_eq!(Policies::from_variables(|_| None), Ok(Policies::default()));
    }

    #[test]
    fn each_variable_sets_its_own() {
        let secs = Duration::from_secs;
        let set = |name, value| with(name, value).unwrap();
        let disk = set("RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS", " 5 ");
        assert_eq!(disk.disk_state.deadline.at_most(), secs(5));
        let iam = set("RUSTFS_IAM_CONFIG_READ_TIMEOUT_SECS", "7");
        assert_eq!(iam.iam_read.deadline.at_most(), secs(7));
        let lock = set("RUSTFS_LOCK_RETRY_MAX_ATTEMPTS", "0");
        assert_eq!(lock.lock.retry.retries, 0);
        let lock = set("RUSTFS_LOCK_RETRY_BASE_DELAY_MS", "50");
        assert_eq!(lock.lock.retry.base_delay, Duration::from_millis(50));
    }

    #[test]
    fn what_is_no_number_in_bounds_is_refused_by_name() {
        for value in ["", "x", "-1", "0", "3601", "2.5", "99999999999999999999"] {
            let error = with("RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS", value).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "RUSTFS_DISK_STATE_CHECK_TIMEOUT_SECS is {value:?}, which is not a whole \
                     number of seconds from 1 to 3600: set it to one, as in 3, or unset it for \
                     the default"
                )
            );
        }
    }
}
