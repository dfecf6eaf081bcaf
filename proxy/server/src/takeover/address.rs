//! The unix socket at which the running process can be found.

use std::fs::{Permissions, remove_file, rename, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Where the running process is found; its file is removed when this is dropped, unless it was handed over.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    file: DoorFile,
}

/// The file of a [`Door`].
#[derive(Debug)]
pub(super) struct DoorFile(Option<PathBuf>);

impl Drop for DoorFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _gone = remove_file(path);
        }
    }
}

impl DoorFile {
    /// Another process has put its own file there.
    pub(super) fn hand_over(&mut self) {
        self.0 = None;
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
        let placed =
            set_permissions(&draft, Permissions::from_mode(0o600)).and_then(|()| rename(&draft, path));
        if let Err(error) = placed {
            let _gone = remove_file(&draft);
            return Err(error);
        }
        Ok(Self { listener, file: DoorFile(Some(path.to_owned())) })
    }

    /// The socket and its file.
    pub(super) fn into_parts(self) -> (UnixListener, DoorFile) {
        (self.listener, self.file)
    }
}
