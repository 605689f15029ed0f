//! Debian's kernels for cloud machines: which there are, and how they get into the cache.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt::{Apt, Mirror},
    arch::Arch,
};
use crate::invocation::Invocation;

/// The suites that have kernels, with the label of their archive. These lists are small.
const SUITES: [(&str, &str); 4] = [
    ("Debian-Security", "bullseye-security"),
    ("Debian-Security", "bookworm-security"),
    ("Debian-Security", "trixie-security"),
    ("Debian", "trixie-backports"),
];

/// The archive, with private lists.
#[derive(Debug)]
pub struct Archive {
    cache: PathBuf,
    arch: Arch,
    apt: Apt,
    offers: Vec<Offer>,
}

/// A kernel that the lists name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    /// As `uname -r` says it.
    release: String,
    version: Vec<u32>,
    /// The packages that contain it; `None` if the archive no longer has its modules.
    packages: Option<Vec<String>>,
}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub release: String,
    /// Upstream's version, such as 6.1.192.
    pub version: String,
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
    /// Sorts kernels by their age.
    pub order: Vec<u32>,
}

impl Archive {
    /// Fetches the lists.
    pub fn open(cache: &Path, arch: Arch) -> Result<Self> {
        let folder = match arch {
            Arch::Amd64 => "apt",
            Arch::Arm64 => "apt-arm64",
        };
        let apt = Apt::open(cache.join(folder), arch, &suites()?)?;
        let dump = apt.command("apt-cache").args(["dumpavail"]).output();
        let offers = offers(&dump.context("cannot read the lists of kernels")?, arch);
        Ok(Self {
            cache: cache.to_owned(),
            arch,
            apt,
            offers,
        })
    }

    /// The newest kernel of a line such as 6.1, or of all for `newest`.
    pub fn fetch(&self, name: &str) -> Result<Kernel> {
        let offer = choose(&self.offers, name)?;
        let release = &offer.release;
        let folder = self.cache.join(release);
        if !folder.is_dir() {
            self.unpack(offer, &folder)?;
            self.forget_others(offer)?;
        }
        let modules = ["lib/modules", "usr/lib/modules"].map(|at| folder.join(at).join(release));
        let images = [
            folder.join(format!("boot/vmlinuz-{release}")),
            folder.join(format!("usr/lib/modules/{release}/vmlinuz")),
        ];
        let there = |paths: [PathBuf; 2]| paths.into_iter().find(|path| path.exists());
        let version: Vec<String> = offer.version.iter().take(3).map(u32::to_string).collect();
        Ok(Kernel {
            release: release.clone(),
            version: version.join("."),
            image: there(images).context("the package has no kernel")?,
            modules: there(modules).context("the package has no modules")?,
            order: offer.version.clone(),
        })
    }

    fn unpack(&self, offer: &Offer, folder: &Path) -> Result<()> {
        let packages = offer.packages.as_deref().unwrap_or_default();
        let unfinished = self.cache.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        let script = r#"cd "$1" && shift && "$@" && for deb in *.deb; do dpkg-deb -x "$deb" . && rm "$deb" || exit 1; done"#;
        let download = self
            .apt
            .command("apt-get")
            .args(["download", "--quiet=2"])
            .args(packages);
        Invocation::new("sh")
            .args(["-c", script, "unpack"])
            .args([&unfinished])
            .args(download.line())
            .run(true)?;
        fs::rename(&unfinished, folder)?;
        Ok(())
    }

    /// Removes older kernels of the same line: the cache holds one of each.
    fn forget_others(&self, offer: &Offer) -> Result<()> {
        for entry in fs::read_dir(&self.cache)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kernel = name.ends_with(self.arch.flavour()) && name != offer.release;
            if is_kernel && numbers(&name)[..2] == offer.version[..2] {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The suites, on the mirrors of this machine.
fn suites() -> Result<Vec<Mirror>> {
    let mirrors = Mirror::in_use()?;
    let of = |(label, suite): (&str, &str)| {
        let mirror = mirrors.iter().find(|mirror| mirror.label == label);
        let mirror = mirror.with_context(|| format!("no mirror of {label} is in use here"))?;
        Ok(Mirror {
            suite: suite.to_owned(),
            ..mirror.clone()
        })
    };
    SUITES.into_iter().map(of).collect()
}

fn choose<'a>(offers: &'a [Offer], name: &str) -> Result<&'a Offer> {
    let line = numbers(name);
    let mut meant: Vec<&Offer> = match name {
        super::NEWEST => offers.iter().collect(),
        _ => offers
            .iter()
            .filter(|offer| offer.version.starts_with(&line))
            .collect(),
    };
    if meant.is_empty() || line.is_empty() && name != super::NEWEST {
        bail!("Debian has none of this version");
    }
    meant.retain(|offer| offer.packages.is_some());
    let newest = meant
        .into_iter()
        .max_by(|one, other| one.version.cmp(&other.version));
    newest.context("Debian no longer has its modules")
}

/// The kernels in the output of `apt-cache dumpavail`.
fn offers(dump: &str, arch: Arch) -> Vec<Offer> {
    let field = |stanza: &str, name: &str| {
        let mut lines = stanza.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default().to_owned()
    };
    let all: Vec<(String, String)> = dump
        .split("\n\n")
        .map(|stanza| (field(stanza, "Package"), field(stanza, "Version")))
        .collect();
    let names: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let offer = |(name, version): &(String, String)| {
        let release = name.strip_prefix("linux-image-")?;
        // Not what only depends on the newest of a line.
        let is_kernel = release.ends_with(arch.flavour()) && release.split('.').count() > 2;
        is_kernel.then(|| Offer {
            release: release.to_owned(),
            version: numbers(version),
            packages: packages(&names, name, release),
        })
    };
    all.iter().filter_map(offer).collect()
}

/// From 6.19 on, kernel and modules are packages of their own.
fn packages(names: &BTreeSet<&str>, image: &str, release: &str) -> Option<Vec<String>> {
    let parts = ["binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    let there = parts
        .iter()
        .filter(|part| names.contains(part.as_str()))
        .count();
    match there {
        0 => Some(vec![image.to_owned()]),
        1 => None,
        _ => Some(parts.to_vec()),
    }
}

/// The numbers of a version, in order.
fn numbers(version: &str) -> Vec<u32> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "Package: linux-image-6.1.0-50-cloud-amd64\nVersion: 6.1.176-1\n\n\
        Package: linux-image-6.1.0-57-cloud-amd64\nVersion: 6.1.192-3\n\n\
        Package: linux-image-6.1.0-57-cloud-amd64-unsigned\nVersion: 6.1.192-3\n\n\
        Package: linux-image-6.1-cloud-amd64\nVersion: 6.1.192-3\n\n\
        Package: linux-image-6.12.9+deb13-cloud-amd64\nVersion: 6.12.9-1\n\n\
        Package: linux-image-7.0.13+deb13-cloud-amd64\nVersion: 7.0.13-1\n\n\
        Package: linux-binary-7.0.13+deb13-cloud-amd64\nVersion: 7.0.13-1\n\n\
        Package: linux-image-6.19.1+deb13-cloud-amd64\nVersion: 6.19.1-1\n\n\
        Package: linux-binary-6.19.1+deb13-cloud-amd64\nVersion: 6.19.1-1\n\n\
        Package: linux-modules-6.19.1+deb13-cloud-amd64\nVersion: 6.19.1-1\n";

    #[test]
    fn the_newest_of_a_line_is_chosen() {
        let offers = offers(DUMP, Arch::Amd64);
        let chosen = |name| choose(&offers, name).map(|offer| offer.release.as_str());
        assert_eq!(chosen("6.1").unwrap(), "6.1.0-57-cloud-amd64");
        assert_eq!(chosen("6.12").unwrap(), "6.12.9+deb13-cloud-amd64");
        assert_eq!(chosen("newest").unwrap(), "6.19.1+deb13-cloud-amd64");
        let error = |name| choose(&offers, name).unwrap_err().to_string();
        assert!(error("7.0").contains("modules"), "{}", error("7.0"));
        for unknown in ["5.4", "old"] {
            assert!(error(unknown).contains("none"), "{}", error(unknown));
        }
    }

    #[test]
    fn a_kernel_for_another_processor_is_none() {
        let dump = "Package: linux-image-6.12.9+deb13-cloud-arm64\nVersion: 6.12.9-1\n\n";
        assert!(choose(&offers(dump, Arch::Amd64), "6.12").is_err());
        assert!(choose(&offers(dump, Arch::Arm64), "6.12").is_ok());
    }

    #[test]
    fn kernel_and_modules_may_be_packages_of_their_own() {
        let offers = offers(DUMP, Arch::Amd64);
        let packages = |name| choose(&offers, name).unwrap().packages.clone().unwrap();
        assert_eq!(packages("6.12"), ["linux-image-6.12.9+deb13-cloud-amd64"]);
        let apart =
            ["linux-binary-", "linux-modules-"].map(|of| format!("{of}6.19.1+deb13-cloud-amd64"));
        assert_eq!(packages("6.19"), apart);
    }
}
