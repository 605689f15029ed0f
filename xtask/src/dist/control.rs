//! What dpkg reads of a package: its control file, its scripts, and which files are configuration.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::tree::{Tree, files};
use crate::{invocation::Invocation, workspace::Workspace};

/// The file that an upgrade leaves alone once it was edited.
pub(super) const CONFIGURATION: &str = "etc/detector/detector.toml";

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// `dpkg-shlibdeps` takes the package's name from such a file.
const SOURCE: &str = "Source: detector\n\nPackage: detector\nArchitecture: any\n";

/// Writes the directory `DEBIAN` of the tree at `root`. `scratch` is a directory beside it.
pub(super) fn write(
    workspace: &Workspace,
    scratch: &Path,
    root: &Path,
    version: &str,
) -> Result<()> {
    let texts = workspace.root.join("deploy/debian");
    let read = |name: &str| {
        let file = texts.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let control = filled(
        &read("control")?,
        &[
            ("@VERSION@", version),
            ("@ARCHITECTURE@", &architecture()?),
            ("@SIZE@", &kibibytes(root)?.to_string()),
            ("@LIBRARIES@", &libraries(scratch, root)?),
        ],
    );
    let tree = Tree::at(root);
    tree.put("DEBIAN/control", control.as_bytes(), 0o644)?;
    let configuration = format!("/{CONFIGURATION}\n");
    tree.put("DEBIAN/conffiles", configuration.as_bytes(), 0o644)?;
    for name in SCRIPTS {
        let script = read(name)?;
        tree.put(&format!("DEBIAN/{name}"), script.as_bytes(), 0o755)?;
    }
    Ok(())
}

/// Writes Debian's changelog, which lies beside ours.
pub(super) fn changelog(
    workspace: &Workspace,
    root: &Path,
    version: &str,
    seconds: &str,
) -> Result<()> {
    let template = workspace.root.join("deploy/debian/changelog");
    let template = fs::read_to_string(&template)
        .with_context(|| format!("cannot read {}", template.display()))?;
    let date = Invocation::new("date").args(["-R", "-u", "-d", &format!("@{seconds}")]);
    let date = date.output().context("`date` failed")?;
    let text = filled(
        &template,
        &[("@VERSION@", version), ("@DATE@", date.trim())],
    );
    let tree = Tree::at(root);
    let place = "usr/share/doc/detector/changelog.Debian";
    tree.put(place, text.as_bytes(), 0o644)?;
    tree.compress(place)
}

fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

fn architecture() -> Result<String> {
    let printed = Invocation::new("dpkg")
        .args(["--print-architecture"])
        .output();
    let printed = printed.context("`dpkg --print-architecture` failed; packages need Debian")?;
    Ok(printed.trim().to_owned())
}

/// How much room the files take, as dpkg counts it.
fn kibibytes(root: &Path) -> Result<u64> {
    let mut sum = 0;
    for file in files(root)? {
        sum += fs::metadata(&file)?.len().div_ceil(1024);
    }
    Ok(sum)
}

/// The packages of the shared libraries that the program needs, with their versions.
fn libraries(scratch: &Path, root: &Path) -> Result<String> {
    let directory = scratch.join("source/debian");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("control"), SOURCE)?;
    let script = "cd \"$1\" && dpkg-shlibdeps -O \"$2\"";
    let printed = Invocation::new("sh")
        .args(["-c", script, "libraries"])
        .args([scratch.join("source"), root.join("usr/bin/detector")])
        .output()
        .context("`dpkg-shlibdeps` failed; `cargo xtask setup` installs it")?;
    let line = printed.lines().find_map(|line| line.split_once('='));
    let (_, packages) = line.context("`dpkg-shlibdeps` named no packages")?;
    Ok(packages.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_template_is_left_open() {
        let template = include_str!("../../../deploy/debian/control");
        let names = ["@VERSION@", "@ARCHITECTURE@", "@SIZE@", "@LIBRARIES@"];
        let filled = filled(template, &names.map(|name| (name, "1")));
        assert!(
            !filled.contains('@') || filled.matches('@').count() == 1,
            "{filled}"
        );
        assert!(
            filled.contains("Version: 1\n") && filled.ends_with('\n'),
            "{filled}"
        );
    }
}
