//! What others named cannot drive the terminal: names in a recording or from another daemon may hold
//! anything.

use std::borrow::Cow;

/// The text with its control characters escaped, except for line ends and tabs.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_odd(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        let plain = "http://nöde:9000\tdead \\ \n";
        assert!(matches!(visible(plain), Cow::Borrowed(same) if same == plain));
        let sets_the_title = "http://a\u{1b}]0;x\u{7}\r:9000\n";
        let shown = "http://a\\u{1b}]0;x\\u{7}\\r:9000\n";
        assert_eq!(visible(sets_the_title), shown);
        assert_eq!(visible("\u{9b}2J"), "\\u{9b}2J");
    }
}
