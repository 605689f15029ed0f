//! Parser of a tracepoint's tracefs `format` file.
//!
//! A tracepoint's record is no stable interface: 5.10 has no `family`, 6.17 added `err`, and
//! a distribution may have more. The kernel describes its own records, and that is read.

use std::collections::BTreeMap;

use thiserror::Error;

/// The longest file looked at; the longest seen is 3 KiB.
const MAX_FILE_BYTES: usize = 64 * 1024;
/// The most bytes that a tracepoint's record can have (`PERF_MAX_TRACE_SIZE` in
/// include/linux/trace_events.h).
const MAX_RECORD_BYTES: u32 = 8192;

/// Why a `format` file cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    #[error("the file has {bytes} bytes, more than {MAX_FILE_BYTES}")]
    TooLong { bytes: usize },
    #[error("line {line}: {problem}: `{text}`")]
    Line {
        line: usize,
        problem: &'static str,
        text: String,
    },
    #[error("the file ends before `print fmt:`")]
    Truncated,
    #[error("the file describes `{found}`, not `{expected}`")]
    Name { found: String, expected: String },
    #[error("line {line}: field `{field}` overlaps field `{other}`")]
    Overlap {
        line: usize,
        field: String,
        other: String,
    },
    #[error("no field `{field}`")]
    Missing { field: &'static str },
    #[error("field `{field}` has {found} bytes, not {expected}")]
    Size {
        field: &'static str,
        found: u16,
        expected: u16,
    },
}

/// Where one field of the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub offset: u16,
    pub size: u16,
}

/// A tracepoint's record, as the running kernel lays it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    fields: BTreeMap<String, Field>,
}

impl Format {
    /// Parses the file of the tracepoint `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, FormatError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(FormatError::TooLong { bytes: text.len() });
        }
        let mut fields = BTreeMap::new();
        let mut named = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if let Some(found) = line.strip_prefix("name:") {
                check_name(found.trim(), name)?;
                named = true;
            } else if line.starts_with("print fmt:") {
                return if named {
                    Ok(Self { fields })
                } else {
                    Err(bad(number, "no `name:` line before it", line))
                };
            } else if line.trim_start().starts_with("field:") {
                let (field_name, field) = parse_field(number, line)?;
                check_overlap(number, &field_name, field, &fields)?;
                if fields.insert(field_name, field).is_some() {
                    return Err(bad(number, "the field is there twice", line));
                }
            } else if !(line.trim().is_empty() || line.starts_with("ID:") || line == "format:") {
                return Err(bad(number, "not a line of a format file", line));
            }
        }
        Err(FormatError::Truncated)
    }

    /// The offset of a field that must be there, with its size.
    pub fn offset(&self, field: &'static str, size: u16) -> Result<u16, FormatError> {
        self.optional(field, size)?
            .ok_or(FormatError::Missing { field })
    }

    /// The offset of a field that only some kernels have, with its size.
    pub fn optional(&self, field: &'static str, size: u16) -> Result<Option<u16>, FormatError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(found) if found.size == size => Ok(Some(found.offset)),
            Some(found) => Err(FormatError::Size {
                field,
                found: found.size,
                expected: size,
            }),
        }
    }
}

fn check_name(found: &str, expected: &str) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    Err(FormatError::Name {
        found: clip(found),
        expected: expected.to_owned(),
    })
}

fn check_overlap(
    line: usize,
    name: &str,
    field: Field,
    fields: &BTreeMap<String, Field>,
) -> Result<(), FormatError> {
    let end = |field: Field| u32::from(field.offset) + u32::from(field.size);
    let other = fields.iter().find(|(_, other)| {
        u32::from(field.offset) < end(**other) && u32::from(other.offset) < end(field)
    });
    match other {
        None => Ok(()),
        Some((other, _)) => Err(FormatError::Overlap {
            line,
            field: name.to_owned(),
            other: other.clone(),
        }),
    }
}

/// A line such as `field:__u8 saddr[4]; offset:34; size:4; signed:0;`.
fn parse_field(number: usize, line: &str) -> Result<(String, Field), FormatError> {
    let mut parts = line.trim().split(';').map(str::trim);
    let mut part = |key: &'static str, problem: &'static str| {
        parts
            .next()
            .and_then(|part| part.strip_prefix(key))
            .ok_or_else(|| bad(number, problem, line))
    };
    let declaration = part("field:", "no declaration")?;
    let offset = part("offset:", "no `offset:`")?;
    let size = part("size:", "no `size:`")?;
    part("signed:", "no `signed:`")?;

    let offset =
        parse_number(offset).ok_or_else(|| bad(number, "the offset is no number", line))?;
    let size = parse_number(size).ok_or_else(|| bad(number, "the size is no number", line))?;
    if u32::from(offset) + u32::from(size) > MAX_RECORD_BYTES {
        return Err(bad(number, "the field lies beyond any record", line));
    }
    let name = field_name(declaration).ok_or_else(|| bad(number, "the field has no name", line))?;
    Ok((name, Field { offset, size }))
}

fn parse_number(text: &str) -> Option<u16> {
    // `u16::from_str` would take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The name in a C declaration: its last word, without an array's length.
fn field_name(declaration: &str) -> Option<String> {
    let (head, _length) = declaration.split_once('[').unwrap_or((declaration, ""));
    let name = head.rsplit([' ', '*']).next()?;
    let valid = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (valid && !name.is_empty()).then(|| name.to_owned())
}

fn bad(line: usize, problem: &'static str, text: &str) -> FormatError {
    FormatError::Line {
        line,
        problem,
        text: clip(text.trim()),
    }
}

/// As much of a bad line as an error message needs.
fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "name: tcp_cong_state_set\nID: 1\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \n\
        \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:__u8 saddr[4];\toffset:22;\tsize:4;\tsigned:0;\n\
        \nprint fmt: \"x\", REC->y\n";

    fn parse(text: &str) -> Result<Format, FormatError> {
        Format::parse("tcp_cong_state_set", text)
    }

    #[test]
    fn reads_pointers_and_arrays() {
        let format = parse(GOOD).unwrap();
        assert_eq!(format.offset("skaddr", 8), Ok(8));
        assert_eq!(format.offset("saddr", 4), Ok(22));
        assert_eq!(format.optional("family", 2), Ok(None));
    }

    #[test]
    fn names_the_missing_field_and_the_wrong_size() {
        let format = parse(GOOD).unwrap();
        assert_eq!(
            format.offset("family", 2).unwrap_err().to_string(),
            "no field `family`"
        );
        assert_eq!(
            format.offset("skaddr", 4).unwrap_err().to_string(),
            "field `skaddr` has 8 bytes, not 4"
        );
    }

    #[test]
    fn names_the_line_of_a_bad_number() {
        for bad in [
            "offset:x8;",
            "offset:-8;",
            "offset:+8;",
            "offset:99999;",
            "offset:;",
        ] {
            let text = GOOD.replace("offset:8;", bad);
            let error = parse(&text).unwrap_err();
            assert!(
                matches!(error, FormatError::Line { line: 6, .. }),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_field_cannot_lie_beyond_any_record() {
        let error = parse(&GOOD.replace("offset:22;", "offset:8190;")).unwrap_err();
        assert!(error.to_string().contains("line 7"), "{error}");
    }

    #[test]
    fn fields_cannot_overlap() {
        let error = parse(&GOOD.replace("offset:22;", "offset:12;")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 7: field `saddr` overlaps field `skaddr`"
        );
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() {
        let end = GOOD.find("print fmt:").unwrap();
        for length in 0..end + "print fmt:".len() - 1 {
            assert!(parse(&GOOD[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn refuses_another_tracepoints_file_and_garbage() {
        let error = Format::parse("tcp_probe", GOOD).unwrap_err();
        assert!(matches!(error, FormatError::Name { .. }), "{error}");
        let error = parse(&GOOD.replace("ID: 1", "\u{1}\u{2}")).unwrap_err();
        assert!(
            matches!(error, FormatError::Line { line: 2, .. }),
            "{error}"
        );
        let error = parse(&GOOD.replace("ID: 1\n", &"\n".repeat(MAX_FILE_BYTES))).unwrap_err();
        assert!(matches!(error, FormatError::TooLong { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,400}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_a_damaged_file(at in 0..GOOD.len(), byte in 0u8..128) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = parse(&String::from_utf8(bytes).unwrap());
        }
    }
}
