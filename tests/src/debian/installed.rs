//! Our package in a clean Debian, without an init: `systemctl` is replaced by a script that writes
//! down what it is asked, and [`Debian::unit`] starts a service as its unit says.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::Debian;
use crate::{Host, binary};

const ASKED: &str = "/tmp/asked";

/// In the place of systemctl: what concerns only files is done by the real one.
const SYSTEMCTL: &str = "\
#!/bin/sh
echo \"$*\" >>/tmp/asked
case $* in
--root=*) exec systemctl.real \"$@\" ;;
*is-enabled*) echo enabled ;;
esac
";

/// In mounts of its own, where the clean Debian has the kernel's file systems: makes the service's
/// directories, and becomes the service, with its user and capabilities.
const SERVICE: &str = r#"
root=$1 user=$2 capabilities=$3
shift 3
for kernel in proc sys dev; do mount --rbind /$kernel "$root/$kernel" || exit 1; done
for directory in /run/detector /var/lib/detector; do
    chroot "$root" install -d -o "$user" -g "$user" -m 750 $directory || exit 1
done
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs \
    --bounding-set "-all,$capabilities" --inh-caps "$capabilities" --ambient-caps "$capabilities" "$@"
"#;

/// The package that `cargo xtask dist --debug` has made last beside the daemon under test.
pub fn package() -> anyhow::Result<PathBuf> {
    let target = binary()?;
    let target = target.ancestors().nth(2).context("no target directory")?;
    let packages = target.join("dist/debug");
    let found = fs::read_dir(&packages).into_iter().flatten().flatten();
    let found = found.map(|entry| entry.path());
    let found = found.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    let made = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let package = found.max_by_key(made);
    package.with_context(|| {
        format!(
            "no package in {}: `cargo xtask dist --debug` makes it",
            packages.display()
        )
    })
}

impl Debian {
    /// Whether there can be a package on this machine; says so if not.
    pub fn has_packages() -> bool {
        let has = Path::new("/usr/bin/dpkg-deb").exists();
        if !has {
            eprintln!("skipped: this machine has no dpkg, so there is no package");
        }
        has
    }

    /// One whose systemd seems to run.
    pub fn with_systemd() -> anyhow::Result<Self> {
        let debian = Self::unpack()?;
        let systemctl = debian.path("/usr/bin/systemctl");
        fs::rename(&systemctl, debian.path("/usr/bin/systemctl.real"))?;
        fs::write(&systemctl, SYSTEMCTL)?;
        fs::set_permissions(&systemctl, Permissions::from_mode(0o755))?;
        fs::create_dir_all(debian.path("/run/systemd/system"))?;
        fs::write(debian.path(ASKED), "")?;
        Ok(debian)
    }

    /// What systemctl was asked since the last time.
    pub fn asked(&self) -> anyhow::Result<String> {
        let asked = fs::read_to_string(self.path(ASKED))?;
        fs::write(self.path(ASKED), "")?;
        Ok(asked)
    }

    /// Installs a package as unattended upgrades do: a file that was edited is kept.
    pub fn install(&self, package: &Path) -> anyhow::Result<()> {
        fs::copy(package, self.path("/tmp/package.deb"))?;
        let words = [
            "dpkg",
            "--force-confdef",
            "--force-confold",
            "--install",
            "/tmp/package.deb",
        ];
        self.run(&words)?;
        fs::remove_file(self.path("/tmp/package.deb")).context("cannot remove the package")
    }

    /// The command that starts a service on a host of the lab, as its unit says: the program, its
    /// user and its capabilities.
    pub fn unit(&self, host: &Host, unit: &str) -> anyhow::Result<Command> {
        let text = fs::read_to_string(self.path(unit)).with_context(|| unit.to_owned())?;
        let says = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let value = lines.find_map(|(name, value)| (name == key).then_some(value));
            value.with_context(|| format!("{unit} has no {key}"))
        };
        let capabilities: Vec<String> = says("AmbientCapabilities")?
            .split_whitespace()
            .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let mut command = host.command("unshare");
        command.args(["--mount", "--", "sh", "-c", SERVICE, unit]);
        command.arg(self.path("/"));
        command.args([says("User")?, &capabilities.join(",")]);
        command.args(says("ExecStart")?.split_whitespace());
        Ok(command)
    }
}
