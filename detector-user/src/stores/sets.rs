//! How RustFS and MinIO divide the drives of a pool into erasure sets (RustFS's `disks_layout` and
//! `storageclass`).

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::ellipses::Pattern;

/// The sizes that a set may have.
const SET_SIZES: RangeInclusive<usize> = 2..=16;

/// The size of each pool's sets: one for all pools.
///
/// `sizes` are the pools' numbers of drives, `patterns` their patterns (none where drives are named
/// one by one), `wanted` is the size that the operator has set.
pub fn set_size(
    sizes: &[usize],
    patterns: &[Pattern],
    wanted: Option<usize>,
) -> Result<usize, String> {
    let Some(common) = sizes.iter().copied().reduce(greatest_common_divisor) else {
        return Err("there are no drives".to_owned());
    };
    if let Some(few) = sizes.iter().find(|size| *size < SET_SIZES.start()) {
        return Err(format!("{few} drive is too few for an erasure set"));
    }
    let possible: BTreeSet<usize> = SET_SIZES
        .filter(|size| common.is_multiple_of(*size) && is_symmetric(*size, patterns))
        .collect();
    match wanted {
        Some(wanted) if possible.contains(&wanted) => return Ok(wanted),
        Some(wanted) => {
            return Err(format!(
                "RUSTFS_ERASURE_SET_DRIVE_COUNT is {wanted}, and {common} drives make sets of \
                 {possible:?}"
            ));
        }
        None => {}
    }
    // The largest that fits makes the fewest sets.
    possible.last().copied().ok_or_else(|| {
        format!("{common} drives make no erasure sets of 2 to 16 drives of equal size")
    })
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

/// Whether sets of this size spread evenly over the ranges. Of several ranges and patterns the
/// last one decides, as it does in the programs.
fn is_symmetric(size: usize, patterns: &[Pattern]) -> bool {
    let last = patterns.iter().flat_map(Pattern::range_counts).last();
    last.is_none_or(|count| match count > size {
        true => count.is_multiple_of(size),
        false => size.is_multiple_of(count),
    })
}

/// The parity of a set of this many drives where nothing else is set.
pub fn default_parity(drives: usize) -> usize {
    match drives {
        0 | 1 => 0,
        2 | 3 => 1,
        4 | 5 => 2,
        6 | 7 => 3,
        _ => 4,
    }
}

/// The parity that a storage class such as `EC:4` sets; `None` if it is no such class, or more than
/// half of the drives.
pub fn parity_of_class(class: &str, drives: usize) -> Option<usize> {
    let parity = class.trim().strip_prefix("EC:")?.parse().ok()?;
    (parity <= drives / 2).then_some(parity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(volumes: &[&str], wanted: Option<usize>) -> Result<usize, String> {
        let patterns: Vec<_> = volumes.iter().map(|v| Pattern::parse(v).unwrap()).collect();
        let sizes: Vec<_> = patterns.iter().map(Pattern::count).collect();
        set_size(&sizes, &patterns, wanted)
    }

    /// The cases of RustFS's own tests.
    #[test]
    fn sets_are_as_large_as_rustfs_makes_them() {
        for (volumes, expected) in [
            ("data{1...3}", 3),
            ("data{1...4}", 4),
            ("data{1...24}", 12),
            ("data{1...27}", 9),
            ("data{1...64}", 16),
            ("data/controller{1...11}/export{1...8}", 11),
            ("data{1...16}/export{1...52}", 16),
            ("http://host{1...2}/data{1...180}", 12),
            ("http://host{1...3}/data{1...180}", 15),
            ("http://host{1...2}.rack{1...4}/data{1...180}", 16),
            ("https://node{1...3}.example.net/mnt/drive{1...8}", 12),
            ("http://node{1...4}:9000/data/rustfs{0...3}", 16),
        ] {
            assert_eq!(size(&[volumes], None), Ok(expected), "{volumes}");
        }
        assert_eq!(size(&["a{1...24}", "b{1...32}", "c{1...16}"], None), Ok(8));
        assert_eq!(set_size(&[4], &[], None), Ok(4));
        assert!(size(&["data{1...17}/export{1...52}"], None).is_err());
        assert!(size(&["data{1...1}"], None).is_err());
        assert!(set_size(&[], &[], None).is_err());
    }

    #[test]
    fn an_operator_may_choose_among_the_sizes_that_fit() {
        assert_eq!(size(&["data{1...16}"], Some(8)), Ok(8));
        let refused = size(&["data{1...16}"], Some(5)).unwrap_err();
        assert!(refused.contains("16"), "{refused}");
    }

    #[test]
    fn parity_follows_the_size_or_the_storage_class() {
        let parities = [1, 2, 3, 4, 5, 6, 7, 8, 16].map(default_parity);
        assert_eq!(parities, [0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(parity_of_class("EC:6", 16), Some(6));
        for class in ["EC:9", "EC:", "6", "RS:4", ""] {
            assert_eq!(parity_of_class(class, 16), None, "{class}");
        }
    }
}
