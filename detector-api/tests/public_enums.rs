//! Each public enum of the crate can grow without breaking who uses it, those of the protocol too.

use std::{fs, path::Path};

/// The enums of these lines that are public, each with whether it is marked.
fn public_enums(text: &str) -> Vec<(&str, bool)> {
    let (mut found, mut is_marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub enum ") {
            found.push((name, is_marked));
        }
        is_marked |= line == "#[non_exhaustive]";
        // Between the mark and the enum there are only other attributes and comments.
        is_marked &= line.starts_with(['#', '/']);
    }
    found
}

fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let all = entries.map(|entry| entry.expect("an entry").path());
    all.flat_map(|path| match path.is_dir() {
        true => sources(&path),
        false if path.extension().is_some_and(|name| name == "rs") => {
            vec![fs::read_to_string(&path).expect("the file can be read")]
        }
        false => Vec::new(),
    })
    .collect()
}

#[test]
fn every_public_enum_may_grow() {
    let all = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let enums: Vec<_> = all.iter().flat_map(|text| public_enums(text)).collect();
    assert!(enums.len() >= 20, "only {} are found", enums.len());
    let fixed: Vec<_> = enums.iter().filter(|(_, marked)| !marked).collect();
    assert!(fixed.is_empty(), "#[non_exhaustive] is missing: {fixed:?}");
}

#[test]
fn a_mark_is_that_of_the_next_enum_alone() {
    let text =
        "#[non_exhaustive]\n/// One.\n#[derive(Debug)]\npub enum A { X }\npub enum B { Y }\n";
    assert_eq!(public_enums(text), [("A { X }", true), ("B { Y }", false)]);
}
