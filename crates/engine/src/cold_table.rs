//! The cold table of a row table: the Delta table with the flushed rows, whose metadata has the definition.
//!
//! Its columns are those of the row table and `_seq`. Its properties are `delta.enableDeletionVectors`, because flushes
//! delete rows by position, and the parts of the definition that a schema of Delta does not have:
//!
//! | property | value |
//! |---|---|
//! | `deltalakedb.rows.formatVersion` | the version of these properties: 1 |
//! | `deltalakedb.rows.kind` | `shared` |
//! | `deltalakedb.rows.primaryKey` | the names of the key's columns: a JSON array |
//! | `deltalakedb.rows.columns` | the columns without `_seq`: a JSON array of objects with `name`, `id` and perhaps `default`, an expression of SQL |
//! | `deltalakedb.rows.schemaVersion` | the version of the columns, from 1 on |

use std::collections::HashMap;

use arrow::datatypes::{Field, Schema};
use deltalakedb_log::action::Metadata;
use deltalakedb_log::{Result, TableName, TxnLogError};
use deltalakedb_table::{TableSchema, TableSpec, parse_schema};
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::column_default::ColumnDefault;
use crate::definition::{ColumnDefinition, ColumnSpec, SEQ_COLUMN, TableDefinition, TableKind, seq_field};

/// The beginning of the properties with a definition.
const PREFIX: &str = "deltalakedb.rows.";
const FORMAT_VERSION: &str = "deltalakedb.rows.formatVersion";
const KIND: &str = "deltalakedb.rows.kind";
const PRIMARY_KEY: &str = "deltalakedb.rows.primaryKey";
const COLUMNS: &str = "deltalakedb.rows.columns";
const SCHEMA_VERSION: &str = "deltalakedb.rows.schemaVersion";
const DELETION_VECTORS: &str = "delta.enableDeletionVectors";
const COLUMN_MAPPING: &str = "delta.columnMapping.mode";

/// The only version of the properties.
const FORMAT: u32 = 1;

/// A new Delta table for the flushed rows of a row table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ColdTable {
    /// Its columns.
    pub schema: TableSchema,
    /// Its properties.
    pub spec: TableSpec,
}

/// A column in the property [`COLUMNS`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    name: String,
    id: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
}

/// The rows of a page in data files, each of which a lookup decodes.
const PAGE_ROWS: usize = 2_048;
/// The bytes of a column's dictionary, which a lookup decodes as well. When it is full, further pages have none.
const DICTIONARY_BYTES: usize = 64 << 10;

/// The encoding of the data files, in which rows are looked up. Values that hardly repeat get no dictionary: those of the
/// key and `_seq`.
pub(crate) fn file_encoding(definition: &TableDefinition) -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES);
    let unique = definition.key_columns().map(ColumnDefinition::name).chain([SEQ_COLUMN]);
    let without = |properties: WriterPropertiesBuilder, name: &str| {
        properties.set_column_dictionary_enabled(ColumnPath::new(vec![name.to_string()]), false)
    };
    unique.fold(properties, without).build()
}

/// Whether a Delta table is the cold table of a row table.
pub fn is_cold_table(metadata: &Metadata) -> bool {
    metadata.configuration.iter().any(|(key, _)| key.starts_with(PREFIX))
}

impl TableDefinition {
    /// The cold table, as it is created.
    pub fn cold_table(&self) -> Result<ColdTable> {
        let fields = self.columns().iter().map(|column| column.field().clone()).chain([seq_field()]);
        let schema = TableSchema::from_arrow(&Schema::new(fields.collect::<Vec<_>>()))?;
        let key: Vec<_> = self.key_columns().map(ColumnDefinition::name).collect();
        let columns = self.columns().iter().map(|column| StoredColumn {
            name: column.name().to_string(),
            id: column.id(),
            default: column.default().map(ToString::to_string),
        });
        let properties = HashMap::from(
            [
                (FORMAT_VERSION, FORMAT.to_string()),
                (KIND, self.kind().to_string()),
                (PRIMARY_KEY, json(&key)?),
                (COLUMNS, json(&columns.collect::<Vec<_>>())?),
                (SCHEMA_VERSION, self.schema_version().to_string()),
                (DELETION_VECTORS, "true".to_string()),
            ]
            .map(|(key, value)| (key.to_string(), value)),
        );
        Ok(ColdTable { schema, spec: TableSpec::new(&[], &properties) })
    }

    /// The definition in the metadata of a cold table, for the row table of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](deltalakedb_log::ErrorKind::Invalid) if the Delta table is not the cold table of a row
    /// table, or has a definition of a newer version of this library;
    /// [`ErrorKind::Corrupt`](deltalakedb_log::ErrorKind::Corrupt) if its properties are damaged or contradict its
    /// schema.
    pub fn from_metadata(name: &TableName, metadata: &Metadata) -> Result<Self> {
        let stored = StoredDefinition { name, metadata };
        stored.check_format()?;
        let kind = match stored.property(KIND)? {
            kind if kind == TableKind::Shared.to_string() => TableKind::Shared,
            kind => return Err(stored.newer(&format!("is a {kind} table"))),
        };
        let schema_version = stored.number(SCHEMA_VERSION)?;
        let key: Vec<String> = stored.json(PRIMARY_KEY)?;
        let columns = stored.columns()?;
        let is_null_key =
            |column: &&ColumnDefinition| column.field().is_nullable() && key.iter().any(|name| name == column.name());
        if let Some(column) = columns.iter().find(is_null_key) {
            return Err(stored.damaged(&format!("the column {:?} of its key is nullable", column.name())));
        }
        let checked = Self::checked(name.clone(), kind, schema_version, columns, key.iter().map(String::as_str));
        checked.map_err(|e| stored.damaged("its parts do not fit").with_source(e))
    }
}

/// A definition as the metadata of a cold table has it.
struct StoredDefinition<'a> {
    name: &'a TableName,
    metadata: &'a Metadata,
}

impl<'a> StoredDefinition<'a> {
    fn check_format(&self) -> Result<()> {
        let name = self.name;
        if !is_cold_table(self.metadata) {
            return Err(TxnLogError::invalid(format!(
                "the Delta table {name} is not a row table: it has no property {FORMAT_VERSION}"
            )));
        }
        let format = self.number(FORMAT_VERSION)?;
        if format > FORMAT {
            return Err(self.newer(&format!("has a definition of format version {format}")));
        }
        if format < FORMAT {
            return Err(self.damaged(&format!("{FORMAT_VERSION} is {format}")));
        }
        let known = [FORMAT_VERSION, KIND, PRIMARY_KEY, COLUMNS, SCHEMA_VERSION];
        let mut properties = self.metadata.configuration.keys();
        if let Some(unknown) = properties.find(|key| key.starts_with(PREFIX) && !known.contains(&key.as_ref())) {
            return Err(self.newer(&format!("has the property {unknown}")));
        }
        if !self.metadata.is_on(DELETION_VECTORS) {
            return Err(self.damaged(&format!("{DELETION_VECTORS} is not true")));
        }
        if self.metadata.property(COLUMN_MAPPING).is_some_and(|mode| !mode.eq_ignore_ascii_case("none")) {
            return Err(self.damaged(&format!("{COLUMN_MAPPING} is set")));
        }
        if !self.metadata.partition_columns.is_empty() {
            return Err(self.damaged("the Delta table is partitioned"));
        }
        Ok(())
    }

    /// The columns of the schema, with what the properties add to them.
    fn columns(&self) -> Result<Vec<ColumnDefinition>> {
        let stored: Vec<StoredColumn> = self.json(COLUMNS)?;
        let unreadable = || self.damaged("the schema of the Delta table cannot be read");
        let text = &self.metadata.schema_string;
        // Anything else would be read as the columns of a statement.
        if !text.starts_with('{') {
            return Err(unreadable());
        }
        let schema = parse_schema(text).and_then(|schema| schema.to_arrow());
        let schema = schema.map_err(|e| unreadable().with_source(e))?;
        let (seq, fields): (Vec<_>, Vec<_>) = schema.fields().iter().partition(|field| field.name() == SEQ_COLUMN);
        if seq.iter().map(|field| without_metadata(field)).ne([Field::clone(&seq_field())]) {
            return Err(self.damaged("the Delta table has no column _seq of type long that is not null"));
        }
        if fields.len() != stored.len() {
            let (columns, described) = (fields.len(), stored.len());
            return Err(self.damaged(&format!("{COLUMNS} has {described} columns and the schema has {columns}")));
        }
        fields.into_iter().map(|field| self.column(field, &stored)).collect()
    }

    fn column(&self, field: &Field, stored: &[StoredColumn]) -> Result<ColumnDefinition> {
        let (name, data_type) = (field.name(), field.data_type());
        let stored = stored.iter().find(|column| column.name == *name);
        let stored = stored.ok_or_else(|| self.damaged(&format!("{COLUMNS} lacks the column {name:?}")))?;
        let default = stored.default.as_deref().map(|sql| ColumnDefault::parse(sql, data_type)).transpose();
        let default = default.map_err(|e| self.damaged(&format!("in the column {name:?}")).with_source(e))?;
        let spec =
            ColumnSpec { name: name.clone(), data_type: data_type.clone(), nullable: field.is_nullable(), default };
        Ok(ColumnDefinition::new(stored.id, spec))
    }

    fn property(&self, key: &str) -> Result<&'a str> {
        self.metadata.property(key).ok_or_else(|| self.damaged(&format!("{key} is missing")))
    }

    fn number(&self, key: &str) -> Result<u32> {
        let text = self.property(key)?;
        // A sign or leading zeros are not how it was written.
        let number = text.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == text);
        number.ok_or_else(|| self.damaged(&format!("{key} is {text:?} and not a number above 0")))
    }

    fn json<T: Deserialize<'a>>(&self, key: &str) -> Result<T> {
        let text = self.property(key)?;
        serde_json::from_str(text).map_err(|e| self.damaged(&format!("{key} is {text:?}")).with_source(e))
    }

    fn newer(&self, what: &str) -> TxnLogError {
        let name = self.name;
        TxnLogError::invalid(format!(
            "the row table {name} {what}, which this version does not know: open it with a newer version"
        ))
    }

    fn damaged(&self, what: &str) -> TxnLogError {
        TxnLogError::corrupt(format!("the definition of the row table {} is damaged: {what}", self.name))
    }
}

fn without_metadata(field: &Field) -> Field {
    field.clone().with_metadata(HashMap::new())
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| TxnLogError::invalid("the definition cannot be written as JSON").with_source(e))
}

#[cfg(test)]
mod tests;
