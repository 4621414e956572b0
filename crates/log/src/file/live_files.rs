//! The live files in a batch of a checkpoint, from its columns.
//!
//! Most rows of a checkpoint are live files with the members that the protocol names. Other rows, and files with members
//! that are unknown here, are converted through JSON, which keeps everything.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, MapArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::action::{Action, Add, DeletionVector, StringMap};
use crate::object::Object;

/// The members of an add that our actions have fields for.
pub(super) const ADD: [&str; 11] = [
    "path",
    "partitionValues",
    "size",
    "modificationTime",
    "dataChange",
    "stats",
    "tags",
    "deletionVector",
    "baseRowId",
    "defaultRowCommitVersion",
    "clusteringProvider",
];

/// The members of a deletion vector.
const VECTOR: [&str; 5] = ["storageType", "pathOrInlineDv", "offset", "sizeInBytes", "cardinality"];

/// The adds of a batch with nothing else in it; `None` if there are other actions, members or types, or if a member is
/// missing.
pub(super) fn of(batch: &RecordBatch) -> Option<Vec<Action>> {
    let schema = batch.schema();
    let mut columns = schema.fields().iter().zip(batch.columns());
    if !columns.all(|(field, column)| field.name() == "add" || column.null_count() == column.len()) {
        return None;
    }
    let adds = batch.column_by_name("add")?.as_struct_opt().filter(|adds| adds.null_count() == 0)?;
    let members = Members::of(adds, &ADD)?;
    let vectors = match adds.column_by_name("deletionVector") {
        Some(vectors) => Some(Vectors::of(vectors.as_struct_opt()?)?),
        None => None,
    };
    let (path, size) = (members.strings("path")?, members.longs("size")?);
    let (modification_time, data_change) = (members.longs("modificationTime")?, members.bools("dataChange")?);
    let (partition_values, tags) = (members.maps("partitionValues")?, members.maps("tags")?);
    let (stats, clustering_provider) = (members.strings("stats")?, members.strings("clusteringProvider")?);
    let (base_row_id, commit_version) = (members.longs("baseRowId")?, members.longs("defaultRowCommitVersion")?);
    let add = |row: usize| {
        let add = Add {
            path: string(&path, row)?,
            partition_values: partition_values.get(row).unwrap_or_default(),
            size: long(&size, row)?,
            modification_time: long(&modification_time, row)?,
            data_change: data_change.is_valid(row).then(|| data_change.value(row))?,
            stats: string(&stats, row),
            tags: tags.get(row),
            deletion_vector: match &vectors {
                Some(vectors) if vectors.present.is_valid(row) => Some(vectors.get(row)?),
                _ => None,
            },
            base_row_id: long(&base_row_id, row),
            default_row_commit_version: long(&commit_version, row),
            clustering_provider: string(&clustering_provider, row),
            extra: Object::default(),
        };
        Some(Action::add(add))
    };
    (0..adds.len()).map(add).collect()
}

fn string(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_string())
}

fn long(column: &Int64Array, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

/// The columns of a structure. A missing one is null in every row; one of another type is `None`.
struct Members<'a>(&'a StructArray);

impl<'a> Members<'a> {
    /// The members, if they have no other names than these.
    fn of(structure: &'a StructArray, names: &[&str]) -> Option<Self> {
        structure.fields().iter().all(|field| names.contains(&field.name().as_str())).then_some(Self(structure))
    }

    fn strings(&self, name: &str) -> Option<StringArray> {
        match self.0.column_by_name(name) {
            Some(column) => column.as_string_opt::<i32>().cloned(),
            None => Some(StringArray::new_null(self.0.len())),
        }
    }

    fn longs(&self, name: &str) -> Option<Int64Array> {
        match self.0.column_by_name(name) {
            Some(column) => as_long(column)?.as_primitive_opt::<Int64Type>().cloned(),
            None => Some(Int64Array::new_null(self.0.len())),
        }
    }

    fn bools(&self, name: &str) -> Option<BooleanArray> {
        self.0.column_by_name(name)?.as_boolean_opt().cloned()
    }

    fn maps(&self, name: &str) -> Option<StringMaps> {
        let Some(column) = self.0.column_by_name(name) else { return Some(StringMaps(None)) };
        let maps = column.as_map_opt()?;
        let (keys, values) = (maps.keys().as_string_opt::<i32>()?, maps.values().as_string_opt::<i32>()?);
        Some(StringMaps(Some((maps.clone(), keys.clone(), values.clone()))))
    }
}

fn as_long(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Int64 => Some(column.clone()),
        DataType::Int32 => cast(column, &DataType::Int64).ok(),
        _ => None,
    }
}

/// Maps of strings, with their keys and values.
struct StringMaps(Option<(MapArray, StringArray, StringArray)>);

impl StringMaps {
    fn get(&self, row: usize) -> Option<StringMap> {
        let (maps, keys, values) = self.0.as_ref().filter(|(maps, ..)| maps.is_valid(row))?;
        let offsets = maps.value_offsets();
        let entries = offsets[row] as usize..offsets[row + 1] as usize;
        Some(entries.map(|at| (keys.value(at).to_string(), string(values, at))).collect())
    }
}

/// The columns of deletion vectors.
struct Vectors<'a> {
    present: &'a StructArray,
    storage_type: StringArray,
    path_or_inline_dv: StringArray,
    offset: Int64Array,
    size_in_bytes: Int64Array,
    cardinality: Int64Array,
}

impl<'a> Vectors<'a> {
    fn of(present: &'a StructArray) -> Option<Self> {
        let members = Members::of(present, &VECTOR)?;
        Some(Self {
            present,
            storage_type: members.strings("storageType")?,
            path_or_inline_dv: members.strings("pathOrInlineDv")?,
            offset: members.longs("offset")?,
            size_in_bytes: members.longs("sizeInBytes")?,
            cardinality: members.longs("cardinality")?,
        })
    }

    fn get(&self, row: usize) -> Option<DeletionVector> {
        Some(DeletionVector {
            storage_type: string(&self.storage_type, row)?,
            path_or_inline_dv: string(&self.path_or_inline_dv, row)?,
            offset: long(&self.offset, row),
            size_in_bytes: long(&self.size_in_bytes, row)?,
            cardinality: long(&self.cardinality, row)?,
            extra: Object::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::new_null_array;
    use arrow::datatypes::{Field, Fields, Schema};

    use super::super::checkpoint::parsed;
    use super::*;
    use crate::FileAction;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    fn string_map(name: &str) -> Field {
        let entries = vec![Field::new("key", DataType::Utf8, false), field("value", DataType::Utf8)];
        let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
        field(name, DataType::Map(Arc::new(entries), false))
    }

    /// The members of an add in a checkpoint.
    fn members() -> Vec<Field> {
        let vector = vec![
            field("storageType", DataType::Utf8),
            field("pathOrInlineDv", DataType::Utf8),
            field("offset", DataType::Int32),
            field("sizeInBytes", DataType::Int32),
            field("cardinality", DataType::Int64),
        ];
        vec![
            field("path", DataType::Utf8),
            string_map("partitionValues"),
            field("size", DataType::Int64),
            field("modificationTime", DataType::Int64),
            field("dataChange", DataType::Boolean),
            field("stats", DataType::Utf8),
            string_map("tags"),
            field("deletionVector", DataType::Struct(vector.into())),
            field("baseRowId", DataType::Int64),
            field("defaultRowCommitVersion", DataType::Int64),
            field("clusteringProvider", DataType::Utf8),
        ]
    }

    /// A batch of these adds, the last one absent if it is not whole, and the columns of other actions.
    fn batch(adds: &[Add], members: Vec<Field>, is_whole: bool) -> RecordBatch {
        let files: Vec<_> = adds.iter().map(FileAction::from).collect();
        let fields = Fields::from(members);
        let columns = FileAction::columns(&files, &fields).unwrap();
        let present = (0..adds.len()).map(|row| is_whole || row + 1 < adds.len()).collect();
        let adds = StructArray::new(fields.clone(), columns, Some(present));
        let remove = field("remove", DataType::Struct(vec![field("path", DataType::Utf8)].into()));
        let removes = new_null_array(remove.data_type(), adds.len());
        let schema = Schema::new(vec![field("add", DataType::Struct(fields)), remove]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(adds), removes]).unwrap()
    }

    fn adds() -> Vec<Add> {
        let map = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(key, value)| (key.to_string(), value.map(String::from))).collect::<StringMap>()
        };
        let bare = crate::conformance::actions::file("a%20b", 1, 2);
        let offset = |offset| DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
            offset,
            size_in_bytes: 40,
            cardinality: 6,
            extra: Object::default(),
        };
        vec![
            bare.clone(),
            Add {
                partition_values: map(&[("p", None), ("q", Some("")), ("r", Some("x"))]),
                tags: Some(map(&[("k", None)])),
                deletion_vector: Some(offset(Some(1))),
                base_row_id: Some(7),
                default_row_commit_version: Some(8),
                clustering_provider: Some("liquid".into()),
                ..bare.clone()
            },
            Add { stats: None, tags: Some(StringMap::new()), deletion_vector: Some(offset(None)), ..bare },
        ]
    }

    #[test]
    fn the_columns_say_what_their_json_says() {
        let batch = batch(&adds(), members(), true);
        assert_eq!(of(&batch), Some(parsed(&batch).unwrap()));
        for without in ["partitionValues", "stats", "tags", "deletionVector", "baseRowId"] {
            let members = members().into_iter().filter(|field| field.name() != without).collect();
            let batch = self::batch(&adds(), members, true);
            assert_eq!(of(&batch), Some(parsed(&batch).unwrap()), "without {without}");
        }
    }

    #[test]
    fn other_rows_are_left_to_the_parser() {
        let mut unknown = members();
        unknown.push(field("later", DataType::Int64));
        assert_eq!(of(&batch(&adds(), unknown, true)), None, "a member that is not known");
        assert_eq!(of(&batch(&adds(), members(), false)), None, "a row that is not an add");
        let without_path = members().into_iter().filter(|field| field.name() != "path").collect();
        assert_eq!(of(&batch(&adds(), without_path, true)), None, "a member that is missing");
    }
}
