//! Conversion between actions and rows.

use std::io::Read;

use deltalakedb_log::action::{
    Add, Cdc, DeletionVector, DomainMetadata, MAX_COMMIT_BYTES, Metadata, Protocol, Remove, Txn,
};
use deltalakedb_log::{ErrorKind, FileKey, Object, PathKey, Result, TxnLogError, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounds::TableSlots;
use crate::database::{Row, Value};

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::Int(v.into())
    }
}
impl From<&str> for Value {
    /// Text columns are for search; a NUL, which some databases cannot store in text, becomes U+FFFD. Text that must be
    /// returned unchanged is a blob.
    fn from(v: &str) -> Self {
        Value::Text(v.replace('\0', "\u{fffd}"))
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        if v.contains('\0') { v.as_str().into() } else { Value::Text(v) }
    }
}
impl From<&[u8]> for Value {
    fn from(v: &[u8]) -> Self {
        Value::Blob(v.to_vec())
    }
}
impl From<uuid::Uuid> for Value {
    fn from(v: uuid::Uuid) -> Self {
        Value::Blob(v.as_bytes().to_vec())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// `alias.a, alias.b`
pub(crate) fn qualified(alias: &str, columns: &[&str]) -> String {
    columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ")
}

/// A version as stored in the database.
pub(crate) fn int(v: Version) -> Value {
    Value::Int(i64::try_from(v).unwrap_or(i64::MAX))
}

/// Text that must be returned unchanged.
pub(crate) fn bytes(text: &str) -> Value {
    Value::Blob(text.as_bytes().to_vec())
}

fn json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_vec(value)
        .map(Value::Blob)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "a value cannot be written as JSON").with_source(e))
}

fn extra(object: &Object) -> Value {
    if object.is_empty() { Value::Null } else { bytes(&object.to_json()) }
}

impl Row {
    fn next(&mut self) -> Result<Value> {
        self.0.next().ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "a row has fewer columns than asked for"))
    }

    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Int(v) => Ok(Some(v)),
            other => Err(unexpected_value("an integer", &other)),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64> {
        self.opt_int()?.ok_or_else(|| unexpected_value("an integer", &Value::Null))
    }

    pub(crate) fn opt_version(&mut self) -> Result<Option<Version>> {
        self.opt_int()?
            .map(|v| Version::try_from(v).map_err(|_| unexpected_value("a version", &Value::Int(v))))
            .transpose()
    }

    pub(crate) fn version(&mut self) -> Result<Version> {
        self.opt_version()?.ok_or_else(|| unexpected_value("a version", &Value::Null))
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(v) => Ok(Some(v)),
            other => Err(unexpected_value("text", &other)),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.opt_text()?.ok_or_else(|| unexpected_value("text", &Value::Null))
    }

    pub(crate) fn opt_blob(&mut self) -> Result<Option<Vec<u8>>> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Blob(v) => Ok(Some(v)),
            other => Err(unexpected_value("a blob", &other)),
        }
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>> {
        self.opt_blob()?.ok_or_else(|| unexpected_value("a blob", &Value::Null))
    }

    pub(crate) fn uuid(&mut self) -> Result<uuid::Uuid> {
        let blob = self.blob()?;
        uuid::Uuid::from_slice(&blob).map_err(|e| TxnLogError::corrupt("a stored id is not a UUID").with_source(e))
    }

    fn opt_string(&mut self) -> Result<Option<String>> {
        let utf8 =
            |b| String::from_utf8(b).map_err(|e| TxnLogError::corrupt("stored text is not UTF-8").with_source(e));
        self.opt_blob()?.map(utf8).transpose()
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        self.opt_string()?.ok_or_else(|| unexpected_value("text", &Value::Null))
    }

    fn opt_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let parse = |b: Vec<u8>| {
            serde_json::from_slice(&b).map_err(|e| TxnLogError::corrupt("stored JSON cannot be read").with_source(e))
        };
        self.opt_blob()?.map(parse).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.opt_json()?.ok_or_else(|| unexpected_value("JSON", &Value::Null))
    }

    fn extra(&mut self) -> Result<Object> {
        Ok(self.opt_json()?.unwrap_or_default())
    }
}

fn unexpected_value(wanted: &str, got: &Value) -> TxnLogError {
    let got = match got {
        Value::Null => "null",
        Value::Int(_) => "an integer",
        Value::Text(_) => "text",
        Value::Blob(_) => "a blob",
    };
    TxnLogError::corrupt(format!("the database holds {got} where {wanted} belongs"))
}

/// The columns of `dl_add_files` for an add action, in the order of [`add_values`] and [`read_add`].
pub(crate) const ADD_COLUMNS: [&str; 12] = [
    "path",
    "size_bytes",
    "partition_values",
    "stats",
    "data_change",
    "modification_time",
    "deletion_vector",
    "tags",
    "base_row_id",
    "default_row_commit_version",
    "clustering_provider",
    "extra",
];

/// The columns of a file: its keys, its action, and these of its bounds, the first of those in [`crate::bounds`].
pub(crate) fn file_columns(bounds: &[&'static str]) -> Vec<&'static str> {
    [&["file_key", "path_key"], &ADD_COLUMNS[..], bounds].concat()
}

/// The values of the [columns](file_columns) of a file with the bounds that these slots have.
pub(crate) fn file_values(key: &FileKey, add: &Add, slots: &TableSlots) -> Result<Vec<Value>> {
    let mut values = Vec::with_capacity(2 + ADD_COLUMNS.len() + slots.columns().len());
    values.extend([key.0.as_slice().into(), PathKey::new(&add.path).0.as_slice().into()]);
    values.extend(add_values(add)?);
    values.extend(slots.values(add));
    Ok(values)
}

/// The stored path of a file. A path with and without percent-encoding is the same file, so a NUL, which some databases
/// cannot store in text, is encoded.
fn path(path: &str) -> String {
    path.replace('\0', "%00")
}

fn add_values(add: &Add) -> Result<[Value; ADD_COLUMNS.len()]> {
    let dv = add.deletion_vector.as_ref().map(|dv| bytes(&dv.to_json()));
    Ok([
        path(&add.path).into(),
        add.size.into(),
        json(&add.partition_values)?,
        add.stats.as_deref().map(bytes).unwrap_or(Value::Null),
        add.data_change.into(),
        add.modification_time.into(),
        dv.unwrap_or(Value::Null),
        add.tags.as_ref().map(json).transpose()?.unwrap_or(Value::Null),
        add.base_row_id.into(),
        add.default_row_commit_version.into(),
        add.clustering_provider.as_deref().map(bytes).unwrap_or(Value::Null),
        extra(&add.extra),
    ])
}

pub(crate) fn read_add(row: &mut Row) -> Result<Add> {
    Ok(Add {
        path: row.text()?,
        size: row.int()?,
        partition_values: row.json()?,
        stats: row.opt_string()?,
        data_change: row.int()? != 0,
        modification_time: row.int()?,
        deletion_vector: row.opt_string()?.map(|dv| DeletionVector::from_json(&dv)).transpose()?,
        tags: row.opt_json()?,
        base_row_id: row.opt_int()?,
        default_row_commit_version: row.opt_int()?,
        clustering_provider: row.opt_string()?,
        extra: row.extra()?,
    })
}

pub(crate) const REMOVE_COLUMNS: [&str; 6] =
    ["path", "deletion_timestamp", "data_change", "size_bytes", "partition_values", "remove_json"];

pub(crate) fn remove_values(remove: &Remove) -> Result<Vec<Value>> {
    Ok(vec![
        remove.path.as_str().into(),
        remove.deletion_timestamp.into(),
        remove.data_change.into(),
        remove.size.into(),
        remove.partition_values.as_ref().map(json).transpose()?.unwrap_or(Value::Null),
        bytes(&remove.to_json()),
    ])
}

pub(crate) const METADATA_COLUMNS: [&str; 9] = [
    "metadata_id",
    "name",
    "description",
    "format",
    "schema_json",
    "partition_columns",
    "configuration",
    "created_time",
    "extra",
];

pub(crate) fn metadata_values(m: &Metadata) -> Result<Vec<Value>> {
    let opt = |text: &Option<String>| text.as_deref().map(bytes).unwrap_or(Value::Null);
    Ok(vec![
        bytes(&m.id),
        opt(&m.name),
        opt(&m.description),
        bytes(&m.format.to_json()),
        bytes(&m.schema_string),
        json(&m.partition_columns)?,
        json(&m.configuration)?,
        m.created_time.into(),
        extra(&m.extra),
    ])
}

pub(crate) fn read_metadata(row: &mut Row) -> Result<Metadata> {
    Ok(Metadata {
        id: row.string()?,
        name: row.opt_string()?,
        description: row.opt_string()?,
        format: row.extra()?,
        schema_string: row.string()?,
        partition_columns: row.json()?,
        configuration: row.json()?,
        created_time: row.opt_int()?,
        extra: row.extra()?,
    })
}

pub(crate) const PROTOCOL_COLUMNS: [&str; 5] =
    ["min_reader_version", "min_writer_version", "reader_features", "writer_features", "extra"];

pub(crate) fn protocol_values(p: &Protocol) -> Result<Vec<Value>> {
    Ok(vec![
        i64::from(p.min_reader_version).into(),
        i64::from(p.min_writer_version).into(),
        p.reader_features.as_ref().map(json).transpose()?.unwrap_or(Value::Null),
        p.writer_features.as_ref().map(json).transpose()?.unwrap_or(Value::Null),
        extra(&p.extra),
    ])
}

pub(crate) fn read_protocol(row: &mut Row) -> Result<Protocol> {
    let small = |v: i64| i32::try_from(v).map_err(|_| unexpected_value("a protocol version", &Value::Int(v)));
    Ok(Protocol {
        min_reader_version: small(row.int()?)?,
        min_writer_version: small(row.int()?)?,
        reader_features: row.opt_json()?,
        writer_features: row.opt_json()?,
        extra: row.extra()?,
    })
}

pub(crate) const TXN_COLUMNS: [&str; 4] = ["app_id", "app_version", "last_updated", "extra"];

pub(crate) fn txn_values(t: &Txn) -> Vec<Value> {
    vec![bytes(&t.app_id), t.version.into(), t.last_updated.into(), extra(&t.extra)]
}

pub(crate) fn read_txn(row: &mut Row) -> Result<Txn> {
    Ok(Txn { app_id: row.string()?, version: row.int()?, last_updated: row.opt_int()?, extra: row.extra()? })
}

pub(crate) const DOMAIN_COLUMNS: [&str; 4] = ["domain", "configuration", "removed", "extra"];

pub(crate) fn domain_values(d: &DomainMetadata) -> Vec<Value> {
    vec![bytes(&d.domain), bytes(&d.configuration), d.removed.into(), extra(&d.extra)]
}

pub(crate) fn read_domain(row: &mut Row) -> Result<DomainMetadata> {
    Ok(DomainMetadata {
        domain: row.string()?,
        configuration: row.string()?,
        removed: row.int()? != 0,
        extra: row.extra()?,
    })
}

pub(crate) const CDC_COLUMNS: [&str; 3] = ["path", "size_bytes", "partition_values"];

pub(crate) fn cdc_values(cdc: &Cdc) -> Result<Vec<Value>> {
    Ok(vec![cdc.path.as_str().into(), cdc.size.into(), json(&cdc.partition_values)?])
}

/// Commit bytes in their stored form.
pub(crate) fn compress(body: &[u8]) -> Result<Vec<u8>> {
    if body.len() as u64 > MAX_COMMIT_BYTES {
        return Err(TxnLogError::invalid(format!(
            "a commit of {} bytes is larger than {MAX_COMMIT_BYTES}: split it",
            body.len()
        )));
    }
    zstd::bulk::compress(body, 1)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "a commit cannot be compressed").with_source(e))
}

/// Commit bytes from their stored form.
pub(crate) fn decompress(stored: &[u8]) -> Result<bytes::Bytes> {
    decompress_up_to(MAX_COMMIT_BYTES, stored)
}

/// Decompresses to at most `limit` bytes, so that a forged body cannot exhaust the memory.
fn decompress_up_to(limit: u64, stored: &[u8]) -> Result<bytes::Bytes> {
    let mut body = Vec::new();
    let decoded = zstd::stream::Decoder::new(stored).and_then(|bytes| bytes.take(limit + 1).read_to_end(&mut body));
    decoded.map_err(|e| TxnLogError::corrupt("a stored commit cannot be decompressed").with_source(e))?;
    if body.len() as u64 > limit {
        return Err(TxnLogError::corrupt(format!("a stored commit is larger than {limit} bytes")));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_commit_is_decompressed_up_to_a_limit() {
        let bomb = compress(&[b' '; 1_000_000]).unwrap();
        assert!(bomb.len() < 1_000, "a megabyte of spaces is {} bytes", bomb.len());
        assert_eq!(decompress(&bomb).unwrap().len(), 1_000_000);
        assert_eq!(decompress_up_to(1_000_000, &bomb).unwrap().len(), 1_000_000);
        let error = decompress_up_to(999_999, &bomb).unwrap_err();
        assert_eq!(error.to_string(), "a stored commit is larger than 999999 bytes");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
