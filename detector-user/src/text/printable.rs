//! Text that comes from others, as a terminal may get it.

use std::borrow::Cow;

/// What stands in the place of a character that is not shown.
const HIDDEN: char = '\u{fffd}';

/// The text without what moves a cursor, sets a title, changes colours, or shows text in another
/// order than it is written in. Lines stay lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.replace(is_hidden, "\u{fffd}")),
    }
}

/// The same in one line.
pub fn one_line(text: &str) -> String {
    let shown = |c: char| match is_hidden(c) || c == '\n' {
        true => HIDDEN,
        false => c,
    };
    text.chars().map(shown).collect()
}

fn is_hidden(c: char) -> bool {
    let turns = ['\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    (c.is_control() && c != '\n') || turns.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Table;

    #[test]
    fn a_cell_makes_neither_a_row_nor_a_command() {
        let mut table = Table::new(["PEER", "REASON"]);
        table.row(["a\nb  forged".to_owned(), "x\u{1b}[2J".to_owned()]);
        let shown = table.render();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(
            !shown.replace('\n', "").contains(char::is_control),
            "{shown:?}"
        );
    }

    #[test]
    fn what_is_no_text_is_not_shown() {
        for (text, shown) in [
            ("http://node4:9000 is dead\n", "http://node4:9000 is dead\n"),
            (
                "n\u{1b}[2J\u{1b}]0;x\u{7}",
                "n\u{fffd}[2J\u{fffd}]0;x\u{fffd}",
            ),
            ("a\rb\u{8}\u{7f}", "a\u{fffd}b\u{fffd}\u{fffd}"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("a\u{202e}b\u{2066}\u{2028}", "a\u{fffd}b\u{fffd}\u{fffd}"),
            ("größer, 計測\n", "größer, 計測\n"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
        assert_eq!(one_line("a\nb\u{1b}"), "a\u{fffd}b\u{fffd}");
    }
}
