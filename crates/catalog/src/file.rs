//! The file of an embedded catalog. It says where every table is and what is in it, so it belongs to its owner alone,
//! unless told otherwise.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The permissions of a new file: read and written by its owner.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// Makes an empty file with these permissions, where there is none.
pub(crate) fn make(path: &Path, mode: u32) -> io::Result<()> {
    // Never more than the owner's, not even for a moment.
    match File::options().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(mode)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}
