//! The host of a name, read as the URL standard says (<https://url.spec.whatwg.org/#host-parsing>).

use std::{
    fmt::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{NameError, text::Text};

/// The longest host name that DNS can carry (RFC 1035, 2.3.4), in its textual form.
pub(super) const MAX: usize = 253;

/// What may not stand in a host's name, beside controls and blanks.
const FORBIDDEN: &[u8] = b"#%/:<>?@[\\]^|";

#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one call, and a box would be an allocation"
)]
pub(super) enum Host {
    /// In lower case.
    Name(Text<MAX>),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').ok_or(NameError::Host)?;
            return address.parse().map(Self::V6).map_err(|_| NameError::Host);
        }
        let name = plain(text)?;
        match name.as_str() {
            "" => Err(NameError::Host),
            number if ends_in_number(number) => v4(number).map(Self::V4).ok_or(NameError::Host),
            _ => Ok(Self::Name(name)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::V4(address) => address.fmt(f),
            // A URL writes a mapped address in hexadecimal like any other.
            Self::V6(address) if address.to_ipv4_mapped().is_some() => {
                let [.., high, low] = address.segments();
                write!(f, "[::ffff:{high:x}:{low:x}]")
            }
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A name in lower case, without percent signs.
fn plain(text: &str) -> Result<Text<MAX>, NameError> {
    let mut name = Text::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let byte = match after {
            [high, low, after @ ..] if *byte == b'%' => {
                rest = after;
                digit(*high)
                    .zip(digit(*low))
                    .map(|(high, low)| high * 16 + low)
                    .ok_or(NameError::Host)?
            }
            _ => {
                rest = after;
                *byte
            }
        };
        if !byte.is_ascii() {
            return Err(NameError::NotAscii);
        }
        if !byte.is_ascii_graphic() || FORBIDDEN.contains(&byte) {
            return Err(NameError::Host);
        }
        name.write_char(byte.to_ascii_lowercase().into())
            .map_err(|_| NameError::HostTooLong)?;
    }
    Ok(name)
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

/// Whether it must be an IPv4 address: its last label is a number.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let decimal = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    decimal || number(last).is_some()
}

/// One to four numbers; the last fills the bytes that are left.
fn v4(name: &str) -> Option<Ipv4Addr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let (mut address, mut left) = (0_u32, 4_u32);
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        let value = number(part)?;
        left = left.checked_sub(1)?;
        if parts.peek().is_some() {
            let byte = u8::try_from(value).ok()?;
            address |= u32::from(byte) << (8 * left);
        } else {
            let room = 8 * (left + 1);
            (value >> room == 0).then_some(())?;
            address |= u32::try_from(value).ok()?;
        }
    }
    Some(address.into())
}

/// Decimal, octal behind a 0, hexadecimal behind 0x. One beyond 32 bits is no address's part,
/// but still a number.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(octal) = text.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (octal, 8)
    } else {
        (text, 10)
    };
    if digits.is_empty() {
        return (radix == 16).then_some(0);
    }
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}
