//! `cargo xtask dist`: the Debian package, built by Debian's own `dpkg-deb`.
//!
//! [`tree`] puts the files where the package has them, [`control`] writes what dpkg reads about
//! them. The texts are in `deploy/debian`. The manual pages and completions come from the program
//! that is packaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use self::tree::Tree;
use crate::{
    commands::{build_host, build_object},
    invocation::Invocation,
    plan::Needs,
    setup,
    step::{Runner, Step},
    workspace::{Profile, Workspace},
};

mod control;
mod tree;

/// The options of `cargo xtask dist`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Package the debug build, hardly compressed: the one that the tests install.
    #[arg(long)]
    debug: bool,
    /// The version of the package.
    #[arg(long, default_value = VERSION)]
    version: String,
}

impl Options {
    /// Those of a release.
    pub fn release() -> Self {
        Self {
            debug: false,
            version: VERSION.to_owned(),
        }
    }
}

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is copied as it is: from where, to where.
const COPIES: [(&str, &str); 9] = [
    (
        "deploy/detector.service",
        "usr/lib/systemd/system/detector.service",
    ),
    (
        "deploy/detector.sysusers.conf",
        "usr/lib/sysusers.d/detector.conf",
    ),
    ("deploy/detector.toml", control::CONFIGURATION),
    (
        "deploy/debian/copyright",
        "usr/share/doc/detector/copyright",
    ),
    ("CHANGELOG.md", "usr/share/doc/detector/changelog"),
    ("LICENSE", "usr/share/doc/detector/LICENSE"),
    (
        "detector-ebpf/LICENSE-MIT",
        "usr/share/doc/detector/LICENSE-MIT",
    ),
    (
        "detector-ebpf/LICENSE-GPL2",
        "usr/share/doc/detector/LICENSE-GPL2",
    ),
    (
        "deploy/detector-containers.conf",
        "usr/share/doc/detector/examples/containers.conf",
    ),
];

/// What each shell completes with, and where it looks for that.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/detector"),
    ("zsh", "usr/share/zsh/vendor-completions/_detector"),
    ("fish", "usr/share/fish/vendor_completions.d/detector.fish"),
];

const MANUAL: &str = "usr/share/man/man1";

/// Builds the daemon, and packages it.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let profile = match options.debug {
        true => Profile::Debug,
        false => Profile::Release,
    };
    let prepared = setup::prepare(runner, Needs::DIST)?;
    build_object(runner, workspace, prepared.ebpf)?;
    build_host(runner, profile, &["detector-user"])?;
    package(runner, workspace, profile, &options.version)
}

/// Packages the daemon that was built with this profile.
pub fn package(
    runner: &Runner,
    workspace: &Workspace,
    profile: Profile,
    version: &str,
) -> Result<()> {
    runner.heading("Debian package");
    let into = workspace.packages(profile);
    let root = into.join("root");
    if runner.dry_run {
        runner.note(&format!("the files are put into {}", root.display()));
    } else {
        stage(runner, workspace, profile, &root)?;
        // Its last part counts packages of the same sources.
        let version = format!("{version}-1");
        control::changelog(workspace, &root, &version, &committed_at())?;
        control::write(workspace, &into, &root, &version)?;
    }
    let pack = match profile {
        Profile::Release => &["-Zxz"][..],
        Profile::Debug => &["-Zgzip", "-z1"],
    };
    runner.run(&Step::new(
        "pack detector_VERSION_ARCHITECTURE.deb",
        "by Debian's own tool; all files belong to root, and no time of the build gets in",
        Invocation::new("dpkg-deb")
            .args(["--root-owner-group"])
            .args(pack)
            .args(["--build".as_ref(), root.as_path(), into.as_path()])
            .env("SOURCE_DATE_EPOCH", committed_at()),
    ))
}

/// Puts all files into a new tree.
fn stage(runner: &Runner, workspace: &Workspace, profile: Profile, root: &Path) -> Result<()> {
    let tree = Tree::new(root)?;
    for (from, to) in COPIES {
        let from = workspace.root.join(from);
        let text = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        tree.put(to, &text, 0o644)?;
    }
    let program = tree.path("usr/bin/detector")?;
    fs::copy(workspace.binary(profile, "detector"), &program)
        .context("there is no daemon to package: `cargo xtask dist` builds it")?;
    tree::set_mode(&program, 0o755)?;
    if profile == Profile::Debug {
        let strip = Invocation::new("strip").args(["--strip-debug"]);
        strip.args([&program]).run(runner.is_root)?;
    }
    describe(runner, &tree, &program)
}

/// What the program says of itself: manual pages and completions.
fn describe(runner: &Runner, tree: &Tree, program: &PathBuf) -> Result<()> {
    for (shell, to) in COMPLETIONS {
        let script = Invocation::new(program)
            .args(["completions", shell])
            .output()
            .with_context(|| format!("`detector completions {shell}` failed"))?;
        tree.put(to, script.as_bytes(), 0o644)?;
    }
    let pages = tree.directory(MANUAL)?;
    let manual = Invocation::new(program).args(["manual"]);
    manual.args([&pages]).run(runner.is_root)?;
    tree.compress(MANUAL)?;
    tree.compress("usr/share/doc/detector/changelog")
}

/// When the last change was made, so that the same sources give the same package.
fn committed_at() -> String {
    let committed = Invocation::new("git").args(["log", "-1", "--format=%ct"]);
    let committed = committed.output().unwrap_or_default();
    match committed.trim() {
        "" => "0".to_owned(),
        seconds => seconds.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_packaged_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (from, _) in COPIES {
            assert!(root.join(from).is_file(), "{from}");
        }
    }

    #[test]
    fn the_unit_starts_the_program_where_the_package_puts_it() {
        let unit = include_str!("../../../deploy/detector.service");
        assert!(unit.contains("\nExecStart=/usr/bin/detector run "));
        let configuration = format!(" --config /{}\n", control::CONFIGURATION);
        assert!(unit.contains(&configuration), "{configuration}");
    }
}
