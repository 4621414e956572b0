//! Digests of the details of a version's files: two sources with different details for a file have different digests,
//! and no file is kept in memory.

use std::collections::BTreeMap;

use crate::action::Add;
use crate::path::{FileKey, SetHash};

/// Digests of the details in adds, independent of the order of the adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileDetails(BTreeMap<&'static str, SetHash>);

impl FileDetails {
    /// Required by every reader of the file.
    pub const SIZES: &str = "sizes";
    /// Required by every reader of the file.
    pub const PARTITION_VALUES: &str = "partition values";
    /// Required by every reader of the file.
    pub const DELETION_VECTORS: &str = "deletion vectors";
    /// May be omitted by other writers.
    pub const STATISTICS: &str = "statistics";
    /// May be omitted by other writers.
    pub const TAGS: &str = "tags";
    /// May be omitted by other writers.
    pub const MODIFICATION_TIMES: &str = "modification times";
    /// May be omitted by other writers.
    pub const ROW_IDS: &str = "row ids";
    /// May be omitted by other writers.
    pub const CLUSTERING: &str = "clustering providers";

    /// Adds the details of a file with its key.
    pub fn insert(&mut self, key: &FileKey, add: &Add) {
        let mut bytes = Vec::new();
        let mut say = |what, said: &[&[u8]]| {
            bytes.clear();
            bytes.extend_from_slice(&key.0);
            for part in said {
                // The length makes the boundaries between parts unambiguous.
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
            self.0.entry(what).or_default().insert_bytes(&bytes);
        };
        say(Self::SIZES, &[&add.size.to_be_bytes()]);
        say(Self::MODIFICATION_TIMES, &[&add.modification_time.to_be_bytes()]);
        // An empty value is null, and so is an absent one (PROTOCOL.md, "Partition Value Serialization").
        let values: BTreeMap<_, _> =
            add.partition_values.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
        let values = values.iter().filter(|(_, value)| !value.is_empty());
        let values: Vec<&[u8]> = values.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
        if !values.is_empty() {
            say(Self::PARTITION_VALUES, &values);
        }
        if let Some(vector) = &add.deletion_vector {
            say(Self::DELETION_VECTORS, &[&vector.size_in_bytes.to_be_bytes(), &vector.cardinality.to_be_bytes()]);
        }
        if let Some(stats) = &add.stats {
            say(Self::STATISTICS, &[stats.as_bytes()]);
        }
        let tags: BTreeMap<_, _> = add.tags.iter().flatten().collect();
        let tags = tags.iter().flat_map(|(name, value)| {
            let (is_null, value) = (if value.is_none() { "null" } else { "" }, value.as_deref().unwrap_or_default());
            [name.as_bytes(), is_null.as_bytes(), value.as_bytes()]
        });
        let tags: Vec<&[u8]> = tags.collect();
        if !tags.is_empty() {
            say(Self::TAGS, &tags);
        }
        if add.base_row_id.is_some() || add.default_row_commit_version.is_some() {
            let text = format!("{:?} {:?}", add.base_row_id, add.default_row_commit_version);
            say(Self::ROW_IDS, &[text.as_bytes()]);
        }
        if let Some(provider) = &add.clustering_provider {
            say(Self::CLUSTERING, &[provider.as_bytes()]);
        }
    }

    /// The first kind of detail that differs between `self` and `other`. Kinds in `may_lack` may be absent from all
    /// files of `other`.
    pub fn difference(&self, other: &Self, may_lack: &[&str]) -> Option<&'static str> {
        let all = self.0.keys().chain(other.0.keys().filter(|what| !self.0.contains_key(*what)));
        let lacks = |what: &&str| !other.0.contains_key(what) && may_lack.contains(what);
        all.copied().find(|what| self.0.get(what) != other.0.get(what) && !lacks(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::actions::file;

    fn of(adds: &[Add]) -> FileDetails {
        let mut details = FileDetails::default();
        adds.iter().for_each(|add| details.insert(&add.key(), add));
        details
    }

    #[test]
    fn differing_details_are_named() {
        let (a, b) = (file("a", 0, 9), file("b", 10, 19));
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone()]), "in any order");
        let check = |other: &dyn Fn(&mut Add), want: &str| {
            let mut changed = b.clone();
            other(&mut changed);
            let (ours, other) = (of(&[a.clone(), b.clone()]), of(&[a.clone(), changed]));
            assert_eq!(ours.difference(&other, &[]), Some(want));
        };
        let with = |value: Option<&str>| [("p".to_string(), value.map(String::from))].into_iter().collect();
        check(&|add| add.size += 1, "sizes");
        check(&|add| add.modification_time += 1, "modification times");
        check(&|add| add.stats = Some(r#"{"numRecords":1}"#.into()), "statistics");
        check(&|add| add.stats = None, "statistics");
        check(&|add| add.partition_values = with(Some("x")), "partition values");
        check(&|add| add.tags = Some(with(None)), "tags");
        check(&|add| add.base_row_id = Some(7), "row ids");
        check(&|add| add.clustering_provider = Some("liquid".into()), "clustering providers");
        // Details belong to their file.
        let swapped = [Add { stats: b.stats.clone(), ..a.clone() }, Add { stats: a.stats.clone(), ..b.clone() }];
        assert_eq!(of(&[a.clone(), b.clone()]).difference(&of(&swapped), &[]), Some("statistics"));

        let valued = |partition_values| of(&[Add { partition_values, ..a.clone() }]);
        for null in [with(None), with(Some(""))] {
            assert_eq!(valued(null), valued(Default::default()), "null is null");
        }
        let without = Add { stats: None, ..a.clone() };
        let (ours, other) = (of(&[a]), of(&[without]));
        assert_eq!(ours.difference(&other, &[FileDetails::STATISTICS]), None);
        assert_eq!(other.difference(&ours, &[FileDetails::STATISTICS]), Some("statistics"));
    }
}
