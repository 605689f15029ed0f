//! Few prefixes that hold many addresses, for the kernel's filter: it compares conditions one by one
//! for each socket, so there must not be one for each of a thousand peers.

use std::{collections::BTreeSet, net::IpAddr};

/// An address of which only the first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub addr: IpAddr,
    pub bits: u8,
}

/// At most `most` prefixes, two at least, that hold all of these canonical addresses and as few
/// others as possible: the addresses are divided where neighbours have the least in common.
pub(super) fn cover(addrs: &BTreeSet<IpAddr>, most: usize) -> Vec<Prefix> {
    let addrs: Vec<IpAddr> = addrs.iter().copied().collect();
    let mut cuts: Vec<usize> = (1..addrs.len()).collect();
    cuts.sort_by_key(|&at| in_common(addrs[at - 1], addrs[at]));
    cuts.truncate(most.max(2) - 1);
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([addrs.len()]);
    let mut start = 0;
    ends.filter_map(|end| {
        let group = addrs.get(std::mem::replace(&mut start, end)..end)?;
        prefix(*group.first()?, *group.last()?)
    })
    .collect()
}

/// The prefix that holds these two, and so all that are between them.
fn prefix(first: IpAddr, last: IpAddr) -> Option<Prefix> {
    Some(Prefix {
        addr: first,
        bits: in_common(first, last)?,
    })
}

/// How many of their first bits are equal; `None` for addresses of different families, which have
/// less in common than any others.
fn in_common(one: IpAddr, other: IpAddr) -> Option<u8> {
    let bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return None,
    };
    u8::try_from(bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addrs: &[&str]) -> BTreeSet<IpAddr> {
        addrs.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    fn covered(addrs: &BTreeSet<IpAddr>, most: usize) -> Vec<String> {
        let shown = |prefix: Prefix| format!("{}/{}", prefix.addr, prefix.bits);
        cover(addrs, most).into_iter().map(shown).collect()
    }

    #[test]
    fn few_addresses_are_named_in_full() {
        let addrs = set(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
        let named = ["10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"];
        assert_eq!(covered(&addrs, 16), named);
        assert_eq!(covered(&BTreeSet::new(), 16), [""; 0]);
    }

    #[test]
    fn many_addresses_are_divided_where_they_have_the_least_in_common() {
        let racks = (0..3).flat_map(|rack| (1..200).map(move |host| [10, 0, rack * 16, host]));
        let mut addrs: BTreeSet<IpAddr> = racks.map(IpAddr::from).collect();
        addrs.insert("fd00::7".parse().unwrap());
        let four = ["10.0.0.1/24", "10.0.16.1/24", "10.0.32.1/24", "fd00::7/128"];
        assert_eq!(covered(&addrs, 4), four);
        // The families are never in one.
        assert_eq!(covered(&addrs, 2), ["10.0.0.1/18", "fd00::7/128"]);
    }

    #[test]
    fn every_address_is_held() {
        let hash = |n: u32| n.wrapping_mul(2_654_435_761);
        let addrs: BTreeSet<IpAddr> = (0..1000)
            .map(|n| IpAddr::from(hash(n).to_be_bytes()))
            .collect();
        for most in [2, 5, 16] {
            let prefixes = cover(&addrs, most);
            assert!(prefixes.len() <= most);
            let holds = |prefix: &Prefix, addr| in_common(prefix.addr, addr) >= Some(prefix.bits);
            let held = |addr: &&IpAddr| prefixes.iter().any(|prefix| holds(prefix, **addr));
            assert_eq!(addrs.iter().filter(held).count(), addrs.len());
        }
    }
}
