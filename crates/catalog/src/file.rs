//! The file of an embedded catalog. It contains the location and content of every table, so only its owner may access
//! it by default.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The permissions of a new file: read and written by its owner.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// Creates an empty file with these permissions if there is none.
pub(crate) fn create_empty(path: &Path, mode: u32) -> io::Result<()> {
    // At no moment does the file have more permissions than the owner's.
    match File::options().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(mode)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}
