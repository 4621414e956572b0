//! The statements that make views over data files.

use super::column::{Column, InstantEncoding, identifier, literal};

/// The schema of everything but the views of the tables.
pub(super) const SCHEMA: &str = "_deltalakedb";

/// The number of data files of one chunk. A change of one file writes the paths of one chunk again.
pub(super) const CHUNK_FILES: usize = 500;

/// What the data files of a chunk have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChunkKind {
    /// Whether rows of them are hidden by deletion vectors.
    pub(super) has_hidden_rows: bool,
    pub(super) instants: InstantEncoding,
}

impl ChunkKind {
    pub(super) fn to_number(self) -> i64 {
        i64::from(self.has_hidden_rows) + 2 * i64::from(self.instants == InstantEncoding::Utc)
    }

    pub(super) fn from_number(number: i64) -> Self {
        let instants = if number & 2 == 0 { InstantEncoding::Instant } else { InstantEncoding::Utc };
        Self { has_hidden_rows: number & 1 == 1, instants }
    }
}

/// The tables that all views share. Statements that are run in every database, whether it has them or not.
pub(super) fn tables() -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS {SCHEMA};
         CREATE TABLE IF NOT EXISTS {SCHEMA}.source (catalog_id VARCHAR, epoch VARCHAR, format INTEGER);
         CREATE TABLE IF NOT EXISTS {SCHEMA}.tables (
             table_id VARCHAR, namespace VARCHAR, name VARCHAR, location VARCHAR, version BIGINT,
             committed_at TIMESTAMP, definition VARCHAR, chunks BIGINT[], problem VARCHAR);
         CREATE TABLE IF NOT EXISTS {SCHEMA}.files (
             table_id VARCHAR, key VARCHAR, path VARCHAR, size BIGINT, modified_at TIMESTAMP, records BIGINT, hidden_rows BIGINT,
             partition_values MAP(VARCHAR, VARCHAR), statistics VARCHAR, kind BIGINT, chunk BIGINT);
         CREATE TABLE IF NOT EXISTS {SCHEMA}.hidden_rows (table_id VARCHAR, path VARCHAR, position BIGINT);
         CREATE VIEW IF NOT EXISTS {SCHEMA}.file_statistics AS
             SELECT t.namespace, t.name, f.path, f.size, f.modified_at, f.records, f.hidden_rows, f.partition_values,
                    f.statistics
             FROM {SCHEMA}.files f JOIN {SCHEMA}.tables t ON t.table_id = f.table_id;"
    )
}

/// The name of the view of a chunk.
pub(super) fn chunk_view(table: &str, chunk: i64) -> String {
    format!("{SCHEMA}.{}", identifier(&format!("files_{table}_{chunk}")))
}

/// The view of a chunk. It reads files only when it is read itself, and the first of them when it is created.
pub(super) fn create_chunk_view(
    table: &str,
    chunk: i64,
    kind: ChunkKind,
    columns: &[Column],
    paths: &[String],
) -> String {
    let (mut read, mut select_list) = (Vec::new(), Vec::new());
    for column in columns {
        let value = if column.is_partition {
            column.of_partition_value(&format!("f.partition_values[{}]", literal(&column.physical_name)))
        } else {
            let number = read.len();
            read.push(format!(
                "{}: {{name: 'c{number}', type: {}, default_value: NULL}}",
                literal(&column.physical_name),
                literal(&column.file_type(kind.instants))
            ));
            column.of_file(&format!("r.c{number}"), kind.instants)
        };
        select_list.push(format!("{value} AS {}", identifier(&column.name)));
    }
    let mut sql = format!(
        "CREATE OR REPLACE VIEW {} AS SELECT {} FROM read_parquet({}, hive_partitioning = false",
        chunk_view(table, chunk),
        select_list.join(", "),
        path_list(paths),
    );
    if !read.is_empty() {
        sql.push_str(&format!(", schema = MAP {{{}}}", read.join(", ")));
    }
    sql.push_str(") r");
    if columns.iter().any(|column| column.is_partition) {
        sql.push_str(&format!(" JOIN {SCHEMA}.files f ON f.table_id = {} AND f.path = r.filename", literal(table)));
    }
    if kind.has_hidden_rows {
        sql.push_str(&format!(
            " WHERE NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden_rows h WHERE h.table_id = {} AND h.path = r.filename AND \
             h.position = r.file_row_number)",
            literal(table)
        ));
    }
    sql
}

/// The view of a table: the rows of all its chunks.
pub(super) fn create_table_view(view: &str, table: &str, chunks: &[i64], columns: &[Column]) -> String {
    let rows = if chunks.is_empty() {
        let none = |column: &Column| format!("CAST(NULL AS {}) AS {}", column.sql_type(), identifier(&column.name));
        format!("SELECT {} WHERE false", columns.iter().map(none).collect::<Vec<_>>().join(", "))
    } else {
        let chunk = |chunk: &i64| format!("SELECT * FROM {}", chunk_view(table, *chunk));
        chunks.iter().map(chunk).collect::<Vec<_>>().join(" UNION ALL ")
    };
    format!("CREATE OR REPLACE VIEW {view} AS {rows}")
}

/// The paths as a list in SQL, none of them a pattern. One literal for all is parsed and stored faster than one for
/// each, where no path contains the separator.
pub(super) fn path_list(paths: &[String]) -> String {
    let exact: Vec<_> = paths.iter().map(|path| exact_pattern(path)).collect();
    if exact.iter().any(|path| path.contains('\n')) {
        return format!("[{}]", exact.iter().map(|path| literal(path)).collect::<Vec<_>>().join(", "));
    }
    format!("string_split({}, chr(10))", literal(&exact.join("\n")))
}

/// The pattern that only this path matches.
fn exact_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            _ => pattern.push(c),
        }
    }
    pattern
}
