//! The notes of a release: its section of the changelog.

use anyhow::{Context as _, Result, ensure};

/// The section of what is not released yet.
pub(super) const UNRELEASED: &str = "Unreleased";

/// The text under the heading of this version, without the heading.
pub(super) fn cut(changelog: &str, version: &str) -> Result<String> {
    let heading = format!("## [{version}]");
    let mut lines = changelog.lines();
    lines
        .find(|line| line.starts_with(&heading))
        .with_context(|| {
            format!(
                "CHANGELOG.md has no section {heading}: give [{UNRELEASED}] that heading with the \
                 date, or try with --draft"
            )
        })?;
    let section: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    let text = section.join("\n").trim().to_owned();
    ensure!(
        !text.is_empty(),
        "the section {heading} of CHANGELOG.md is empty"
    );
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n\
                        - this\n\n## [0.1.0] - 2026-11-01\n\n- that\n";

    #[test]
    fn a_section_ends_with_the_next() {
        assert_eq!(cut(TEXT, "0.2.0").unwrap(), "### Added\n\n- this\n");
        assert_eq!(cut(TEXT, "0.1.0").unwrap(), "- that\n");
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = cut(TEXT, "0.3.0").unwrap_err().to_string();
        assert!(error.contains("no section ## [0.3.0]"), "{error}");
        let error = cut(TEXT, UNRELEASED).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
    }

    #[test]
    fn our_own_has_something() {
        let ours = include_str!("../../../CHANGELOG.md");
        assert!(cut(ours, UNRELEASED).unwrap().contains("### Added"));
    }
}
