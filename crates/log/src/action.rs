//! The actions of a Delta log (PROTOCOL.md, "Actions"): typed fields for what is used, and every other field kept.
//!
//! A parsed [`Commit`] gives back the bytes it was parsed from. An action created here is rendered in one canonical
//! member order, so equal actions give equal bytes.

mod commit;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub use self::commit::{Commit, MAX_COMMIT_BYTES};
use crate::error::{Result, TxnLogError};
use crate::object::{Fields, Object};

/// A version of a table: 0 for its first commit, then one more for each.
pub type Version = u64;

/// Values of partition columns by *physical* column name, as text; `None` is null.
pub type StringMap = BTreeMap<String, Option<String>>;

/// One action of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Provenance of the commit, free-form.
    CommitInfo(CommitInfo),
    /// The versions and features a client must support.
    Protocol(Protocol),
    /// Schema, partitioning and configuration.
    Metadata(Metadata),
    /// A data file becomes part of the table. Shared, since a commit may have very many.
    Add(Arc<Add>),
    /// A data file leaves the table.
    Remove(Remove),
    /// A file of change data.
    Cdc(Cdc),
    /// An application's own progress marker.
    Txn(Txn),
    /// Configuration of one named domain.
    DomainMetadata(DomainMetadata),
    /// The version that a V2 checkpoint describes.
    CheckpointMetadata(Object),
    /// A file of actions that belongs to a V2 checkpoint.
    Sidecar(Sidecar),
    /// An action this library does not know: kept, never interpreted.
    Unknown(String, Box<RawText>),
}

/// JSON text of a value, kept unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawText(pub String);

impl Serialize for RawText {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.clone()).map_err(serde::ser::Error::custom)?.serialize(s)
    }
}

/// Provenance: who committed what, when and how. Free-form in the protocol, so it is an [`Object`] with accessors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitInfo(pub Object);

impl CommitInfo {
    /// Wall-clock time of the commit in milliseconds since 1970.
    pub fn timestamp(&self) -> Option<i64> {
        self.0.get("timestamp")
    }
    /// The in-commit timestamp in milliseconds since 1970, where the table feature is on.
    pub fn in_commit_timestamp(&self) -> Option<i64> {
        self.0.get("inCommitTimestamp")
    }
    /// The operation's name, such as `WRITE`.
    pub fn operation(&self) -> Option<String> {
        self.0.get("operation")
    }
    /// The value of `key` as JSON text, when present and not null.
    pub fn text(&self, key: &str) -> Option<String> {
        self.0.raw(key).map(|v| v.get().to_string()).filter(|v| v != "null")
    }
}

/// The protocol action: what a client must support to read and to write the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// The lowest reader version.
    pub min_reader_version: i32,
    /// The lowest writer version.
    pub min_writer_version: i32,
    /// Named reader features, present from reader version 3.
    pub reader_features: Option<Vec<String>>,
    /// Named writer features, present from writer version 7.
    pub writer_features: Option<Vec<String>>,
    /// Fields unknown to this library.
    pub extra: Object,
}

/// The metaData action: identity, schema, partitioning and configuration of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The table's id in the log: any string, and shared by copies of a table.
    pub id: String,
    /// The table's name, if it has one.
    pub name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The file format as in the log: `{"provider":"parquet","options":{}}`.
    pub format: Object,
    /// The schema as JSON text.
    pub schema_string: String,
    /// Logical names of the partition columns.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub configuration: StringMap,
    /// When the table was created, in milliseconds since 1970.
    pub created_time: Option<i64>,
    /// Fields unknown to this library.
    pub extra: Object,
}

impl Metadata {
    /// The value of a table property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.configuration.get(key).and_then(|v| v.as_deref())
    }

    /// Whether a boolean table property is set to `true`.
    pub fn is_on(&self, key: &str) -> bool {
        self.property(key).is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }
}

/// The deletion vector of a file (PROTOCOL.md, "Deletion Vectors").
#[derive(Clone, Debug, PartialEq)]
pub struct DeletionVector {
    /// `u` (relative file), `p` (absolute file) or `i` (inline).
    pub storage_type: String,
    /// Where the vector is, or the vector itself in base85.
    pub path_or_inline_dv: String,
    /// Byte offset in the file.
    pub offset: Option<i64>,
    /// Size in bytes before encoding.
    pub size_in_bytes: i64,
    /// How many rows it deletes.
    pub cardinality: i64,
    /// Fields unknown to this library.
    pub extra: Object,
}

impl DeletionVector {
    /// The id that, with the path, names a logical file: `<type><path or inline>[@<offset>]`.
    pub fn unique_id(&self) -> String {
        match self.offset {
            Some(offset) => format!("{}{}@{offset}", self.storage_type, self.path_or_inline_dv),
            None => format!("{}{}", self.storage_type, self.path_or_inline_dv),
        }
    }
}

/// The add action: a data file is part of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// Relative path or absolute URI, percent-encoded as the writer wrote it.
    pub path: String,
    /// Partition values by physical column name.
    pub partition_values: StringMap,
    /// Size in bytes.
    pub size: i64,
    /// When the file was created, in milliseconds since 1970.
    pub modification_time: i64,
    /// Whether the rows are new; false when they were only rearranged.
    pub data_change: bool,
    /// File statistics as JSON text.
    pub stats: Option<String>,
    /// Free-form labels.
    pub tags: Option<StringMap>,
    /// Which rows of the file are deleted.
    pub deletion_vector: Option<DeletionVector>,
    /// Row tracking: id of the first row.
    pub base_row_id: Option<i64>,
    /// Row tracking: the version that added the rows.
    pub default_row_commit_version: Option<i64>,
    /// The clustering implementation that arranged the rows.
    pub clustering_provider: Option<String>,
    /// Fields unknown to this library.
    pub extra: Object,
}

/// The remove action: a data file is no longer part of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Remove {
    /// Path of the file, as in its add action up to re-encoding.
    pub path: String,
    /// When it was removed, in milliseconds since 1970.
    pub deletion_timestamp: Option<i64>,
    /// Whether rows are removed from the table; false when they were only rearranged.
    pub data_change: bool,
    /// Whether partition values, size and tags are present.
    pub extended_file_metadata: Option<bool>,
    /// Partition values by physical column name.
    pub partition_values: Option<StringMap>,
    /// Size in bytes.
    pub size: Option<i64>,
    /// File statistics as JSON text.
    pub stats: Option<String>,
    /// Free-form labels.
    pub tags: Option<StringMap>,
    /// The deletion vector the file had.
    pub deletion_vector: Option<DeletionVector>,
    /// Row tracking: id of the first row.
    pub base_row_id: Option<i64>,
    /// Row tracking: the version that added the rows.
    pub default_row_commit_version: Option<i64>,
    /// Fields unknown to this library.
    pub extra: Object,
}

impl Remove {
    /// The remove of a live file.
    pub fn of(add: &Add, deletion_timestamp: i64, data_change: bool) -> Self {
        Self {
            path: add.path.clone(),
            deletion_timestamp: Some(deletion_timestamp),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(add.partition_values.clone()),
            size: Some(add.size),
            stats: None,
            tags: add.tags.clone(),
            deletion_vector: add.deletion_vector.clone(),
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
            extra: Object::default(),
        }
    }
}

/// The cdc action: a file of change data of this version.
#[derive(Clone, Debug, PartialEq)]
pub struct Cdc {
    /// Path of the change data file.
    pub path: String,
    /// Partition values by physical column name.
    pub partition_values: StringMap,
    /// Size in bytes.
    pub size: i64,
    /// Always false in the protocol.
    pub data_change: bool,
    /// Free-form labels.
    pub tags: Option<StringMap>,
    /// Fields unknown to this library.
    pub extra: Object,
}

/// The txn action: the progress of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    /// The application's id.
    pub app_id: String,
    /// Its own version; the protocol does not require it to grow.
    pub version: i64,
    /// When it was set, in milliseconds since 1970.
    pub last_updated: Option<i64>,
    /// Fields unknown to this library.
    pub extra: Object,
}

/// The domainMetadata action: configuration of one named domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainMetadata {
    /// The domain's name.
    pub domain: String,
    /// Its configuration, any text.
    pub configuration: String,
    /// Whether this removes the domain.
    pub removed: bool,
    /// Fields unknown to this library.
    pub extra: Object,
}

/// The sidecar action of a V2 checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// File name below `_delta_log/_sidecars`, or an absolute URI.
    pub path: String,
    /// Fields beyond the path.
    pub extra: Object,
}

impl Action {
    /// A data file becomes part of the table.
    pub fn add(add: Add) -> Self {
        Self::Add(Arc::new(add))
    }

    /// The added file, for an add action.
    pub fn as_add(&self) -> Option<&Add> {
        match self {
            Self::Add(add) => Some(add),
            _ => None,
        }
    }

    /// Parses the actions of one line: usually one; none for an empty object.
    pub fn parse_line(line: &str) -> Result<Vec<Action>, String> {
        let members = Fields::parse(line).map_err(|e| format!("invalid JSON: {e}"))?.into_members();
        members
            .into_iter()
            .filter(|(_, v)| v.get() != "null")
            .map(|(name, value)| Self::parse(name, value.get()))
            .collect()
    }

    fn parse(name: String, value: &str) -> Result<Action, String> {
        let fields = || Fields::parse(value).map_err(|e| format!("action {name:?}: {e}"));
        let named = |r: Result<Action, String>| r.map_err(|e| format!("action {name:?}: {e}"));
        match name.as_str() {
            "commitInfo" => Ok(Action::CommitInfo(CommitInfo(fields()?.rest()))),
            "protocol" => named(Protocol::parse(fields()?).map(Action::Protocol)),
            "metaData" => named(Metadata::parse(fields()?).map(Action::Metadata)),
            "add" => named(Add::parse(fields()?).map(Action::add)),
            "remove" => named(Remove::parse(fields()?).map(Action::Remove)),
            "cdc" => named(Cdc::parse(fields()?).map(Action::Cdc)),
            "txn" => named(Txn::parse(fields()?).map(Action::Txn)),
            "domainMetadata" => named(DomainMetadata::parse(fields()?).map(Action::DomainMetadata)),
            "checkpointMetadata" => Ok(Action::CheckpointMetadata(fields()?.rest())),
            "sidecar" => named(Sidecar::parse(fields()?).map(Action::Sidecar)),
            _ => Ok(Action::Unknown(name, Box::new(RawText(value.to_string())))),
        }
    }

    /// The name of the action in the log.
    pub fn name(&self) -> &str {
        match self {
            Action::CommitInfo(_) => "commitInfo",
            Action::Protocol(_) => "protocol",
            Action::Metadata(_) => "metaData",
            Action::Add(_) => "add",
            Action::Remove(_) => "remove",
            Action::Cdc(_) => "cdc",
            Action::Txn(_) => "txn",
            Action::DomainMetadata(_) => "domainMetadata",
            Action::CheckpointMetadata(_) => "checkpointMetadata",
            Action::Sidecar(_) => "sidecar",
            Action::Unknown(name, _) => name,
        }
    }

    /// The action as one line of JSON, without a line end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Appends this line and a newline.
    pub(crate) fn write_line(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.to_json().as_bytes());
        bytes.push(b'\n');
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        match self {
            Action::CommitInfo(a) => map.serialize_entry(self.name(), &a.0)?,
            Action::Protocol(a) => map.serialize_entry(self.name(), a)?,
            Action::Metadata(a) => map.serialize_entry(self.name(), a)?,
            Action::Add(a) => map.serialize_entry(self.name(), a.as_ref())?,
            Action::Remove(a) => map.serialize_entry(self.name(), a)?,
            Action::Cdc(a) => map.serialize_entry(self.name(), a)?,
            Action::Txn(a) => map.serialize_entry(self.name(), a)?,
            Action::DomainMetadata(a) => map.serialize_entry(self.name(), a)?,
            Action::CheckpointMetadata(a) => map.serialize_entry(self.name(), a)?,
            Action::Sidecar(a) => map.serialize_entry(self.name(), a)?,
            Action::Unknown(_, a) => map.serialize_entry(self.name(), a)?,
        }
        map.end()
    }
}

/// One macro lists the fields of each action, how each is read and in which order it is written. `need` is required,
/// `opt` is optional, `or` has a default.
macro_rules! fields {
    ($type:ident { $($kind:ident $field:ident : $key:literal $(= $default:expr)?),* $(,)? }) => {
        impl $type {
            fn parse(mut fields: Fields<'_>) -> Result<Self, String> {
                Ok(Self {
                    $($field: fields!(@read $kind fields $key $($default)?),)*
                    extra: fields.rest(),
                })
            }

            /// The fields of the action as a JSON object.
            pub fn to_json(&self) -> String {
                serde_json::to_string(self).unwrap_or_default()
            }

            /// Reads the action from its JSON object, as [`Self::to_json`] gives it.
            pub fn from_json(text: &str) -> Result<Self> {
                Fields::parse(text)
                    .map_err(|e| e.to_string())
                    .and_then(Self::parse)
                    .map_err(|e| TxnLogError::corrupt(format!("a stored {} cannot be read: {e}", stringify!($type))))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                let mut map = s.serialize_map(None)?;
                $(fields!(@write $kind map $key self.$field);)*
                for (key, value) in self.extra.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    };
    (@read need $f:ident $key:literal) => { $f.need($key)? };
    (@read opt $f:ident $key:literal) => { $f.take($key)? };
    (@read or $f:ident $key:literal $default:expr) => { $f.take($key)?.unwrap_or_else(|| $default) };
    (@read raw $f:ident $key:literal) => { $f.take::<Object>($key)?.unwrap_or_default() };
    (@read dv $f:ident $key:literal) => {
        match $f.take::<Fields<'_>>($key)? { Some(dv) => Some(DeletionVector::parse(dv)?), None => None }
    };
    (@write opt $m:ident $key:literal $($field:tt)*) => {
        if let Some(value) = &$($field)* { $m.serialize_entry($key, value)?; }
    };
    (@write dv $m:ident $key:literal $($field:tt)*) => { fields!(@write opt $m $key $($field)*) };
    (@write $any:ident $m:ident $key:literal $($field:tt)*) => { $m.serialize_entry($key, &$($field)*)? };
}

fields!(Protocol {
    need min_reader_version: "minReaderVersion",
    need min_writer_version: "minWriterVersion",
    opt reader_features: "readerFeatures",
    opt writer_features: "writerFeatures",
});
fields!(Metadata {
    need id: "id",
    opt name: "name",
    opt description: "description",
    raw format: "format",
    need schema_string: "schemaString",
    or partition_columns: "partitionColumns" = Vec::new(),
    or configuration: "configuration" = BTreeMap::new(),
    opt created_time: "createdTime",
});
fields!(DeletionVector {
    need storage_type: "storageType",
    need path_or_inline_dv: "pathOrInlineDv",
    opt offset: "offset",
    need size_in_bytes: "sizeInBytes",
    need cardinality: "cardinality",
});
fields!(Add {
    need path: "path",
    or partition_values: "partitionValues" = BTreeMap::new(),
    need size: "size",
    need modification_time: "modificationTime",
    need data_change: "dataChange",
    opt stats: "stats",
    opt tags: "tags",
    dv deletion_vector: "deletionVector",
    opt base_row_id: "baseRowId",
    opt default_row_commit_version: "defaultRowCommitVersion",
    opt clustering_provider: "clusteringProvider",
});
fields!(Remove {
    need path: "path",
    opt deletion_timestamp: "deletionTimestamp",
    or data_change: "dataChange" = true,
    opt extended_file_metadata: "extendedFileMetadata",
    opt partition_values: "partitionValues",
    opt size: "size",
    opt stats: "stats",
    opt tags: "tags",
    dv deletion_vector: "deletionVector",
    opt base_row_id: "baseRowId",
    opt default_row_commit_version: "defaultRowCommitVersion",
});
fields!(Cdc {
    need path: "path",
    or partition_values: "partitionValues" = BTreeMap::new(),
    need size: "size",
    or data_change: "dataChange" = false,
    opt tags: "tags",
});
fields!(Txn {
    need app_id: "appId",
    need version: "version",
    opt last_updated: "lastUpdated",
});
fields!(DomainMetadata {
    need domain: "domain",
    or configuration: "configuration" = String::new(),
    or removed: "removed" = false,
});
fields!(Sidecar { need path: "path" });

#[cfg(test)]
mod tests {
    use super::*;

    /// Typed rendering must drop no member and change no value.
    fn check_typed(line: &str) {
        let actions = Action::parse_line(line).unwrap();
        assert_eq!(actions.len(), 1, "{line}");
        let again = actions[0].to_json();
        let (want, got): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).unwrap(), serde_json::from_str(&again).unwrap());
        assert_eq!(want, got, "{line}");
        assert_eq!(Action::parse_line(&again).unwrap(), actions, "{line}");
    }

    #[test]
    fn every_action_keeps_unknown_fields() {
        check_typed(
            r#"{"add":{"path":"a%20b","partitionValues":{"d":null,"e":"x"},"size":9007199254740993,"modificationTime":1,"dataChange":true,"stats":"{\"numRecords\":1}","zz":{"deep":[1,2.50]}}}"#,
        );
        check_typed(
            r#"{"add":{"path":"a","partitionValues":{},"size":1,"modificationTime":1,"dataChange":false,"tags":{"k":"v","n":null},"deletionVector":{"storageType":"u","pathOrInlineDv":"x","offset":1,"sizeInBytes":3,"cardinality":2,"new":1},"baseRowId":5,"defaultRowCommitVersion":3,"clusteringProvider":"liquid"}}"#,
        );
        check_typed(
            r#"{"remove":{"path":"a","deletionTimestamp":5,"dataChange":true,"extendedFileMetadata":true,"partitionValues":{},"size":3,"more":"x"}}"#,
        );
        check_typed(
            r#"{"metaData":{"id":"any string","format":{"provider":"parquet","options":{"a":"b"}},"schemaString":"{}","partitionColumns":["p"],"configuration":{"a":"b"},"createdTime":3,"later":true}}"#,
        );
        check_typed(
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["x"],"writerFeatures":["x","y"],"q":1}}"#,
        );
        check_typed(r#"{"txn":{"appId":"a","version":9007199254740993,"lastUpdated":4,"q":0}}"#);
        check_typed(r#"{"domainMetadata":{"domain":"d","configuration":"{\"a\":1}","removed":false,"q":0}}"#);
        check_typed(r#"{"cdc":{"path":"a","partitionValues":{"p":"1"},"size":3,"dataChange":false,"tags":{}}}"#);
        check_typed(r#"{"commitInfo":{"timestamp":1,"operation":"WRITE","anything":[{"a":1e400}]}}"#.replace("1e400", "1").as_str());
        check_typed(r#"{"transactionGroup":{"id":"g","n":[1,2]}}"#);
        check_typed(r#"{"sidecar":{"path":"s.parquet","sizeInBytes":1,"modificationTime":2}}"#);
        check_typed(r#"{"checkpointMetadata":{"version":3,"tags":{}}}"#);
    }
}
