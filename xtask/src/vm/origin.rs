//! Where a guest's programs come from: this machine, or Debian's packages for another processor.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{
    arch::Arch,
    arm64::{Root, TARGET},
};
use crate::{invocation::Invocation, workspace::Workspace};

#[derive(Clone, Debug)]
pub enum Origin {
    Here,
    Arm64(Root),
}

impl Origin {
    pub const fn arch(&self) -> Arch {
        match self {
            Self::Here => Arch::Amd64,
            Self::Arm64(_) => Arch::Arm64,
        }
    }

    /// This build, for the guest's processor.
    pub fn builds(&self, cargo: Invocation) -> Invocation {
        match self {
            Self::Here => cargo,
            Self::Arm64(root) => root.builds(cargo),
        }
    }

    /// The directory of what [`Self::builds`] builds, without optimisation.
    pub fn built(&self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Here => workspace.in_target("debug"),
            Self::Arm64(_) => workspace.in_target(TARGET).join("debug"),
        }
    }

    pub fn command(&self, name: &str) -> Result<PathBuf> {
        match self {
            Self::Here => {
                let found = crate::facts::find_command(name, &crate::facts::cache_dir()?);
                found.with_context(|| format!("{name} is not installed"))
            }
            Self::Arm64(root) => root.command(name),
        }
    }

    /// The libraries of these programs, each with its place in a guest.
    pub fn libraries(&self, programs: &[&Path]) -> Result<Vec<(PathBuf, PathBuf)>> {
        match self {
            Self::Here => {
                let all = programs.iter().flat_map(|program| libraries_of(program));
                let placed = |library: PathBuf| {
                    let place = library.strip_prefix("/")?.to_owned();
                    Ok((library, place))
                };
                all.map(placed).collect()
            }
            Self::Arm64(root) => root.libraries(programs),
        }
    }

    pub const fn strip(&self) -> &'static str {
        match self {
            Self::Here => "strip",
            Self::Arm64(_) => "aarch64-linux-gnu-strip",
        }
    }
}

/// The files of a program's libraries; none if it has all that it needs.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let told = Invocation::new("ldd").args([program]).output();
    let told = told.unwrap_or_default();
    let words = told
        .lines()
        .filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    words.map(PathBuf::from).collect()
}
