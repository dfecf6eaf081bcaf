//! The unix socket at which the running process can be found.

use std::fs::{Permissions, remove_file, rename, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often to look whether another process has put its file there.
const LOOK: Duration = Duration::from_millis(5);

/// Where the running process is found; its file is removed when this is dropped, unless it was handed over.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    file: DoorFile,
}

/// The file of a [`Door`].
#[derive(Debug)]
pub(super) struct DoorFile {
    path: PathBuf,
    inode: u64,
    owner: Owner,
}

/// Who removes a file.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    This,
    AnotherProcess,
}

impl Drop for DoorFile {
    fn drop(&mut self) {
        if self.owner == Owner::This {
            let _gone = remove_file(&self.path);
        }
    }
}

impl DoorFile {
    /// Another process puts its own file there.
    pub(super) fn hand_over(&mut self) {
        self.owner = Owner::AnotherProcess;
    }

    /// Returns when it has. Cancel safe.
    pub(super) async fn replaced(&self) {
        while symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Door {
    /// Takes the place of whatever is there: nobody answered, or the one that did has left.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
        let listener = UnixListener::bind(&draft)?;
        let mut file = DoorFile { path: draft, inode: 0, owner: Owner::This };
        set_permissions(&file.path, Permissions::from_mode(0o600))?;
        file.inode = symlink_metadata(&file.path)?.ino();
        rename(&file.path, path)?;
        path.clone_into(&mut file.path);
        Ok(Self { listener, file })
    }

    /// The socket and its file.
    pub(super) fn into_parts(self) -> (UnixListener, DoorFile) {
        (self.listener, self.file)
    }
}
