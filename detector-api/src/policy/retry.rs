//! When a call is retried.

use std::time::Duration;

/// The longest pause between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How often a call that may be repeated is retried, and after which pauses.
///
/// The n-th pause is `base_delay × 2ⁿ⁻¹`, at most 10 s, plus or minus up to a quarter at random. So
/// programs that were cut off together do not all retry at the same moment.
///
/// ```
/// use std::time::Duration;
/// use detector_api::policy::Retry;
///
/// let retry = Retry { retries: 3, base_delay: Duration::from_millis(100) };
/// assert_eq!(retry.delay(3, 0.0), Some(Duration::from_millis(400)));
/// assert_eq!(retry.delay(4, 0.0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of attempts after the first.
    pub retries: u32,
    /// The first pause.
    pub base_delay: Duration,
}

impl Retry {
    /// One attempt only.
    ///
    /// ```
    /// use detector_api::policy::Retry;
    ///
    /// assert_eq!(Retry::NEVER.delay(1, 0.0), None);
    /// ```
    pub const NEVER: Self = Self {
        retries: 0,
        base_delay: Duration::ZERO,
    };

    /// The pause before the `n`-th retry (n counts from 1), changed by `jitter` quarters (−1 to 1);
    /// `None` if there is no such retry.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::policy::Retry;
    ///
    /// let retry = Retry { retries: 2, base_delay: Duration::from_millis(100) };
    /// assert_eq!(retry.delay(1, -1.0), Some(Duration::from_millis(75)));
    /// assert_eq!(retry.delay(2, 1.0), Some(Duration::from_millis(250)));
    /// assert_eq!(retry.delay(3, 0.0), None);
    /// ```
    pub fn delay(&self, n: u32, jitter: f64) -> Option<Duration> {
        if n == 0 || n > self.retries {
            return None;
        }
        let doubled = 1_u32.checked_shl(n - 1).unwrap_or(u32::MAX);
        let delay = self.base_delay.saturating_mul(doubled).min(LONGEST_DELAY);
        let jitter = if jitter.is_nan() {
            0.0
        } else {
            jitter.clamp(-1.0, 1.0)
        };
        Some(delay.mul_f64(1.0 + jitter / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_that_is_no_number_is_none() {
        let base_delay = Duration::from_millis(100);
        let retry = Retry {
            retries: 1,
            base_delay,
        };
        assert_eq!(retry.delay(1, f64::NAN), Some(base_delay));
        assert_eq!(retry.delay(1, f64::INFINITY), retry.delay(1, 1.0));
    }

    #[test]
    fn pauses_double_and_end() {
        let retry = Retry {
            retries: 40,
            base_delay: Duration::from_millis(100),
        };
        let ms = |n, jitter| retry.delay(n, jitter).map(|delay| delay.as_millis());
        assert_eq!(ms(0, 0.0), None);
        assert_eq!(
            (ms(1, 0.0), ms(2, 0.0), ms(3, 0.0)),
            (Some(100), Some(200), Some(400))
        );
        assert_eq!(
            (ms(1, -1.0), ms(1, 1.0), ms(1, 7.0)),
            (Some(75), Some(125), Some(125))
        );
        assert_eq!(ms(40, 0.0), Some(10_000));
        assert_eq!(ms(41, 0.0), None);
        assert_eq!(Retry::NEVER.delay(1, 0.0), None);
    }
}
