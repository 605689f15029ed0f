//! The Debian package in a clean Debian: installed, upgraded, removed and purged. `systemctl` is
//! replaced there by a script that writes down what it is asked.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Debian, package};

const CONFIGURATION: &str = "/etc/detector/detector.toml";
const UNIT: &str = "/usr/lib/systemd/system/detector.service";
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/detector.service";

/// What the package has, with its mode.
const FILES: [(&str, u32); 20] = [
    ("/usr/bin/detector", 0o755),
    (UNIT, 0o644),
    (CONFIGURATION, 0o644),
    ("/usr/lib/sysusers.d/detector.conf", 0o644),
    ("/usr/share/man/man1/detector.1.gz", 0o644),
    ("/usr/share/man/man1/detector-run.1.gz", 0o644),
    ("/usr/share/man/man1/detector-config-check.1.gz", 0o644),
    ("/usr/share/bash-completion/completions/detector", 0o644),
    ("/usr/share/zsh/vendor-completions/_detector", 0o644),
    ("/usr/share/fish/vendor_completions.d/detector.fish", 0o644),
    ("/usr/share/doc/detector/copyright", 0o644),
    ("/usr/share/doc/detector/changelog.gz", 0o644),
    ("/usr/share/doc/detector/changelog.Debian.gz", 0o644),
    ("/usr/share/doc/detector/LICENSE", 0o644),
    ("/usr/share/doc/detector/LICENSE-MIT", 0o644),
    ("/usr/share/doc/detector/LICENSE-GPL2", 0o644),
    ("/usr/share/doc/detector/examples/containers.conf", 0o644),
    ("/etc/detector", 0o755),
    ("/usr/share/doc/detector", 0o755),
    ("/usr/share/doc/detector/examples", 0o755),
];

/// The next version: other sample settings.
fn next_version(package: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let tree = scratch.join("next");
    dpkg_deb(&["--raw-extract".as_ref(), package, &tree])?;
    let change = |file: &str, from: &str, to: &str| {
        let file = tree.join(file);
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{}: {text}", file.display());
        fs::write(&file, text.replace(from, to)).context("cannot write")
    };
    change("DEBIAN/control", "\nVersion: ", "\nVersion: 9")?;
    change("etc/detector/detector.toml", "## ", "### ")?;
    let next = scratch.join("next.deb");
    dpkg_deb(&[
        "-Znone".as_ref(),
        "--root-owner-group".as_ref(),
        "--build".as_ref(),
        tree.as_path(),
        &next,
    ])?;
    Ok(next)
}

fn dpkg_deb(words: &[&Path]) -> anyhow::Result<()> {
    let output = Command::new("dpkg-deb").args(words).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// Whether systemctl was asked for this since the last time.
fn was_asked(debian: &Debian, wanted: &str) -> anyhow::Result<()> {
    let asked = debian.asked()?;
    for wanted in ["daemon-reload", wanted] {
        ensure!(asked.contains(wanted), "{wanted} is not among:\n{asked}");
    }
    Ok(())
}

fn is_installed(debian: &Debian) -> anyhow::Result<()> {
    for (file, mode) in FILES {
        let found = fs::metadata(debian.path(file)).with_context(|| file.to_owned())?;
        ensure!(
            found.permissions().mode() & 0o7777 == mode,
            "{file}: {found:?}"
        );
        ensure!((found.uid(), found.gid()) == (0, 0), "{file}: {found:?}");
    }
    let user = debian.run(&["getent", "passwd", "detector"])?;
    ensure!(user.contains("nologin"), "{user}");
    debian.run(&["getent", "group", "detector"])?;
    fs::symlink_metadata(debian.path(ENABLED)).context("the unit is not enabled")?;
    let said = debian.run(&[
        "/usr/bin/detector",
        "config",
        "check",
        "--config",
        CONFIGURATION,
    ])?;
    ensure!(said.contains("no errors"), "{said}");
    let manual = debian.run(&["zcat", "/usr/share/man/man1/detector-run.1.gz"])?;
    ensure!(
        manual.contains(".TH ") && manual.contains("detection"),
        "{manual}"
    );
    Ok(())
}

/// The unit is one that systemd takes, and it gives the daemon little.
fn unit_is_hardened(debian: &Debian) -> anyhow::Result<()> {
    let words = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        "--threshold=20",
        UNIT,
    ];
    let said = debian.run(&words)?;
    let overall = said.lines().find(|line| line.contains("Overall"));
    eprintln!("{}", overall.context(said.clone())?);
    Ok(())
}

fn edit(debian: &Debian) -> anyhow::Result<()> {
    let file = debian.path(CONFIGURATION);
    let text = fs::read_to_string(&file)?;
    fs::write(
        &file,
        format!("{text}\n[[peer]]\nurl = \"http://node2:9000\"\n"),
    )?;
    // What the daemon and its operators leave.
    fs::create_dir_all(debian.path("/var/lib/detector"))?;
    fs::write(debian.path("/var/lib/detector/audit.log"), "{}\n")?;
    fs::write(debian.path("/etc/detector/note.txt"), "ours\n")?;
    Ok(())
}

fn was_kept(debian: &Debian) -> anyhow::Result<()> {
    let text = fs::read_to_string(debian.path(CONFIGURATION))?;
    ensure!(
        text.contains("http://node2:9000"),
        "the edited file is gone: {text}"
    );
    for file in ["/var/lib/detector/audit.log", "/etc/detector/note.txt"] {
        ensure!(debian.path(file).is_file(), "{file} is gone");
    }
    Ok(())
}

/// What is not of the package, and changes when one is installed: dpkg's own files, and users.
fn is_of_the_system(file: &str) -> bool {
    [
        "/run/",
        "/var/lib/dpkg/",
        "/var/log/",
        "/tmp/",
        "/var/cache/",
        "/etc/.pwd.lock",
    ]
    .into_iter()
    .chain(["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"])
    .any(|start| file.starts_with(start))
}

#[test]
fn a_package_comes_and_goes_as_debian_s_policy_says() -> anyhow::Result<()> {
    if !Debian::has_packages() {
        return Ok(());
    }
    let package = package()?;
    let scratch = tempfile::tempdir()?;
    let next = next_version(&package, scratch.path())?;
    let debian = Debian::with_systemd()?;
    let before = debian.files()?;

    debian.install(&package)?;
    is_installed(&debian)?;
    was_asked(&debian, "start detector.service")?;
    unit_is_hardened(&debian)?;

    edit(&debian)?;
    debian.install(&next)?;
    is_installed(&debian)?;
    was_kept(&debian)?;
    was_asked(&debian, "restart detector.service")?;
    let sample = fs::read_to_string(debian.path(&format!("{CONFIGURATION}.dpkg-dist")))?;
    ensure!(
        sample.contains("### "),
        "the new sample is beside it: {sample}"
    );

    debian.run(&["dpkg", "--remove", "detector"])?;
    was_asked(&debian, "stop detector.service")?;
    was_kept(&debian)?;
    ensure!(!debian.path("/usr/bin/detector").exists(), "it was removed");

    debian.run(&["dpkg", "--purge", "detector"])?;
    let after = debian.files()?;
    let left = after.iter().filter(|file| !is_of_the_system(file));
    let left: Vec<&String> = left.filter(|file| !before.contains(file)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
