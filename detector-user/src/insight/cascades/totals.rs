//! Counts failures by kind and component.

use std::{collections::BTreeMap, time::Duration};

use crate::{insight::FailureKind, model::Time};

/// The most pairs of kind and component that are counted separately; the rest share one count.
const KEPT: usize = 512;

/// A component that has not failed for this long is forgotten.
const LIFE: Duration = Duration::from_secs(3600);

/// The name under which the components beyond [`KEPT`] are counted.
const OTHER: &str = "other";

/// How often one component failed in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTotal<'a> {
    pub kind: FailureKind,
    pub component: &'a str,
    pub failures: u64,
}

#[derive(Debug, Default)]
pub(super) struct Totals {
    totals: BTreeMap<(FailureKind, Box<str>), (u64, Time)>,
}

impl Totals {
    pub(super) fn count(&mut self, now: Time, kind: FailureKind, component: &str) {
        let key = (kind, Box::from(component));
        let is_known = self.totals.contains_key(&key);
        let key = match is_known || self.totals.len() < KEPT {
            true => key,
            false => (kind, OTHER.into()),
        };
        let (count, last) = self.totals.entry(key).or_default();
        *count += 1;
        *last = now;
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.totals.retain(|_, (_, last)| now.since(*last) < LIFE);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = EventTotal<'_>> {
        self.totals
            .iter()
            .map(|((kind, component), (failures, _))| EventTotal {
                kind: *kind,
                component,
                failures: *failures,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    #[test]
    fn components_are_bounded_and_forgotten() {
        let mut totals = Totals::default();
        for n in 0..10_000 {
            totals.count(ms(n), FailureKind::LockTimeout, &format!("lock{n}"));
        }
        assert_eq!(totals.iter().count(), KEPT + 1);
        let other = totals
            .iter()
            .find(|total| total.component == OTHER)
            .unwrap();
        assert_eq!(other.failures, 10_000 - KEPT as u64);
        totals.expire(ms(3_700_000));
        assert_eq!(totals.iter().count(), 0);
    }
}
