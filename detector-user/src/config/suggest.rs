//! "Did you mean" hints: the nearest of a few known words.

/// A hint at the word that `text` was most likely meant to be; empty if none is close enough.
pub fn did_you_mean<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, words)
        .map(|word| format!("; did you mean {word:?}?"))
        .unwrap_or_default()
}

fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase().replace('-', "_");
    words
        .into_iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(&text, word), word))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let words = ["detection_time", "poll_interval", "socket"];
        assert_eq!(nearest("detecton_time", words), Some("detection_time"));
        assert_eq!(nearest("poll-interval", words), Some("poll_interval"));
        assert_eq!(nearest("Sockets", words), Some("socket"));
        assert_eq!(nearest("colour", words), None);
    }
}
