//! Imports run one way: no module imports from its own floor or from one above. Two modules that
//! import each other cannot both keep to this, so there is no circle between them either.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The top modules of the daemon, the lowest floor first.
const FLOORS: [&[&str]; 17] = [
    &["model", "check"],
    &["core"],
    &["clock", "insight", "readable", "systemd", "text"],
    &["json"],
    &["config"],
    &["files", "privileges", "signals"],
    &["worker"],
    &["cgroup", "keeper", "stores"],
    &["process"],
    &["netns"],
    &[
        "alarm",
        "netlink",
        "object",
        "overrides",
        "pending",
        "remembered",
    ],
    &["source", "effect", "record"],
    &["serve"],
    &["driver", "hostile"],
    &["cli"],
    &["lib"],
    &["main"],
];

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no floor: add it to the table in {}", file!()))
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("the folder can be read")
        .flatten();
    let files = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => source_files(&path),
        path => vec![path],
    });
    files
        .filter(|path| path.extension().is_some_and(|name| name == "rs"))
        .collect()
}

/// The top module to which a file belongs.
fn owner(file: &Path, src: &Path) -> String {
    let within = file.strip_prefix(src).unwrap_or(file);
    let first = within.iter().next().unwrap_or_default();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The top modules that are named after `crate::`, alone or in the outermost braces of a list.
fn imports(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(outermost(list).split(',').filter_map(name)),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// What stands in a list up to its closing brace, without the lists inside it.
fn outermost(list: &str) -> String {
    let mut depth = 0;
    let in_list = list.chars().take_while(|char| {
        depth += i32::from(*char == '{') - i32::from(*char == '}');
        depth >= 0
    });
    let mut inside = 0;
    let outer = in_list.filter(|char| {
        inside += i32::from(*char == '{') - i32::from(*char == '}');
        inside == 0
    });
    outer.collect()
}

/// The module at the start of a path; `None` for a type or nothing.
fn name(path: &str) -> Option<String> {
    let is_part = |char: &char| char.is_ascii_lowercase() || *char == '_';
    let name: String = path.trim_start().chars().take_while(is_part).collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn no_module_imports_from_its_own_floor_or_above() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in source_files(&src) {
        let owner = owner(&file, &src);
        let others = imports(&fs::read_to_string(&file).expect("the file can be read"));
        let others = others.into_iter().filter(|other| *other != owner);
        let above = others.filter(|other| floor(other) >= floor(&owner));
        wrong.extend(above.map(|other| format!("{} imports {other}", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{\n    clock,\n    core::{Time, x::{Y, z}},\n    serve::{self},\n};\n\
                let at = crate::netns::own(); // crate::comment";
    let expected = ["clock", "core", "netns", "serve"].map(str::to_owned);
    assert_eq!(imports(text), expected.into());
}
