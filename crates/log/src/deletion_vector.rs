//! The files that an action names: its own, and that of its deletion vector (PROTOCOL.md, "Deletion Vectors").

use std::borrow::Cow;
use std::iter;

use uuid::Uuid;

use crate::action::{Add, DeletionVector, Remove};
use crate::error::{Result, TxnLogError};
use crate::path::absolute_path;

/// The characters at the end of a relative vector that are the id in the name of its file.
const ID: usize = 20;

impl DeletionVector {
    /// The folder below the table in which the vector's file is: the prefix of a relative path before the 20 characters
    /// of the file name. `None` when the file is in the table's folder itself, and for a vector that is not relative.
    pub fn folder(&self) -> Option<&str> {
        let is_relative = self.storage_type == "u";
        let end = self.path_or_inline_dv.len().saturating_sub(ID);
        self.path_or_inline_dv.get(..end).filter(|folder| is_relative && !folder.is_empty())
    }

    /// The path of its file, as an action would name it; `None` for a vector that is in the log.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when it does not say where it is.
    pub fn file(&self) -> Result<Option<String>> {
        let path = &self.path_or_inline_dv;
        let file = match self.storage_type.as_str() {
            "i" => return Ok(None),
            "p" => absolute_path(path),
            "u" => {
                let id = path.len().checked_sub(ID).and_then(|at| path.get(at..));
                // Not out of the table's folder.
                let id = id.filter(|_| !self.folder().is_some_and(|folder| folder.split('/').any(|part| part == "..")));
                let folder = self.folder().map_or(String::new(), |folder| format!("{folder}/"));
                let id = id.and_then(|id| Uuid::from_slice(&z85::decode(id).ok()?).ok());
                id.map(|id| format!("{folder}deletion_vector_{id}.bin"))
            }
            _ => None,
        };
        let unreadable = || {
            let kind = &self.storage_type;
            TxnLogError::corrupt(format!("the deletion vector {path:?} of type {kind:?} has an invalid path"))
        };
        file.map(Some).ok_or_else(unreadable)
    }
}

impl Add {
    /// The paths of the files that it names: its own, and that of its deletion vector, if it has one in a file.
    pub fn paths(&self) -> Result<impl Iterator<Item = Cow<'_, str>>> {
        paths(&self.path, self.deletion_vector.as_ref())
    }
}

impl Remove {
    /// The paths of the files that it names: its own, and that of its deletion vector, if it has one in a file.
    pub fn paths(&self) -> Result<impl Iterator<Item = Cow<'_, str>>> {
        paths(&self.path, self.deletion_vector.as_ref())
    }
}

fn paths<'a>(own: &'a str, vector: Option<&DeletionVector>) -> Result<impl Iterator<Item = Cow<'a, str>> + use<'a>> {
    let vector = vector.map(DeletionVector::file).transpose()?.flatten();
    Ok(iter::once(Cow::from(own)).chain(vector.map(Cow::from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_deletion_vector_follows_the_protocol() {
        let file = |kind: &str, path: &str| {
            let vector = DeletionVector {
                storage_type: kind.into(),
                path_or_inline_dv: path.into(),
                offset: Some(4),
                size_in_bytes: 40,
                cardinality: 6,
                extra: Default::default(),
            };
            vector.file()
        };
        // The examples of PROTOCOL.md.
        assert_eq!(
            file("u", "ab^-aqEH.-t@S}K{vb[*k^").unwrap().as_deref(),
            Some("ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin")
        );
        assert_eq!(
            file("p", "s3://mytable/deletion%20vector.bin").unwrap().as_deref(),
            Some("s3://mytable/deletion%20vector.bin")
        );
        assert_eq!(file("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L").unwrap(), None);
        for (kind, path) in [
            ("u", "short"),
            ("u", "a/..^-aqEH.-t@S}K{vb[*k^"),
            ("u", "ab~-aqEH.-t@S}K{vb[*k^"),
            ("p", "below.bin"),
            ("x", "s3://a/b"),
        ] {
            let error = file(kind, path).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
