//! The simple settings of a YAML file: what stands in its outermost mapping as text.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

/// Nothing at all, in the core schema's words.
const NULL: [&str; 4] = ["~", "null", "Null", "NULL"];

/// The texts of the file's first document, by their keys; lists and nested mappings are passed
/// over, and so is what is empty.
pub fn settings(text: &str) -> Result<BTreeMap<String, String>, ScanError> {
    let mut settings = BTreeMap::new();
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        match event?.0 {
            Event::DocumentEnd => break,
            Event::SequenceStart(..) if reader.depth == 0 => break,
            Event::MappingStart(..) | Event::SequenceStart(..) => reader.begin(),
            Event::MappingEnd | Event::SequenceEnd => reader.depth -= 1,
            Event::Scalar(scalar, style, ..) => {
                let is_null = style == ScalarStyle::Plain && NULL.contains(&&*scalar);
                let pair = reader.node(Some(&scalar));
                settings.extend(pair.filter(|(_, value)| !is_null && !value.is_empty()));
            }
            Event::Alias(_) => _ = reader.node(None),
            _ => {}
        }
    }
    Ok(settings)
}

/// Where it is in the document.
#[derive(Default)]
struct Reader {
    depth: usize,
    /// In the outermost mapping, the key whose value comes next; the inner value is `None` where
    /// the key is no text.
    key: Option<Option<String>>,
}

impl Reader {
    fn begin(&mut self) {
        self.node(None);
        self.depth += 1;
    }

    /// Takes in a key or a value, as text or as something else; gives a pair that is complete.
    fn node(&mut self, text: Option<&str>) -> Option<(String, String)> {
        if self.depth != 1 {
            return None;
        }
        match self.key.take() {
            None => {
                self.key = Some(text.map(str::to_owned));
                None
            }
            Some(key) => Some((key?, text?.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_what_is_nested() {
        let text = "# a comment\nname: 'b'\nempty:\nnone: null\nlist: [name, x]\nname2: &n \"two: words\"\n\
                    nested:\n  name: c\n  deep: {name: d}\n? [odd, key]\n: value\nlike: *n\n\
                    last: http://a:1,b\n---\nname: other\n";
        let settings = settings(text).unwrap();
        let all: Vec<_> = settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                ("last", "http://a:1,b"),
                ("name", "b"),
                ("name2", "two: words")
            ]
        );
    }

    #[test]
    fn what_is_no_mapping_has_no_settings() {
        for text in ["", "- name\n- b\n", "name", "[name, b]"] {
            assert!(settings(text).unwrap().is_empty(), "{text}");
        }
        for text in ["name: [", "\"", &"[".repeat(100_000), "a: b: c"] {
            assert!(settings(text).is_err());
        }
    }
}
