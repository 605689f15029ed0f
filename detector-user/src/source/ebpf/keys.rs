//! The kernel's map of watched endpoints, with the filter in front of it.
//!
//! The programs run for every connection of this machine, and nearly all of them are none of the
//! daemon's business. The filter has one bit for each address, shared by a few: if it is not set,
//! the address is not watched, and no map has to be searched.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{Array, HashMap, MapData, MapError};
use detector_ebpf::{WatchKey, filter_bit};
use zerocopy::FromBytes;

use super::watch::{KeyBytes, Keys};

/// The maps `WATCHED` and `ADDRESSES`.
pub struct KernelKeys {
    keys: HashMap<MapData, KeyBytes, u32>,
    addresses: Array<MapData, u64>,
    known: BTreeSet<KeyBytes>,
    bits: Bits,
}

impl KernelKeys {
    pub const fn new(
        keys: HashMap<MapData, KeyBytes, u32>,
        addresses: Array<MapData, u64>,
    ) -> Self {
        Self {
            keys,
            addresses,
            known: BTreeSet::new(),
            bits: Bits(BTreeMap::new()),
        }
    }

    fn add(&mut self, key: &KeyBytes, flags: u32) -> Result<(), MapError> {
        if self.known.contains(key) {
            return self.keys.insert(key, flags, 0);
        }
        // The bit comes first: a key without it would not be found.
        let (word, bits) = self.bits.add(key);
        let added = self.addresses.set(word, bits, 0);
        if let Err(error) = added.and_then(|()| self.keys.insert(key, flags, 0)) {
            self.bits.remove(key);
            return Err(error);
        }
        self.known.insert(*key);
        Ok(())
    }

    fn remove(&mut self, key: &KeyBytes) -> Result<(), MapError> {
        self.keys.remove(key)?;
        if self.known.remove(key) {
            let (word, bits) = self.bits.remove(key);
            // A bit that stays costs a search in vain, no more.
            let _ = self.addresses.set(word, bits, 0);
        }
        Ok(())
    }
}

impl Keys for KernelKeys {
    fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError> {
        match flags {
            Some(flags) => self.add(key, flags),
            None => self.remove(key),
        }
    }
}

/// How many keys need each bit, by its word and place.
#[derive(Debug, Default)]
struct Bits(BTreeMap<(u32, u64), u32>);

impl Bits {
    /// One more key needs its bit; returns the word and what it is now.
    fn add(&mut self, key: &KeyBytes) -> (u32, u64) {
        let at = place(key);
        *self.0.entry(at).or_default() += 1;
        (at.0, self.word(at.0))
    }

    /// A key is gone; returns the word and what it is now.
    fn remove(&mut self, key: &KeyBytes) -> (u32, u64) {
        let at = place(key);
        if let Some(count) = self.0.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&at);
            }
        }
        (at.0, self.word(at.0))
    }

    fn word(&self, word: u32) -> u64 {
        let bits = self.0.range((word, 0)..=(word, u64::MAX));
        bits.fold(0, |all, ((_, bit), _)| all | bit)
    }
}

fn place(key: &KeyBytes) -> (u32, u64) {
    WatchKey::read_from_bytes(key).map_or((0, 1), |key| filter_bit(&key.addr))
}

#[cfg(test)]
mod tests {
    use detector_ebpf::FILTER_WORDS;

    use super::*;
    use crate::{model::Endpoint, source::ebpf::decode::watch_key};
    use zerocopy::IntoBytes;

    fn key(n: u16, port: u16) -> KeyBytes {
        let [high, low] = n.to_be_bytes();
        let addr = [10, 80, high, low].into();
        let mut bytes = KeyBytes::default();
        bytes.copy_from_slice(watch_key(&Endpoint { addr, port }).as_bytes());
        bytes
    }

    #[test]
    fn a_bit_is_set_for_as_long_as_a_key_needs_it() {
        let mut bits = Bits::default();
        let (word, bit) = place(&key(1, 9000));
        assert_eq!(bits.add(&key(1, 9000)), (word, bit));
        assert_eq!(bits.add(&key(1, 9001)), (word, bit), "the same address");
        assert_eq!(bits.remove(&key(1, 9000)), (word, bit));
        assert_eq!(bits.remove(&key(1, 9001)), (word, 0));
        assert_eq!(bits.0.len(), 0);
    }

    #[test]
    fn addresses_that_follow_each_other_are_spread_over_the_filter() {
        let places: BTreeSet<_> = (0..5_000).map(|n| place(&key(n, 9000))).collect();
        assert!(places.len() > 4_500, "{} bits for 5,000", places.len());
        assert!(places.iter().all(|(word, _)| *word < FILTER_WORDS));
    }
}
