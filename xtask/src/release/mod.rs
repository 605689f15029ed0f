//! `cargo xtask release`: all that a release consists of, in one directory: the Debian package, the
//! client crate, the eBPF object, a list of all parts (SBOM), the notes from the changelog, and
//! checksums. Nothing is published.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    dist,
    invocation::Invocation,
    step::{Runner, Step},
    workspace::{Profile, Workspace},
};

mod notes;
mod sbom;

const CHANGELOG: &str = "CHANGELOG.md";
const SUMS: &str = "SHA256SUMS";

/// The options of `cargo xtask release`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Try it before the version has a section in the changelog: the notes are those of
    /// `[Unreleased]`, and files that are not committed are no error.
    #[arg(long)]
    draft: bool,
}

/// Builds and collects everything.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let changelog = fs::read_to_string(workspace.root.join(CHANGELOG))
        .with_context(|| format!("cannot read {CHANGELOG}"))?;
    let section = match options.draft {
        true => notes::UNRELEASED,
        false => dist::VERSION,
    };
    // What is missing is said before anything is built.
    let notes = notes::cut(&changelog, section)?;
    if !options.draft {
        is_committed()?;
    }
    let into = workspace.releases(dist::VERSION);
    if !runner.dry_run {
        renew(&into)?;
    }
    dist::run(runner, workspace, &dist::Options::release())?;
    runner.heading("the client crate");
    runner.run(&Step::new(
        "package detector-api",
        "what crates.io would get; cargo builds it once more from that alone",
        // A draft is made of what is there.
        Invocation::cargo("package")
            .args(["--package", "detector-api"])
            .args(options.draft.then_some("--allow-dirty")),
    ))?;
    runner.heading(&format!("release {}", dist::VERSION));
    if runner.dry_run {
        runner.note(&format!("all files are put into {}", into.display()));
        return Ok(());
    }
    collect(workspace, &into)?;
    fs::write(into.join("NOTES.md"), notes)?;
    fs::write(
        into.join("detector.cdx.json"),
        sbom::of_workspace(workspace)?,
    )?;
    sums(&into)?;
    runner.note(&format!("everything is in {}", into.display()));
    Ok(())
}

fn is_committed() -> Result<()> {
    let status = Invocation::new("git").args(["status", "--porcelain"]);
    let status = status.output().context("`git status` failed")?;
    ensure!(
        status.trim().is_empty(),
        "a release is made of what is committed, and this is not:\n{status}"
    );
    Ok(())
}

/// Nothing of an earlier run is left.
fn renew(into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("cannot empty {}", into.display()))?;
    }
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))
}

fn collect(workspace: &Workspace, into: &Path) -> Result<()> {
    let package = newest_with(&workspace.packages(Profile::Release), "deb")?;
    let client = format!("package/detector-api-{}.crate", dist::VERSION);
    for file in [package, workspace.in_target(&client), workspace.object()] {
        let name = file.file_name().context("a file has a name")?;
        fs::copy(&file, into.join(name))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// The package that was built last: an older version's may lie beside it.
fn newest_with(directory: &Path, extension: &str) -> Result<PathBuf> {
    let files = paths(directory)?.into_iter();
    let matching = files.filter(|path| path.extension().is_some_and(|found| found == extension));
    matching
        .max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
        .with_context(|| format!("no *.{extension} in {}", directory.display()))
}

fn paths(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Writes the checksums, as `sha256sum --check SHA256SUMS` reads them there.
fn sums(into: &Path) -> Result<()> {
    let names: Vec<String> = paths(into)?
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let script = "cd \"$1\" && shift && sha256sum -- \"$@\"";
    let summed = Invocation::new("sh")
        .args(["-c", script, "sums"])
        .args([into])
        .args(&names)
        .output();
    match summed {
        Some(sums) if sums.lines().count() == names.len() => {
            fs::write(into.join(SUMS), sums).context("cannot write the checksums")
        }
        _ => bail!("`sha256sum` failed in {}", into.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_the_files() {
        let into = std::env::temp_dir().join(format!("detector-release-{}", std::process::id()));
        renew(&into).unwrap();
        fs::write(into.join("a"), "abc").unwrap();
        fs::write(into.join("-b c"), "").unwrap();
        sums(&into).unwrap();
        let sums = fs::read_to_string(into.join(SUMS)).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n";
        assert!(sums.contains(abc) && sums.contains("  -b c\n"), "{sums}");
        fs::remove_dir_all(into).unwrap();
    }
}
