//! The directory of row tables.

use std::io::Write;
use std::path::{Path, PathBuf};

use deltalakedb_log::{Result, TxnLogError};
use uuid::Uuid;

/// The file in a data directory with its place and the id of its catalog.
const PLACE: &str = "_place";

/// A data directory, which is created if it does not exist.
///
/// When it is dropped, the folders that it created are removed if they are empty, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The folders that were created, each before the one that contains it.
    created: Vec<PathBuf>,
}

impl DataDirectory {
    /// The data directory `folder`, which is created with its parents if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](deltalakedb_log::ErrorKind::Invalid) if it is not a directory, or cannot be created.
    pub fn create(folder: &Path) -> Result<Self> {
        let unusable = |e| {
            let message = format!("the data directory {} cannot be used", folder.display());
            TxnLogError::invalid(message).with_source(e)
        };
        let path = std::path::absolute(folder).map_err(unusable)?;
        let created = path.ancestors().take_while(|folder| !folder.exists()).map(PathBuf::from).collect();
        let mut directory = Self { path, created };
        std::fs::create_dir_all(&directory.path).map_err(unusable)?;
        // A power failure would remove them, with all that is durable in them.
        for parent in directory.created.iter().filter_map(|folder| folder.parent()) {
            std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable)?;
        }
        directory.path = directory.path.canonicalize().map_err(unusable)?;
        Ok(directory)
    }

    /// The absolute path, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file of the catalog that the directory has if no other is given.
    pub fn own_catalog(&self) -> PathBuf {
        self.path.join("catalog.db")
    }

    /// Keeps the directory.
    pub fn keep(mut self) {
        self.created.clear();
    }

    /// Keeps the place of the directory and the id of its catalog in a file, and refuses others later: rows that are hot
    /// belong to the tables of this catalog, whose owner is this folder.
    pub(crate) fn check_place(&self, catalog: Uuid) -> Result<()> {
        let (folder, file) = (&self.path, self.path.join(PLACE));
        let unusable = |e| TxnLogError::invalid(format!("{} cannot be used", file.display())).with_source(e);
        let place = format!("{catalog}\n{}\n", folder.display());
        let known = match std::fs::read_to_string(&file) {
            Ok(known) => known,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut new = tempfile::NamedTempFile::new_in(folder).map_err(unusable)?;
                new.write_all(place.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(unusable)?;
                new.persist(&file).map_err(|e| unusable(e.error))?;
                return std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable);
            }
            Err(e) => return Err(unusable(e)),
        };
        if known == place {
            return Ok(());
        }
        let what = if known.starts_with(&catalog.to_string()) {
            "was moved, and its tables are known by their old place: move it back"
        } else {
            "has its tables in another catalog: open it with that"
        };
        Err(TxnLogError::invalid(format!("the data directory {} {what}", folder.display())))
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        for folder in &self.created {
            if let Err(e) = std::fs::remove_dir(folder) {
                tracing::debug!(folder = %folder.display(), error = %e, "a folder stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_created_are_removed_if_they_are_empty_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = |below: &str| dir.path().join(below);
        let create = |below: &str| DataDirectory::create(&path(below)).unwrap();
        std::fs::create_dir(path("old")).unwrap();
        drop(create("old"));
        assert!(path("old").exists());
        drop(create("old/a/b"));
        assert!(path("old").exists() && !path("old/a").exists());
        create("a/b").keep();
        assert!(path("a/b").exists());
        let used = create("c/d");
        assert!(used.own_catalog().starts_with(used.path()));
        std::fs::write(used.own_catalog(), "").unwrap();
        drop(used);
        assert!(path("c/d/catalog.db").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for below in ["file", "file/a", "a/../file/b"] {
            let e = DataDirectory::create(&dir.path().join(below)).unwrap_err().to_string();
            assert!(e.contains("the data directory") && e.contains("cannot be used"), "{below}: {e}");
            assert_eq!(dir.path().read_dir().unwrap().count(), 1, "{below}");
        }
    }
}
