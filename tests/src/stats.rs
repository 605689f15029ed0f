//! Percentiles of measured times.

use std::time::Duration;

/// The smallest value that at least `percent` % of the values do not exceed (nearest
/// rank); `None` for no values.
pub fn percentile(values: &[Duration], percent: u32) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let values: Vec<Duration> = (1..=30).rev().map(Duration::from_millis).collect();
        let ms = |percent| percentile(&values, percent).unwrap().as_millis();
        assert_eq!((ms(50), ms(90), ms(99), ms(100)), (15, 27, 30, 30));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&values[..1], 50), Some(values[0]));
    }
}
