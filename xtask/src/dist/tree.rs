//! The files of a package, as they lie on the machine where it is installed.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::invocation::Invocation;

#[derive(Debug)]
pub(super) struct Tree<'a> {
    root: &'a Path,
}

impl<'a> Tree<'a> {
    /// An empty tree; one that is there already is removed.
    pub(super) fn new(root: &'a Path) -> Result<Self> {
        match fs::remove_dir_all(root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", root.display()));
            }
            _ => {}
        }
        let tree = Self::at(root);
        tree.directory("")?;
        Ok(tree)
    }

    /// The tree that is there.
    pub(super) fn at(root: &'a Path) -> Self {
        Self { root }
    }

    /// A directory of the tree, with all above it. Its mode does not depend on the umask.
    pub(super) fn directory(&self, path: &str) -> Result<PathBuf> {
        let mut directory = self.root.to_owned();
        fs::create_dir_all(&directory)?;
        set_mode(&directory, 0o755)?;
        for part in Path::new(path) {
            directory.push(part);
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            set_mode(&directory, 0o755)?;
        }
        Ok(directory)
    }

    /// Where a file lies; its directory is made.
    pub(super) fn path(&self, path: &str) -> Result<PathBuf> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.directory(directory)?.join(name))
    }

    pub(super) fn put(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = self.path(path)?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        set_mode(&file, mode)
    }

    /// Compresses a file, or all files of a directory, without times or names.
    pub(super) fn compress(&self, path: &str) -> Result<()> {
        let path = self.root.join(path);
        for file in files(&path)? {
            set_mode(&file, 0o644)?;
        }
        let gzip = Invocation::new("gzip").args(["-9", "--no-name", "--recursive"]);
        let gzip = gzip.args([&path]);
        ensure!(gzip.quiet(), "cannot compress {}", path.display());
        Ok(())
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// The files at or below a path.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        found.extend(files(&entry?.path())?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_tree_is_replaced_and_modes_are_as_asked() {
        let scratch = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        let tree = Tree::new(&scratch).unwrap();
        tree.put("usr/bin/old", b"", 0o755).unwrap();
        let tree = Tree::new(&scratch).unwrap();
        tree.put("etc/new", b"text", 0o640).unwrap();
        let found = files(&scratch).unwrap();
        let mode = fs::metadata(&found[0]).unwrap().permissions().mode();
        fs::remove_dir_all(&scratch).unwrap();
        assert_eq!(found, [scratch.join("etc/new")]);
        assert_eq!(mode & 0o777, 0o640);
    }
}
