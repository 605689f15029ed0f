//! The documents name exactly what the code has: reasons, verdicts, settings, metrics.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path};

use detector_user::{
    config::{
        Config,
        keys::{Value, find},
    },
    model::{Reason, Verdict},
};

const RULE: &str = include_str!("../../docs/rule.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const RECIPES: &str = include_str!("../../CONTRIBUTING.md");

/// The rows of the table under a heading, cell by cell; the rule and the header are left out.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = after.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| "));
    lines
        .map(|line| line.trim_end_matches(" |").split(" | ").collect())
        .skip(1)
        .collect()
}

/// The words between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn first_words(heading: &str) -> BTreeSet<&'static str> {
    let rows = rows(RULE, heading);
    rows.iter().flat_map(|row| quoted(row[0])).collect()
}

/// The table under a heading of docs/rule.md has exactly these words.
fn is_explained<'a>(heading: &str, words: impl Iterator<Item = &'a str>) {
    let words: BTreeSet<_> = words.collect();
    let documented = first_words(heading);
    let either: Vec<_> = words.symmetric_difference(&documented).collect();
    assert!(
        either.is_empty(),
        "only in the code, or only in the table {heading} of docs/rule.md: {either:?}"
    );
}

#[test]
fn every_reason_and_verdict_is_explained_and_no_other() {
    is_explained("Reasons", Reason::ALL.iter().map(|reason| reason.as_str()));
    is_explained(
        "Verdicts",
        Verdict::ALL.iter().map(|verdict| verdict.as_str()),
    );
}

/// Whether the table *Act* of docs/operations.md names this reason. A new one does not compile here
/// until that is decided.
fn has_a_row_of_its_own(reason: Reason) -> bool {
    match reason {
        // All is well, or nothing is known.
        Reason::NoEvidence
        | Reason::PacketReceived
        | Reason::ConnectSucceeded
        | Reason::ResetReceived
        | Reason::ProbeAnswered
        | Reason::TrialSucceeded => false,
        // Whichever layer was silent: the peer is dead, and its rows say what to do.
        Reason::TlpUnanswered
        | Reason::RtoUnanswered
        | Reason::ConnectUnanswered
        | Reason::ProbeUnanswered
        | Reason::NeighbourFailed
        | Reason::ErrorReported => false,
        Reason::HostUnanswered
        | Reason::SendsUnanswered
        | Reason::Isolated
        | Reason::ZeroWindow
        | Reason::FlowsStalled
        | Reason::LargeSegmentsLost
        | Reason::PathDead
        | Reason::SlownessReported
        | Reason::FailuresReported
        | Reason::DeadBeforeStart
        | Reason::RecoveryTimeout
        | Reason::TrialFailed
        | Reason::Maintenance
        | Reason::ForcedOpen
        | Reason::ForcedClosed => true,
    }
}

#[test]
fn an_operator_is_told_what_to_do_about_each_reason_that_asks_for_it() {
    let asks = Reason::ALL.iter().filter(|r| has_a_row_of_its_own(**r));
    let asks: BTreeSet<_> = asks.map(|reason| reason.as_str()).collect();
    let rows = rows(OPERATIONS, "Act");
    assert!(rows.iter().all(|row| row.len() == 3), "{rows:?}");
    let told: BTreeSet<_> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    let either: Vec<_> = asks.symmetric_difference(&told).collect();
    assert!(
        either.is_empty(),
        "only in the code, or only in the table Act of docs/operations.md: {either:?}"
    );
}

#[test]
fn the_numbers_of_settings_are_their_defaults() {
    let mut compared = 0;
    for row in rows(RULE, "Numbers") {
        let [_, value, name] = row[..] else {
            panic!("{row:?}")
        };
        let Some(setting) = name.strip_prefix("setting ") else {
            assert!(name.starts_with("constant `"), "{name}");
            continue;
        };
        let setting = setting.trim_matches('`');
        let Some(key) = find(setting) else {
            continue;
        };
        let default = match key.get(&Config::default()) {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => panic!("{setting} is no number: {other:?}"),
        };
        assert_eq!(default, value.replace(' ', ""), "{setting}");
        compared += 1;
    }
    assert!(compared >= 4, "{compared}");
}

/// All Rust files under a directory of this crate, one after the other.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The number that an expression of the code comes to; times in seconds.
fn of_code(expression: &str) -> f64 {
    let number = |text: &str| text.replace('_', "").parse::<f64>().unwrap();
    let units = [("millis(", 1e-3), ("secs(", 1.0)];
    for (unit, seconds) in units {
        let call = format!("Duration::from_{unit}");
        if let Some(argument) = expression.strip_prefix(&call) {
            return number(argument.trim_end_matches(')')) * seconds;
        }
    }
    expression.split(" * ").map(number).product()
}

/// The number that a cell of the table says; times in seconds.
fn of_document(cell: &str) -> f64 {
    let plain = cell.split(" (").next().unwrap().trim_end_matches(" each");
    let number = |text: &str| text.replace(',', "").parse::<f64>().unwrap();
    if let Some(chances) = plain.strip_prefix("1 in ") {
        return 1.0 / number(chances);
    }
    let units = [(" ms", 1e-3), (" s", 1.0), (" %", 1e-2)];
    for (unit, factor) in units {
        if let Some(value) = plain.strip_suffix(unit) {
            return number(value) * factor;
        }
    }
    match plain.strip_suffix('³') {
        Some(base) => number(base).powi(3),
        None => number(plain),
    }
}

#[test]
fn the_numbers_of_constants_are_those_of_the_core() {
    let core = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core"));
    let mut compared = 0;
    for row in rows(RULE, "Numbers") {
        let Some(name) = row[2].strip_prefix("constant ") else {
            continue;
        };
        let name = name.trim_matches('`');
        let declared: Vec<_> = core.split(&format!("const {name}: ")).skip(1).collect();
        assert_eq!(declared.len(), 1, "constants of the core called {name}");
        let expression = declared[0].split(';').next().unwrap();
        let (_, expression) = expression.split_once("= ").unwrap();
        let (code, document) = (of_code(expression), of_document(row[1]));
        let differs = (code - document).abs() > code.abs() * 1e-9;
        assert!(!differs, "{name} is {expression}, not {}", row[1]);
        compared += 1;
    }
    assert!(compared >= 15, "{compared}");
}

/// The constants that are numbers. A pair of numbers says how often to look, and decides nothing.
fn constants(source: &str) -> Vec<&str> {
    let declared = source.split("const ").skip(1);
    let numbers = declared.filter_map(|text| text.split_once(": "));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let numbers = numbers.filter(|(name, text)| is_name(name) && !text.starts_with('('));
    numbers.map(|(name, _)| name).collect()
}

#[test]
fn each_number_by_which_a_death_or_a_stall_is_decided_is_in_the_table() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let table = rows(RULE, "Numbers");
    for file in ["rule/mod.rs", "rule/basis.rs", "evidence/stalled.rs"] {
        let source = fs::read_to_string(core.join(file)).unwrap();
        let names = constants(&source);
        assert!(!names.is_empty(), "{file}");
        for name in names {
            let row = format!("constant `{name}`");
            assert!(table.iter().any(|cells| cells[2] == row), "{name}, {file}");
        }
    }
}

/// The folders from which CONTRIBUTING.md names files, in the repository.
const FOLDERS: [&str; 4] = [
    "",
    "detector-user/src",
    "detector-user/src/core",
    "detector-user/tests/simulation",
];

/// A recipe that names a file which was moved leads nowhere. Bare names follow their folder's.
#[test]
fn each_file_that_a_recipe_names_with_its_folder_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let is_there = |file: &str| {
        let mut folders = FOLDERS.iter();
        folders.any(|folder| root.join(folder).join(file).exists())
    };
    let endings = [".rs", ".md", ".toml", ".yml", ".proto", "/"];
    let is_path = |word: &&str| {
        !word.contains(' ') && word.contains('/') && endings.iter().any(|end| word.ends_with(end))
    };
    let files: Vec<_> = quoted(RECIPES).filter(is_path).collect();
    assert!(files.len() > 50, "{}", files.len());
    let missing: Vec<_> = files.iter().filter(|file| !is_there(file)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}
