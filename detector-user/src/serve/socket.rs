//! The daemon's Unix socket: who may use it, and how only one daemon gets it.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_address, connect,
            listen, socket,
        },
        stat::{Mode, fchmod},
    },
    unistd::{Gid, Group},
};
use thiserror::Error;

/// Only the owner and the group may talk to the daemon.
const SOCKET_MODE: u32 = 0o660;
/// Everyone may pass through the directory; the socket's own mode decides.
const DIRECTORY_MODE: u32 = 0o755;
const BACKLOG: i32 = 128;

/// A starting daemon holds the lock on the directory for well under a millisecond.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the socket is not available. Nothing was changed, except that a missing directory may have
/// been created.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("another detector is running on {}; stop it, or choose another --socket", path.display())]
    AlreadyRunning { path: PathBuf },
    #[error(
        "{} is there already and is {kind}, not a socket; \
         remove it, or choose another --socket", path.display()
    )]
    NotASocket { path: PathBuf, kind: &'static str },
    #[error("the socket's path {} cannot be used: {source}; it may have 107 bytes", path.display())]
    BadPath { path: PathBuf, source: io::Error },
    #[error("there is no group {group:?} to give the socket to; create it, or name another")]
    UnknownGroup { group: String },
    #[error("another start holds {}; try again", directory.display())]
    Busy { directory: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// A listening socket. Dropping it removes its file.
#[derive(Debug)]
pub struct BoundSocket {
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

/// Creates the socket at `path`: makes its directory if that is missing, and replaces a file that a
/// dead daemon left; fails if a daemon answers there. The mode is 0660; the group is `group`, if
/// given.
pub fn bind(path: &Path, group: Option<&str>) -> Result<BoundSocket, BindError> {
    let address = UnixAddr::new(path).map_err(|errno| BindError::BadPath {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let gid = group.map(find_group).transpose()?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(failed("create the directory", directory))?;
    // Without the lock, two daemons that start at once could each take the other's new socket for a
    // stale one. The lock is on the directory itself, so no lock file remains.
    let _lock = lock(directory)?;
    clear(path, &address)?;
    let listener = listen_at(path, &address)?;
    let mut file = SocketFile::adopt(path, gid)?;
    file.group = group.map(str::to_owned);
    Ok(BoundSocket { file, listener })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    move |source| BindError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn find_group(group: &str) -> Result<Gid, BindError> {
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) => Err(BindError::UnknownGroup {
            group: group.to_owned(),
        }),
        Err(errno) => Err(failed("look up the group", Path::new(group))(errno.into())),
    }
}

fn lock(directory: &Path) -> Result<File, BindError> {
    let file = File::open(directory).map_err(failed("open the directory", directory))?;
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => {
                return Err(failed("lock the directory", directory)(error));
            }
        }
    }
    Err(BindError::Busy {
        directory: directory.to_owned(),
    })
}

/// Removes a socket on which nobody listens.
fn clear(path: &Path, address: &UnixAddr) -> Result<(), BindError> {
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !file_type.is_socket() {
        return Err(BindError::NotASocket {
            path: path.to_owned(),
            kind: match () {
                () if file_type.is_dir() => "a directory",
                () if file_type.is_symlink() => "a symbolic link",
                () if file_type.is_file() => "a file",
                () => "a special file",
            },
        });
    }
    let probe = new_socket(path)?;
    match connect(std::os::fd::AsRawFd::as_raw_fd(&probe), address) {
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(failed("remove the stale socket", path))
        }
        // EAGAIN: someone listens, and the queue is full.
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::AlreadyRunning {
            path: path.to_owned(),
        }),
        Err(errno) => Err(failed("find out who listens on", path)(errno.into())),
    }
}

fn new_socket(path: &Path) -> Result<OwnedFd, BindError> {
    // Non-blocking, because a full queue must not block the start, and because tokio needs it.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| failed("create a Unix socket for", path)(errno.into()))
}

fn listen_at(path: &Path, address: &UnixAddr) -> Result<UnixListener, BindError> {
    let socket = new_socket(path)?;
    let bound = (|| {
        // The file gets the socket's own mode, less the umask, so it is never open to others, not
        // even for a moment (unix(7) does not mention this; unix_bind_bsd does it).
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind_address(std::os::fd::AsRawFd::as_raw_fd(&socket), address)?;
        listen(&socket, Backlog::new(BACKLOG)?)
    })();
    bound.map_err(|errno| failed("listen on", path)(errno.into()))?;
    Ok(UnixListener::from(socket))
}

/// The socket's file. Dropping this removes the file, unless another one has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The name of the group that may use it.
    group: Option<String>,
    identity: Option<Identity>,
}

/// Device, inode and change time: inode numbers alone are reused.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    /// Takes over a file that was just created, and gives the group access.
    fn adopt(path: &Path, group: Option<Gid>) -> Result<Self, BindError> {
        let mut file = Self {
            path: path.to_owned(),
            group: None,
            identity: identity(path).ok(),
        };
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group.as_raw()))
                .map_err(failed("give the group the socket", path))?;
            file.identity = identity(path).ok();
        }
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
            .map_err(failed("set the mode of", path))?;
        file.identity = Some(identity(path).map_err(failed("look at", path))?);
        Ok(file)
    }

    /// Whether somebody has deleted it: nobody can connect any more.
    pub(super) fn is_gone(&self) -> bool {
        fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// How to make the socket anew.
    pub(super) fn remake(&self) -> impl FnOnce() -> Result<BoundSocket, BindError> + use<> {
        let (path, group) = (self.path.clone(), self.group.clone());
        move || bind(&path, group.as_deref())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_none() || identity(&self.path).ok() != self.identity {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/detector.sock");
        (directory, path)
    }

    #[test]
    fn makes_the_directory_and_a_socket_for_owner_and_group() {
        let (_directory, path) = place();
        let bound = bind(&path, None).unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_daemon_is_refused_and_changes_nothing() {
        let (_directory, path) = place();
        let _first = bind(&path, None).unwrap();
        let error = bind(&path, None).unwrap_err();
        assert!(matches!(error, BindError::AlreadyRunning { .. }));
        let text = error.to_string();
        assert!(text.contains("another detector is running on"), "{text}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn one_of_many_starts_wins() {
        let (_directory, path) = place();
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || bind(&path, None))
            })
            .collect();
        let results: Vec<_> = starts.into_iter().map(|s| s.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _bound = bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = bind(&path, None).unwrap_err();
        assert!(matches!(
            error,
            BindError::NotASocket { kind: "a file", .. }
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let (_directory, path) = place();
        let first = bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = bind(&path, None).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_start_that_finds_the_directory_locked_says_so() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let held = File::open(path.parent().unwrap()).unwrap();
        held.lock().unwrap();
        let error = bind(&path, None).unwrap_err();
        assert!(matches!(error, BindError::Busy { .. }), "{error}");
        held.unlock().unwrap();
        bind(&path, None).unwrap();
    }

    #[test]
    fn an_unknown_group_and_a_long_path_are_named() {
        let (directory, path) = place();
        let error = bind(&path, Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("\"no-such-group\""), "{error}");
        assert!(!path.exists());
        let long = directory.path().join("x".repeat(120));
        let error = bind(&long, None).unwrap_err();
        assert!(matches!(error, BindError::BadPath { .. }), "{error}");
    }
}
