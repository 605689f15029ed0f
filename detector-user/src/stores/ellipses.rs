//! Expands patterns such as `http://node{1...4}:9000/data{1...4}`, as RustFS and MinIO do.
//!
//! The rules are RustFS's (`find_ellipses_patterns` of rustfs-utils): the last range varies slowest,
//! so that the first drive of every node comes before the second of any. A range with a letter is
//! hexadecimal, and as wide as its end; a decimal range whose start has a leading zero is as wide
//! as its end, too.

use thiserror::Error;

/// The most values of one range (RustFS's own limit).
const MAX_RANGE: u64 = 10_000;

/// The most texts that one pattern stands for.
pub const MAX_EXPANDED: usize = 65_536;

/// The longest pattern.
const MAX_LEN: usize = 4096;

/// Why a pattern cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EllipsesError {
    #[error("{0:?} is no pattern: a range is written {{1...4}}, with three dots and whole numbers")]
    Malformed(String),
    #[error("the range {0} ends before it begins")]
    Backwards(String),
    #[error("the range {0} has more than {MAX_RANGE} values, which is the most")]
    RangeTooLarge(String),
    #[error("{0:?} stands for more than {MAX_EXPANDED} drives, which is the most")]
    TooMany(String),
    #[error("a volume of {0} bytes is too long; {MAX_LEN} is the most")]
    TooLong(usize),
}

/// Whether the text is meant as a pattern: then it is one, or it is wrong.
pub fn is_pattern(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((within, after)) = after.split_once('}') else {
            break;
        };
        if within.contains('.') {
            return true;
        }
        rest = after;
    }
    text.contains("...")
}

/// A pattern whose size is known before it is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The ranges, the last one of the text first.
    ranges: Vec<Range>,
    /// The length of the pattern's text.
    length: usize,
}

/// A range, and the text around it up to its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    /// Only the first range of the text has one.
    prefix: String,
    suffix: String,
    first: u64,
    count: usize,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Padded(usize),
    LowerHex(usize),
    UpperHex(usize),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, EllipsesError> {
        if text.len() > MAX_LEN {
            return Err(EllipsesError::TooLong(text.len()));
        }
        let malformed = || EllipsesError::Malformed(text.to_owned());
        let mut ranges = Vec::new();
        let mut rest = text;
        while let Some((prefix, range, suffix)) = last_range(rest) {
            ranges.push(Range::parse(range, suffix)?);
            rest = prefix;
        }
        let first = ranges.last_mut().ok_or_else(malformed)?;
        rest.clone_into(&mut first.prefix);
        let has_brace = |text: &str| text.contains(['{', '}']);
        if ranges
            .iter()
            .any(|range| has_brace(&range.prefix) || has_brace(&range.suffix))
        {
            return Err(malformed());
        }
        let length = text.len();
        let pattern = Self { ranges, length };
        match pattern.checked_count() {
            Some(count) if count <= MAX_EXPANDED => Ok(pattern),
            _ => Err(EllipsesError::TooMany(text.to_owned())),
        }
    }

    fn checked_count(&self) -> Option<usize> {
        let counts = self.ranges.iter().map(|range| range.count);
        counts.into_iter().try_fold(1_usize, usize::checked_mul)
    }

    /// How many texts it stands for.
    pub fn count(&self) -> usize {
        self.checked_count().unwrap_or(usize::MAX)
    }

    /// How long all of these texts are together, at most: none is longer than the pattern itself.
    pub fn bytes(&self) -> usize {
        self.count().saturating_mul(self.length)
    }

    /// The number of values of each range, that of the last range first.
    pub fn range_counts(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().map(|range| range.count)
    }

    /// All texts that it stands for.
    pub fn expand(&self) -> Vec<String> {
        let mut expanded = vec![String::new()];
        // From the first range of the text to its last, each of which varies slower.
        for range in self.ranges.iter().rev() {
            let values = (0..range.count).map(|index| range.value(index));
            let longer = values.flat_map(|value| {
                let append = |text: &String| format!("{text}{value}");
                expanded.iter().map(append).collect::<Vec<_>>()
            });
            expanded = longer.collect();
        }
        expanded
    }
}

impl Range {
    /// Reads a range without its braces.
    fn parse(range: &str, suffix: &str) -> Result<Self, EllipsesError> {
        let shown = || format!("{{{range}}}");
        let malformed = || EllipsesError::Malformed(shown());
        let (start, end) = range.split_once("...").ok_or_else(malformed)?;
        let is_hex = range.contains(|c: char| c.is_ascii_alphabetic());
        let radix = if is_hex { 16 } else { 10 };
        let number = |text| u64::from_str_radix(text, radix).map_err(|_| malformed());
        let (first, last) = (number(start)?, number(end)?);
        let width = end.len();
        let format = match is_hex {
            true if range.contains(|c: char| c.is_ascii_uppercase()) => Format::UpperHex(width),
            true => Format::LowerHex(width),
            false if start.len() > 1 && start.starts_with('0') => Format::Padded(width),
            false => Format::Plain,
        };
        let more = last
            .checked_sub(first)
            .ok_or_else(|| EllipsesError::Backwards(shown()))?;
        if more >= MAX_RANGE {
            return Err(EllipsesError::RangeTooLarge(shown()));
        }
        let count = usize::try_from(more).map_err(|_| malformed())? + 1;
        Ok(Self {
            prefix: String::new(),
            suffix: suffix.to_owned(),
            first,
            count,
            format,
        })
    }

    fn value(&self, index: usize) -> String {
        let number = self.first.saturating_add(index as u64);
        let number = match self.format {
            Format::Plain => number.to_string(),
            Format::Padded(width) => format!("{number:0width$}"),
            Format::LowerHex(width) => format!("{number:0width$x}"),
            Format::UpperHex(width) => format!("{number:0width$X}"),
        };
        format!("{}{number}{}", self.prefix, self.suffix)
    }
}

/// What stands before the last range, the range without its braces, and what stands behind it.
fn last_range(text: &str) -> Option<(&str, &str, &str)> {
    let opening = text.rmatch_indices('{');
    opening.into_iter().find_map(|(at, _)| {
        let (within, suffix) = text[at + 1..].split_once('}')?;
        let (start, end) = within.split_once("...")?;
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        (is_number(start) && is_number(end)).then_some((&text[..at], within, suffix))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Vec<String> {
        Pattern::parse(text).unwrap().expand()
    }

    #[test]
    fn ranges_are_expanded_as_rustfs_does() {
        assert_eq!(expand("{1...3}"), ["1", "2", "3"]);
        assert_eq!(expand("d{09...11}x"), ["d09x", "d10x", "d11x"]);
        assert_eq!(expand("{0a...0c}"), ["0a", "0b", "0c"]);
        assert_eq!(expand("{9...B}"), ["9", "A", "B"]);
        assert_eq!(
            expand("http://n{1...2}:9000/d{0...1}"),
            [
                "http://n1:9000/d0",
                "http://n2:9000/d0",
                "http://n1:9000/d1",
                "http://n2:9000/d1"
            ]
        );
        let racks = "http://rack{1...4}.n{1...16}/data";
        assert_eq!(Pattern::parse(racks).unwrap().count(), 64);
        assert_eq!(
            expand(racks)[..2],
            ["http://rack1.n1/data", "http://rack2.n1/data"]
        );
        assert_eq!(expand("[fd00::{1...2}]"), ["[fd00::1]", "[fd00::2]"]);
    }

    #[test]
    fn what_is_meant_as_a_pattern_is_told_from_a_path() {
        for text in ["{1...4}", "/data{0..3}", "1...64", "{1.}", "a{b}{1...2}"] {
            assert!(is_pattern(text), "{text}");
        }
        for text in [
            "/data",
            "/Volume{GUID-1}",
            "http://node.a:9000/d",
            "{",
            "}{",
            "",
        ] {
            assert!(!is_pattern(text), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| Pattern::parse(text).unwrap_err();
        let malformed = |text: &str| EllipsesError::Malformed(text.to_owned());
        for text in [
            "...",
            "{1..4}",
            "{1...2}{",
            "a}{1...2}",
            "{1...2O}",
            "{-1...2}",
            "",
        ] {
            assert_eq!(error(text), malformed(text), "{text}");
        }
        assert_eq!(error("{...}"), malformed("{...}"));
        assert_eq!(
            error("a{4...1}"),
            EllipsesError::Backwards("{4...1}".to_owned())
        );
        let huge = EllipsesError::RangeTooLarge("{1...1000000000}".to_owned());
        assert_eq!(error("http://n{1...1000000000}/d"), huge);
        let product = "{1...9999}{1...9999}{1...9999}{1...9999}{1...9999}{1...9999}";
        assert_eq!(error(product), EllipsesError::TooMany(product.to_owned()));
        // More than 64 bits hold.
        let beyond = "{99999999999999999999...99999999999999999999}";
        assert_eq!(error(beyond), malformed(beyond));
        assert_eq!(error(&"a".repeat(5000)), EllipsesError::TooLong(5000));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_expands_without_bound(text in "[{}.0-9a-f/:h]{0,40}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let expanded = pattern.expand();
                prop_assert_eq!(expanded.len(), pattern.count());
                prop_assert!(expanded.len() <= MAX_EXPANDED);
                let bytes: usize = expanded.iter().map(String::len).sum();
                prop_assert!(bytes <= pattern.bytes());
                let has_brace = expanded.iter().any(|text| text.contains(['{', '}']));
                prop_assert!(!has_brace);
                prop_assert!(is_pattern(&text));
            }
        }

        /// Each text is made from one value of each range; the first range varies fastest.
        #[test]
        fn every_combination_comes_once(
            first in 0_u64..50, nodes in 1_u64..20, drives in 1_u64..20, prefix in "[a-z:/]{0,8}",
        ) {
            let (node_end, drive_end) = (first + nodes - 1, drives - 1);
            let text = format!("{prefix}n{{{first}...{node_end}}}-d{{0...{drive_end}}}");
            let wanted: Vec<String> = (0..drives)
                .flat_map(|d| (first..first + nodes).map(move |n| (n, d)))
                .map(|(n, d)| format!("{prefix}n{n}-d{d}"))
                .collect();
            prop_assert_eq!(expand(&text), wanted);
        }
    }
}
