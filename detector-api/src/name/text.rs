//! A short text on the stack.

use std::fmt;

/// A text of at most `N` bytes; writing more fails.
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        // Only whole texts are ever written.
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut text = Text::<4>::new();
        assert_eq!(text.write_str("abc"), Ok(()));
        assert_eq!(text.write_str("de"), Err(fmt::Error));
        assert_eq!(text.as_str(), "abc");
        assert_eq!(text.write_str("d"), Ok(()));
        assert_eq!((text.as_str(), text.len()), ("abcd", 4));
    }
}
