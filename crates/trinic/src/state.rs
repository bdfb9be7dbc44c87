//! The state directory: one card's files, sockets and logs, private to its owner.
//!
//! ```text
//! DIR/                 0700
//!   control.lock       held by the control process as long as it lives
//!   control.sock       admin socket of control (`trinic ls` and friends), 0600
//!   control.log        log of a detached control process
//!   endpoint.json      where the EC2 API listens, and control's process id
//!   store.redb         the model, durable (absent with --ephemeral)
//!   card.sock          the card listens here for control, 0600
//!   card.pid           process id of the card
//!   card.log           log of the card
//!   card/              the card's own files: instances, console output, sockets
//!   volumes/           what virtual machines wrote to their disks, until they are terminated
//!   accelerator.json   how QEMU executes instructions here, found out once for a boot of the host
//! ```
//!
//! The default is a directory that survives a reboot, because an acknowledged API call is durable:
//! `/var/lib/trinic` for root, else `$XDG_STATE_HOME/trinic`, else `~/.local/state/trinic`, else
//! `/tmp/trinic-UID` for a user without a home. A Unix socket's path has at most 107 bytes, hence the limit
//! on the directory's length.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The state directory of one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file operation failed.
    #[error("Cannot use the state directory {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else's directory: its sockets could not be trusted.
    #[error("State directory {path} belongs to user {owner}, not to {user}; choose another with --state")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The caller.
        user: u32,
    },
    /// Sockets in it would have paths that the kernel refuses.
    #[error(
        "State directory {path} has {length} bytes, {limit} is the most for its sockets; choose a shorter one with --state"
    )]
    TooLong {
        /// The directory.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest allowed length in bytes.
        limit: usize,
    },
}

/// What `endpoint.json` says of a running control process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `http://127.0.0.1:4566`.
    pub url: String,
    /// Process id of control.
    pub pid: u32,
}

impl StateDir {
    /// The directory that `--state` or `TRINIC_STATE` named, or the default. Touches nothing.
    pub fn resolve(chosen: Option<PathBuf>) -> Self {
        let root = chosen.unwrap_or_else(default_root);
        let root = std::path::absolute(&root).unwrap_or(root);
        Self { root }
    }

    /// Makes the directory, private to its owner, or checks the one that is there.
    ///
    /// # Errors
    ///
    /// When it cannot be made, belongs to somebody else, or is too long for Unix sockets.
    pub fn prepare(&self) -> Result<(), StateError> {
        let length = self.root.as_os_str().len();
        if length > ROOT_LIMIT_BYTES {
            return Err(StateError::TooLong {
                path: self.root.clone(),
                length,
                limit: ROOT_LIMIT_BYTES,
            });
        }
        let io = |source| StateError::Io {
            path: self.root.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(io)?;
        let metadata = fs::symlink_metadata(&self.root).map_err(io)?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            return Err(StateError::Foreign {
                path: self.root.clone(),
                owner: metadata.uid(),
                user,
            });
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700)).map_err(io)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held by the control process.
    pub fn control_lock(&self) -> PathBuf {
        self.root.join("control.lock")
    }

    /// Admin socket of control.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Log of a detached control process.
    pub fn control_log(&self) -> PathBuf {
        self.root.join("control.log")
    }

    /// The durable model.
    pub fn store(&self) -> PathBuf {
        self.root.join("store.redb")
    }

    /// The card listens here.
    pub fn card_socket(&self) -> PathBuf {
        self.root.join("card.sock")
    }

    /// Process id of the card.
    pub fn card_pid(&self) -> PathBuf {
        self.root.join("card.pid")
    }

    /// Log of the card.
    pub fn card_log(&self) -> PathBuf {
        self.root.join("card.log")
    }

    /// The card's own files.
    pub fn card_dir(&self) -> PathBuf {
        self.root.join("card")
    }

    /// Disks of virtual machines: they outlive their machine, the card and `trinic down`.
    pub fn volumes_dir(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Where the API of a running control process listens; `None` when there is no such file.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let bytes = fs::read(self.endpoint_file()).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Says where the API listens, for `trinic env` and scripts.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_endpoint(&self, endpoint: &Endpoint) -> io::Result<()> {
        let next = self.root.join("endpoint.json.new");
        fs::write(&next, serde_json::to_vec(endpoint)?)?;
        fs::rename(next, self.endpoint_file())
    }

    /// Forgets the endpoint at a clean end.
    pub fn remove_endpoint(&self) {
        // Absent is as good as removed, and nothing depends on the file's absence.
        let _ = fs::remove_file(self.endpoint_file());
    }

    /// Opens a log of this directory to add to it. One that has grown long becomes `NAME.old` first, so two
    /// times [`LOG_LIMIT_BYTES`] is about the most that logs take at a start.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open_log(path: &Path) -> io::Result<File> {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
            let mut old = path.as_os_str().to_owned();
            old.push(".old");
            fs::rename(path, old)?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    }

    fn endpoint_file(&self) -> PathBuf {
        self.root.join("endpoint.json")
    }
}

fn default_root() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return PathBuf::from("/var/lib/trinic");
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return state.join("trinic");
    }
    match absolute("HOME").filter(|home| home.is_dir()) {
        Some(home) => home.join(".local/state/trinic"),
        None => PathBuf::from(format!("/tmp/trinic-{}", user.as_raw())),
    }
}

/// A log above this is put aside at the next start.
pub const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// `sun_path` has 108 bytes with its zero; the longest name of a socket is `/control.sock`.
/// Source: [unix(7)].
const ROOT_LIMIT_BYTES: usize = 107 - "/control.sock".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepare_makes_a_private_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::resolve(Some(dir.path().join("a/b")));
        state.prepare().unwrap();
        assert_eq!(fs::metadata(state.root()).unwrap().mode() & 0o777, 0o700);
        // A second card on the same directory is refused by its lock, not here.
        state.prepare().unwrap();
    }

    #[test]
    fn long_directories_are_refused_with_their_limit() {
        let state = StateDir::resolve(Some(PathBuf::from(format!("/tmp/{}", "x".repeat(100)))));
        let error = state.prepare().unwrap_err();
        assert!(
            matches!(error, StateError::TooLong { length: 105, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_long_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.log");
        fs::write(&path, "old").unwrap();
        drop(StateDir::open_log(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(LOG_LIMIT_BYTES + 1)
            .unwrap();
        drop(StateDir::open_log(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(
            fs::metadata(dir.path().join("card.log.old")).unwrap().len(),
            LOG_LIMIT_BYTES + 1
        );
    }

    #[test]
    fn endpoint_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::resolve(Some(dir.path().to_path_buf()));
        assert_eq!(state.endpoint(), None);
        let endpoint = Endpoint {
            url: "http://127.0.0.1:4566".into(),
            pid: 7,
        };
        state.write_endpoint(&endpoint).unwrap();
        assert_eq!(state.endpoint(), Some(endpoint));
        state.remove_endpoint();
        assert_eq!(state.endpoint(), None);
    }
}
