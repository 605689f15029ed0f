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
    let library = fs::read_to_string(from.join("src/lib.rs"))?;
    let mut sources = String::new();
    for module in modules(&library, scope) {
        for name in [module.to_owned(), format!("{module}.rs")] {
            let (from, to) = (from.join("src").join(&name), to.join("src").join(&name));
            if from.exists() {
                copy(&from, &to)?;
                read(&to, &mut sources)?;
            }
        }
    }
    fs::write(to.join("src/lib.rs"), root_module(&library, scope))?;
    fs::copy(from.join("build.rs"), to.join("build.rs"))?;
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

/// The modules that the package has.
fn modules<'a>(library: &'a str, scope: &Scope) -> impl Iterator<Item = &'a str> {
    let modules = library.lines().filter_map(declared);
    modules.filter(|module| scope.modules.have(module))
}

/// The module that a line of `lib.rs` declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// `lib.rs` of the package.
fn root_module(library: &str, scope: &Scope) -> String {
    let modules = modules(library, scope);
    modules
        .map(|module| format!("pub mod {module};\n"))
        .collect()
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
    use super::{super::scope::SCOPES, *};

    const WORKSPACE: &str = include_str!("../../../Cargo.toml");
    const PACKAGE: &str = include_str!("../../../detector-user/Cargo.toml");
    const LIBRARY: &str = include_str!("../../../detector-user/src/lib.rs");

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
    fn a_package_has_the_modules_of_its_part() {
        let root = |name| {
            let scope = SCOPES.iter().find(|scope| scope.name == name);
            root_module(LIBRARY, scope.expect("a part"))
        };
        assert_eq!(root("core"), "pub mod core;\n");
        let kernel = root("kernel");
        assert!(kernel.contains("pub mod netlink;\n") && !kernel.contains("serve"));
    }
}
