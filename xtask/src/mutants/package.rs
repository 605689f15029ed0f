//! Makes the package whose mutants are tried: some of the daemon's modules, with the crates that
//! they name, in the versions of the lock file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::scope::Scope;

/// The folder of the package, and what it is a copy of. Beside it is what the sources include from
/// outside of it.
pub(super) const NAME: &str = "detector-user";
const INCLUDED: &str = "deploy";

/// Where a part has its package, and the lists of what was caught and what was missed.
pub(super) fn directory(root: &Path, scope: &Scope) -> PathBuf {
    root.join("target/mutants").join(scope.name)
}

pub(super) fn make(root: &Path, scope: &Scope) -> Result<()> {
    let (from, directory) = (root.join(NAME), directory(root, scope));
    let to = directory.join(NAME);
    for old in [to.join("src"), directory.join(INCLUDED)] {
        if old.exists() {
            fs::remove_dir_all(&old)?;
        }
    }
    copy(&root.join(INCLUDED), &directory.join(INCLUDED))?;
    let mut sources = String::new();
    for module in scope.modules {
        for name in [(*module).to_owned(), format!("{module}.rs")] {
            let (from, to) = (from.join("src").join(&name), to.join("src").join(&name));
            if from.exists() {
                copy(&from, &to)?;
                read(&to, &mut sources)?;
            }
        }
    }
    fs::write(to.join("src/lib.rs"), tree(scope.modules))?;
    fs::copy(root.join("Cargo.lock"), to.join("Cargo.lock"))?;
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    let package = fs::read_to_string(from.join("Cargo.toml"))?;
    let manifest = manifest(root, &workspace, &package, &sources);
    fs::write(
        to.join("Cargo.toml"),
        manifest.context("Cargo.toml lacks a section")?,
    )?;
    Ok(())
}

/// `lib.rs` of the package: the modules, and those that hold them.
fn tree(modules: &[&str]) -> String {
    let mut tree = String::new();
    let mut open: Vec<&str> = Vec::new();
    for module in modules {
        let mut parents: Vec<&str> = module.split('/').collect();
        let name = parents.pop().unwrap_or_default();
        let common = open
            .iter()
            .zip(&parents)
            .take_while(|(one, other)| one == other);
        let common = common.count();
        tree.push_str(&"}\n".repeat(open.len() - common));
        for parent in &parents[common..] {
            tree.push_str(&format!("pub mod {parent} {{\n"));
        }
        tree.push_str(&format!("pub mod {name};\n"));
        open = parents;
    }
    tree.push_str(&"}\n".repeat(open.len()));
    tree
}

/// The package's manifest: the daemon's, without the crates that its sources do not name.
fn manifest(root: &Path, workspace: &str, package: &str, sources: &str) -> Option<String> {
    let versions = section(workspace, "workspace.dependencies")?;
    let versions = versions.replace("path = \"", &format!("path = \"{}/", root.display()));
    let is_named = |line: &&str| {
        let name = line.split([' ', '.']).next().unwrap_or_default();
        sources.contains(&format!("{}::", name.replace('-', "_")))
    };
    let named = |text: &str| -> String {
        let lines = text.lines().filter(is_named);
        lines.flat_map(|line| [line, "\n"]).collect()
    };
    Some(format!(
        "[package]\nname = \"mutants\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[workspace.dependencies]\n{versions}\n\
         [dependencies]\n{}\n[dev-dependencies]\n{}",
        named(section(package, "dependencies")?),
        named(section(package, "dev-dependencies")?),
    ))
}

/// The lines of a section of a manifest.
fn section<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = manifest.split_once(&format!("\n[{name}]\n"))?;
    Some(rest.split_once("\n[").map_or(rest, |(lines, _)| lines))
}

/// Adds the text of all of these Rust files.
fn read(path: &Path, sources: &mut String) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read(&entry?.path(), sources)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        sources.push_str(&fs::read_to_string(path)?);
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to)?;
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = include_str!("../../../Cargo.toml");
    const PACKAGE: &str = include_str!("../../../detector-user/Cargo.toml");

    #[test]
    fn the_package_has_the_crates_that_it_names_in_the_workspace_s_versions() {
        let sources = "use detector_ebpf::Sequences; use serde::Serialize; use proptest::prelude;";
        let manifest = manifest(Path::new("/here"), WORKSPACE, PACKAGE, sources).unwrap();
        let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
        assert_eq!(
            dependencies,
            "detector-ebpf = { workspace = true }\nserde = { workspace = true }\n\n\
             [dev-dependencies]\nproptest = { workspace = true }\n"
        );
        for line in [
            "\nserde = { version = \"1.0\",",
            "\ndetector-ebpf = { path = \"/here/detector-ebpf\",",
        ] {
            assert!(manifest.contains(line), "{line}: {manifest}");
        }
    }

    #[test]
    fn a_package_has_its_modules_in_those_that_hold_them() {
        let modules = ["core", "a/b/c", "a/b/d", "a/e", "f"];
        let expected = "pub mod core; pub mod a { pub mod b { pub mod c; pub mod d; } pub mod e; } \
                        pub mod f;";
        assert_eq!(
            tree(&modules)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            expected
        );
    }
}
