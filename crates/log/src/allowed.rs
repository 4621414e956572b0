//! Which files outside its folder a table may name.
//!
//! A log may name a file by an absolute path, as shallow clones do. A reader of the table then reads that file with the
//! rights of the reader, not those of the writer. Where readers do not trust all writers, a catalog accepts such paths
//! only below allowed places.

use crate::action::{Action, Add, Cdc};
use crate::error::{Result, TxnLogError};
use crate::location::Location;
use crate::path::{absolute_path, leaves_its_table};
use crate::redact::redacted;

/// The places below which a table may name files outside its folder. The default allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedPaths(Option<Vec<Location>>);

impl AllowedPaths {
    /// Only files below these URLs or paths, and below the table's own folder.
    pub fn below<'a>(places: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Ok(Self(Some(places.into_iter().map(Location::parse).collect::<Result<_>>()?)))
    }

    /// Whether there is nothing to check.
    pub fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// Rejects an action of the table at `table` that names a file outside the allowed places.
    pub fn check(&self, table: &Location, action: &Action) -> Result<()> {
        match action {
            Action::Add(add) => self.check_add(table, add),
            Action::Cdc(cdc) => self.check_cdc(table, cdc),
            _ => Ok(()),
        }
    }

    /// Checks a data file and its deletion vector in the same way.
    pub fn check_add(&self, table: &Location, add: &Add) -> Result<()> {
        self.check_path(table, &add.path)?;
        match &add.deletion_vector {
            Some(vector) if vector.storage_type == "p" => self.check_path(table, &vector.path_or_inline_dv),
            Some(vector) => vector.folder().map_or(Ok(()), |folder| self.check_path(table, folder)),
            None => Ok(()),
        }
    }

    /// Checks a file of change data in the same way.
    pub fn check_cdc(&self, table: &Location, cdc: &Cdc) -> Result<()> {
        self.check_path(table, &cdc.path)
    }

    fn check_path(&self, table: &Location, path: &str) -> Result<()> {
        let Some(allowed) = &self.0 else { return Ok(()) };
        let is_allowed = match absolute_path(path) {
            Some(url) => Location::parse(&url).is_ok_and(|file| {
                let below = |place: &Location| file.url().as_str().starts_with(place.url().as_str());
                below(table) || allowed.iter().any(below)
            }),
            None => !leaves_its_table(path),
        };
        if is_allowed {
            return Ok(());
        }
        Err(TxnLogError::invalid(format!(
            "the file {:?} of the table at {table} is outside of its folder and not below a location of paths.allowed: \
             add its location there, if its writer is trusted",
            redacted(path, &[])
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::actions::{file, with_dv};

    #[test]
    fn relative_deletion_vectors_are_inside_the_table_folder() {
        let table = Location::parse("s3://bucket/shop/orders").unwrap();
        let allowed = AllowedPaths::below(["s3://archive"]).unwrap();
        for (folder, good) in
            [("", true), ("ab", true), ("../customers", false), ("file:///etc", false), ("/etc", false)]
        {
            let add = with_dv(file("part-0.parquet", 0, 9), &format!("{folder}^-aqEH.-t@S}}K{{vb[*k^"));
            assert_eq!(allowed.check_add(&table, &add).is_ok(), good, "{folder:?}");
        }
    }

    #[test]
    fn files_are_inside_the_table_folder_or_an_allowed_path() {
        let table = Location::parse("s3://bucket/shop/orders").unwrap();
        let allowed = AllowedPaths::below(["s3://archive/2023", "/data/shared"]).unwrap();
        let check = |path: &str, good: bool| {
            let checked = allowed.check_path(&table, path);
            assert_eq!(checked.is_ok(), good, "{path}: {checked:?}");
            assert!(AllowedPaths::default().check_path(&table, path).is_ok(), "{path}");
        };
        for good in [
            "part-0.parquet",
            "at=12:00/part%20.parquet",
            "s3://bucket/shop/orders/part-0.parquet",
            "s3a://bucket/shop/orders/part-0.parquet",
            "s3://archive/2023/a/b.parquet",
            "/data/shared/x.parquet",
            "file:/data/shared/x.parquet",
            "file:///data/shared/x%20y.parquet",
        ] {
            check(good, true);
        }
        for bad in [
            "s3://bucket/shop/customers/part-0.parquet",
            "s3://bucket/shop/orders2/part-0.parquet",
            "s3://archive/20231/x.parquet",
            "/etc/passwd",
            "file:///etc/passwd",
            "file:/etc/passwd",
            "/data/shared/../secret/x.parquet",
            "file:///data/shared/%2e%2e/secret/x.parquet",
            "http://169.254.169.254/latest/meta-data",
            "//host/x",
            "nosuch:x",
            "../customers/part-0.parquet",
            "a/%2e%2e/%2E%2E/customers/part-0.parquet",
        ] {
            check(bad, false);
        }
    }
}
