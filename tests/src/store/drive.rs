//! A drive: a directory.
//!
//! ```text
//!   drive/tmp/VERSION             a shard under way
//!   drive/OBJECT/VERSION.shard    rows of [length, CRC-32, bytes]
//!   drive/OBJECT/VERSION.meta     what makes it visible; small objects are whole in it
//! ```
//!
//! Versions are never overwritten, so that one which too few drives took hides no other.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::proto::Meta;

/// Length and CRC-32 before each shard of a row.
pub const ROW_HEADER: usize = 8;

/// The shard as it lies on a drive and goes over the wire.
pub fn framed(shard: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(ROW_HEADER + shard.len());
    framed.put_u32(shard.len() as u32);
    framed.put_u32(crc32fast::hash(shard));
    framed.extend_from_slice(shard);
    framed.freeze()
}

/// Takes one shard off the front, once it is all there.
pub fn take_shard(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    if buffer.len() < ROW_HEADER {
        return Ok(None);
    }
    let mut header = &buffer[..ROW_HEADER];
    let (length, crc) = (header.get_u32() as usize, header.get_u32());
    if buffer.len() < ROW_HEADER + length {
        return Ok(None);
    }
    buffer.advance(ROW_HEADER);
    let shard = buffer.split_to(length).freeze();
    if crc32fast::hash(&shard) != crc {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a shard differs from its checksum",
        ));
    }
    Ok(Some(shard))
}

#[derive(Clone, Debug)]
pub struct Drive {
    root: PathBuf,
}

impl Drive {
    /// Makes the directory where it is not there yet.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("tmp"))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// How many objects there are.
    pub fn objects(&self) -> io::Result<u64> {
        // Without tmp.
        Ok((fs::read_dir(&self.root)?.count() as u64).saturating_sub(1))
    }

    /// A shard file, to be written row by row and then committed.
    pub fn create(&self, version: &str) -> io::Result<File> {
        File::create(self.temporary(version)?)
    }

    /// Throws away what was not committed.
    pub fn discard(&self, version: &str) {
        if let Ok(path) = self.temporary(version) {
            let _was_never_there = fs::remove_file(path);
        }
    }

    /// Makes a version visible.
    pub fn commit(&self, meta: &Meta) -> io::Result<()> {
        let directory = self.directory(&meta.object);
        fs::create_dir_all(&directory)?;
        let name = checked(&meta.version)?;
        if meta.inline.is_empty() && meta.size > 0 {
            fs::rename(
                self.temporary(name)?,
                directory.join(format!("{name}.shard")),
            )?;
        }
        let under_way = self.root.join("tmp").join(format!("{name}.meta"));
        let mut file = File::create(&under_way)?;
        file.write_all(&meta.encode_to_vec())?;
        fs::rename(under_way, directory.join(format!("{name}.meta")))
    }

    /// All versions of an object, newest first; none when there is no such object.
    pub fn versions(&self, object: &str) -> io::Result<Vec<Meta>> {
        let entries = match fs::read_dir(self.directory(object)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut versions = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "meta")
            {
                let meta = Meta::decode(fs::read(path)?.as_slice())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if meta.inline.is_empty() || crc32fast::hash(&meta.inline) == meta.crc32 {
                    versions.push(meta);
                }
            }
        }
        versions.sort_by(|a, b| b.version.cmp(&a.version));
        Ok(versions)
    }

    /// The shard file from this row on; all rows but the last have shards of `shard_bytes`.
    pub fn read(
        &self,
        object: &str,
        version: &str,
        row: u64,
        shard_bytes: usize,
    ) -> io::Result<File> {
        let name = format!("{}.shard", checked(version)?);
        let mut file = File::open(self.directory(object).join(name))?;
        file.seek(SeekFrom::Start(row * (ROW_HEADER + shard_bytes) as u64))?;
        Ok(file)
    }

    fn directory(&self, object: &str) -> PathBuf {
        let digest = Sha256::digest(object.as_bytes());
        self.root.join(hex(&digest[..16]))
    }

    fn temporary(&self, version: &str) -> io::Result<PathBuf> {
        Ok(self.root.join("tmp").join(checked(version)?))
    }
}

/// One shard off the file; nothing at its end.
pub fn read_shard(file: &mut File) -> io::Result<Option<Bytes>> {
    let mut header = [0; ROW_HEADER];
    match file.read(&mut header)? {
        0 => return Ok(None),
        n => file.read_exact(&mut header[n..])?,
    }
    let length = (&header[..4]).get_u32() as usize;
    let mut buffer = BytesMut::with_capacity(ROW_HEADER + length);
    buffer.extend_from_slice(&header);
    buffer.resize(ROW_HEADER + length, 0);
    file.read_exact(&mut buffer[ROW_HEADER..])?;
    take_shard(&mut buffer)
}

/// A version is a file's name: what is none is refused.
fn checked(version: &str) -> io::Result<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if version.is_empty() || !version.chars().all(is_name) {
        let text = format!("{version:?} is no version");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(version)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
