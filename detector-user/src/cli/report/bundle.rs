//! The file: a gzipped tar that only its owner can read.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use flate2::{Compression, write::GzEncoder};
use tempfile::NamedTempFile;

use crate::clock;

/// One file of the bundle.
#[derive(Debug)]
pub(super) struct Part {
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    pub bytes: Vec<u8>,
    /// Why it could not be had.
    pub missing: Option<String>,
}

impl Part {
    /// A part, or a file that says why it is missing.
    pub(super) fn new(
        name: &'static str,
        about: &'static str,
        found: Result<String, String>,
    ) -> Self {
        let (text, missing) = match found {
            Ok(text) => (text, None),
            Err(why) => {
                let why = why.trim().trim_start_matches("error: ").replace('\n', " ");
                (format!("missing: {why}\n"), Some(why))
            }
        };
        Self {
            name,
            about,
            bytes: text.into_bytes(),
            missing,
        }
    }
}

/// Fails if the file is there already and may not be overwritten.
pub(super) fn is_free(path: &Path, force: bool) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(_) if !force => Err(exists(path)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow!(
        "{} is there already: name another file (--to), or say --force to overwrite it",
        path.display()
    )
}

/// Writes the parts into a directory of this name. The file appears when it is complete.
pub(super) fn write(path: &Path, name: &str, parts: &[Part], force: bool) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
    // Temporary files are created with the mode 0600.
    let mut file = NamedTempFile::new_in(directory).with_context(cannot)?;
    compress(&mut file, name, parts).with_context(cannot)?;
    let persisted = match force {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    match persisted {
        Ok(_) => Ok(()),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(failed) => Err(failed.error).with_context(cannot),
    }
}

fn compress(file: &mut NamedTempFile, name: &str, parts: &[Part]) -> io::Result<()> {
    let mut tar = tar::Builder::new(GzEncoder::new(&mut *file, Compression::default()));
    let now = u64::try_from(clock::present().as_second()).unwrap_or_default();
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        tar.append_data(&mut header, Path::new(name).join(part.name), &*part.bytes)?;
    }
    tar.into_inner()?.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _};

    use flate2::read::GzDecoder;

    use super::*;

    fn parts() -> Vec<Part> {
        vec![
            Part::new("a.txt", "one", Ok("some text\n".into())),
            Part::new("b.txt", "other", Err("error: not there\n".into())),
        ]
    }

    fn unpacked(path: &Path) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(path).unwrap()));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        entries.collect()
    }

    #[test]
    fn the_parts_come_out_as_they_went_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.tar.gz");
        write(&path, "report", &parts(), false).unwrap();
        assert_eq!(
            unpacked(&path),
            [
                ("report/a.txt".to_owned(), "some text\n".to_owned()),
                ("report/b.txt".to_owned(), "missing: not there\n".to_owned()),
            ]
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_overwritten_by_force_only_and_is_then_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.tar.gz");
        fs::write(&path, "precious").unwrap();
        for refused in [is_free(&path, false), write(&path, "r", &parts(), false)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("--force"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        is_free(&path, true).unwrap();
        write(&path, "r", &parts(), true).unwrap();
        assert_eq!(unpacked(&path).len(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
