//! Each command of ours in the documents and the alerts is one that this program knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Parser as _, error::ErrorKind};

use super::Cli;

/// A command in a document.
struct Found {
    line: String,
    words: Vec<String>,
    /// In running text a command may stand without its arguments.
    is_inline: bool,
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "deploy", "deploy/prometheus/rules"] {
        let entries = fs::read_dir(root.join(folder)).expect("the folder can be read");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("md" | "yml"))
    });
    files
}

/// The commands in the shell blocks, and those between backquotes elsewhere.
fn commands(text: &str) -> Vec<Found> {
    let text = text.replace("{{ $labels.peer }}", "http://node4:9000");
    let mut found = Vec::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 0 {
            let spans = part.split('`').skip(1).step_by(2);
            let spans = spans.filter(|span| span.starts_with("detector ") && !span.contains('…'));
            found.extend(spans.flat_map(|span| ours(&span.replace('\n', " "), true)));
        } else if let Some(script) = part.strip_prefix("sh\n") {
            let script = script.replace("\\\n", " ");
            found.extend(script.lines().flat_map(|line| ours(line, false)));
        }
    }
    found
}

/// The commands of a line that run this program, also in a container.
fn ours(line: &str, is_inline: bool) -> Vec<Found> {
    let words = shlex::split(line).unwrap_or_default();
    let simple =
        words.split(|word| ["&&", "||", "|", ";", "do", "--", "echo"].contains(&word.as_str()));
    let ours = simple.filter(|words| words.first().is_some_and(|word| word == "detector"));
    let found = ours.map(|words| Found {
        line: line.to_owned(),
        words: words
            .iter()
            .take_while(|word| !word.starts_with('>') && !word.starts_with("2>"))
            .map(|word| word.trim_end_matches(';').to_owned())
            .collect(),
        is_inline,
    });
    found.collect()
}

#[test]
fn each_command_in_the_documents_is_one_that_there_is() {
    let mut parsed = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).expect("the file can be read");
        for found in commands(&text) {
            parsed += 1;
            let Err(error) = Cli::try_parse_from(&found.words) else {
                continue;
            };
            let kind = error.kind();
            let is_mention = found.is_inline
                && matches!(
                    kind,
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
            let is_fine = is_mention || kind == ErrorKind::DisplayHelp;
            assert!(is_fine, "{}: {}: {error}", file.display(), found.line);
        }
    }
    assert!(parsed > 150, "{parsed}");
}

#[test]
fn commands_are_found_in_blocks_and_in_text() {
    let text = "Say `detector peers` or `detector tip`.\n```sh\nsystemctl stop detector && detector \
                explain a:1 # why\nx | detector nothing >y\n```\n";
    let found = commands(text);
    let words: Vec<_> = found.iter().map(|found| found.words.join(" ")).collect();
    assert_eq!(
        words,
        [
            "detector peers",
            "detector tip",
            "detector explain a:1",
            "detector nothing"
        ]
    );
    assert!(Cli::try_parse_from(&found[1].words).is_err());
}
