//! Percentiles of times, some of which may never have come.

use std::time::Duration;

use serde::Serialize;

/// Times in milliseconds, by nearest rank over all values. One that never came is longer than
/// any other: a percentile that falls on it is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub count: usize,
    /// How many never came.
    pub never: usize,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

impl Summary {
    /// `None` of no values.
    pub fn new(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let mut all: Vec<f64> = values
            .into_iter()
            .map(|v| v.unwrap_or(f64::INFINITY))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        if all.is_empty() {
            return None;
        }
        let at = |percent: usize| {
            let rank = (all.len() * percent).div_ceil(100).max(1);
            Some(all[rank - 1]).filter(|ms| ms.is_finite())
        };
        Some(Self {
            count: all.len(),
            never: all.iter().filter(|ms| ms.is_infinite()).count(),
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            max_ms: at(100),
        })
    }

    pub fn percentile(&self, which: Percentile) -> Option<f64> {
        match which {
            Percentile::P50 => self.p50_ms,
            Percentile::P99 => self.p99_ms,
        }
    }
}

/// The percentiles that targets are set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Percentile {
    P50,
    P99,
}

impl Percentile {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }
}

/// To the microsecond, which is as fine as the measurement is.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_over_all_values() {
        let summary = Summary::new((1..=200).rev().map(|n| Some(f64::from(n)))).unwrap();
        assert_eq!((summary.count, summary.never), (200, 0));
        assert_eq!(summary.p50_ms, Some(100.0));
        assert_eq!(summary.p90_ms, Some(180.0));
        assert_eq!(summary.p99_ms, Some(198.0));
        assert_eq!(summary.max_ms, Some(200.0));
        assert_eq!(Summary::new([]), None);
        assert_eq!(Summary::new([Some(3.0)]).unwrap().p50_ms, Some(3.0));
    }

    #[test]
    fn what_never_came_is_the_longest() {
        let summary = Summary::new([None, Some(1.0), Some(2.0), Some(3.0)]).unwrap();
        assert_eq!((summary.count, summary.never), (4, 1));
        assert_eq!(summary.p50_ms, Some(2.0));
        assert_eq!(summary.p99_ms, None);
        assert_eq!(summary.max_ms, None);
    }
}
