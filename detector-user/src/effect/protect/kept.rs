//! A kernel map that is kept as the daemon wants it: what the map refuses is tried again.

use std::collections::BTreeMap;

use aya::{
    Pod,
    maps::{HashMap, MapData, MapError},
};
use tracing::warn;

/// The map: the kernel's, or a fake.
pub trait Entries<K> {
    /// Sets a key's value, or removes the key.
    fn put(&mut self, key: &K, value: Option<u32>) -> Result<(), MapError>;
}

impl<K: Pod> Entries<K> for HashMap<MapData, K, u32> {
    fn put(&mut self, key: &K, value: Option<u32>) -> Result<(), MapError> {
        match &value {
            Some(value) => self.insert(key, value, 0),
            None => match self.remove(key) {
                Err(MapError::KeyNotFound) => Ok(()),
                removed => removed,
            },
        }
    }
}

/// The map, what is in it, and what it refused.
#[derive(Debug)]
pub struct Kept<K, M> {
    pub map: M,
    /// What the map's entries do, for the log.
    purpose: &'static str,
    in_force: BTreeMap<K, u32>,
    /// The keys whose last change was refused, with the wanted values.
    refused: BTreeMap<K, Option<u32>>,
}

impl<K: Copy + Ord, M: Entries<K>> Kept<K, M> {
    pub const fn new(map: M, purpose: &'static str) -> Self {
        Self {
            map,
            purpose,
            in_force: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.in_force.len()
    }

    /// Sets or removes these keys. A failure is logged once, not with each attempt.
    pub fn set(&mut self, wanted: impl IntoIterator<Item = (K, Option<u32>)>) {
        let had_trouble = !self.refused.is_empty();
        for (key, value) in wanted {
            if let Err(error) = self.set_one(key, value) {
                if self.refused.is_empty() && !had_trouble {
                    let purpose = self.purpose;
                    warn!(%error, "the map of {purpose} is not what it should be; trying again");
                }
                self.refused.insert(key, value);
            }
        }
    }

    /// Keeps these keys and no others. Removals come first, so that a full map gets room.
    pub fn set_all(&mut self, wanted: &BTreeMap<K, u32>) {
        self.refused
            .retain(|key, value| value.is_none() || wanted.contains_key(key));
        let gone = self.in_force.keys().filter(|key| !wanted.contains_key(key));
        let mut changes: Vec<_> = gone.map(|key| (*key, None)).collect();
        changes.extend(wanted.iter().map(|(key, value)| (*key, Some(*value))));
        self.set(changes);
    }

    /// Retries what the map refused.
    pub fn retry(&mut self) {
        let refused = self.refused.clone();
        self.set(refused);
    }

    fn set_one(&mut self, key: K, value: Option<u32>) -> Result<(), MapError> {
        if self.in_force.get(&key) != value.as_ref() {
            self.map.put(&key, value)?;
            match value {
                Some(value) => self.in_force.insert(key, value),
                None => self.in_force.remove(&key),
            };
        }
        self.refused.remove(&key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map with room for two keys, or a broken one.
    #[derive(Default)]
    struct Fake {
        entries: BTreeMap<u8, u32>,
        is_broken: bool,
    }

    impl Entries<u8> for Fake {
        fn put(&mut self, key: &u8, value: Option<u32>) -> Result<(), MapError> {
            match value {
                _ if self.is_broken => return Err(MapError::ElementNotFound),
                Some(_) if self.entries.len() == 2 => return Err(MapError::ElementNotFound),
                Some(value) => self.entries.insert(*key, value),
                None => self.entries.remove(key),
            };
            Ok(())
        }
    }

    fn kept() -> Kept<u8, Fake> {
        Kept::new(Fake::default(), "fake entries")
    }

    fn keys(kept: &Kept<u8, Fake>) -> Vec<u8> {
        assert!(kept.map.entries.keys().eq(kept.in_force.keys()));
        kept.in_force.keys().copied().collect()
    }

    fn all<const N: usize>(keys: [u8; N]) -> BTreeMap<u8, u32> {
        keys.map(|key| (key, 0)).into()
    }

    #[test]
    fn a_full_map_gets_room_before_it_is_filled() {
        let mut kept = kept();
        kept.set_all(&all([1, 2]));
        kept.set_all(&all([3, 4]));
        assert_eq!(keys(&kept), [3, 4]);
    }

    #[test]
    fn what_is_refused_and_no_longer_wanted_is_not_tried_again() {
        let mut kept = kept();
        kept.set_all(&all([1, 2, 3, 4]));
        assert_eq!(keys(&kept), [1, 2]);
        kept.set_all(&all([1, 4]));
        assert_eq!(keys(&kept), [1, 4]);
        kept.set_all(&all([1]));
        kept.retry();
        assert_eq!(keys(&kept), [1]);
    }

    #[test]
    fn a_removal_that_is_refused_is_tried_again_unless_the_key_is_wanted_by_then() {
        let mut kept = kept();
        kept.set_all(&all([1, 2]));
        kept.map.is_broken = true;
        kept.set_all(&all([]));
        kept.set_all(&all([2]));
        kept.map.is_broken = false;
        kept.retry();
        assert_eq!(keys(&kept), [2]);
    }
}
