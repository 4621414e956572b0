use arrow::datatypes::{DataType, TimeUnit};
use deltalakedb_log::ErrorKind;
use deltalakedb_table::datafusion::sql::sqlparser::dialect::GenericDialect;
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::Tokenizer;
use fastrand::Rng;

use super::*;
use crate::column_default::ColumnDefault;
use crate::column_type::timestamp;
use crate::definition::{ColumnDefinition, ColumnSpec};
use crate::random::{for_seeds, pick};

fn tokens(sql: &str) -> Vec<TokenWithSpan> {
    Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap()
}

fn parse(sql: &str) -> Result<Option<RowStatement>> {
    RowStatement::parse(&tokens(sql))
}

fn parsed(sql: &str) -> RowStatement {
    parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}")).unwrap_or_else(|| panic!("{sql} is not recognized"))
}

fn created(sql: &str) -> TableDefinition {
    match parsed(sql) {
        RowStatement::CreateTable { definition, .. } => *definition,
        other => panic!("{sql} is {other:?}"),
    }
}

fn refused(sql: &str, says: &str) {
    let error = parse(sql).err().unwrap_or_else(|| panic!("{sql} is accepted"));
    let message = error.to_string();
    assert!(message.contains(says) && !message.contains('\n'), "{sql}: {message}");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {message}");
}

#[test]
fn namespaces_are_created() {
    let check = |sql: &str, name: &str, if_not_exists: bool| {
        assert_eq!(parsed(sql), RowStatement::CreateNamespace { name: name.into(), if_not_exists }, "{sql}");
    };
    check("CREATE NAMESPACE app", "app", false);
    check("  create /* new */ Namespace\n  if not exists App -- mine", "App", true);
    check("CREATE NAMESPACE \"über uns\"", "über uns", false);
    check("CREATE NAMESPACE `a b`", "a b", false);
    refused("CREATE NAMESPACE", "the SQL cannot be read: Expected: identifier, found: EOF");
    refused("CREATE NAMESPACE a.b", "a.b is not a namespace");
    refused("CREATE NAMESPACE \"a.b\"", "is not a namespace");
    refused("CREATE NAMESPACE app x", "found: x at Line: 1, Column: 22");
    refused("CREATE NAMESPACE _app", "names that begin with _ are reserved");
    refused("CREATE NAMESPACE system", "reserved for the tables of the system");
}

#[test]
fn tables_are_flushed() {
    let name = |name: &str| RowStatement::FlushTable(name.parse().unwrap());
    assert_eq!(parsed("FLUSH TABLE app.notes"), name("app.notes"));
    assert_eq!(parsed("flush table notes"), name("default.notes"));
    assert_eq!(parsed("FLUSH TABLE \"App\".\"odd name\""), name("App.odd name"));
    assert_eq!(parsed(" FLUSH ALL "), RowStatement::FlushAll);
    for sql in ["FLUSH", "FLUSH TABLES", "FLUSH app.t", "FLUSH TABLE a, b", "FLUSH ALL TABLES", "FLUSH 'x'"] {
        refused(sql, "expected FLUSH TABLE NAME, of one table, or FLUSH ALL");
    }
    refused("FLUSH TABLE", "Expected: identifier, found: EOF");
    refused("FLUSH TABLE a.b.c", "\"a.b.c\" is not a table name");
}

#[test]
fn shared_tables_are_created() {
    let column =
        |name: &str, data_type, nullable, default| ColumnSpec { name: name.into(), data_type, nullable, default };
    let notes = created(
        "CREATE SHARED TABLE app.notes (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), body TEXT NOT NULL, \
         ts TIMESTAMP DEFAULT NOW(), tag UUID NULL DEFAULT uuid_v7())",
    );
    let columns = [
        column("id", DataType::Int64, false, Some(ColumnDefault::SnowflakeId)),
        column("body", DataType::Utf8, false, None),
        column("ts", timestamp(), true, Some(ColumnDefault::Now)),
        column("tag", DataType::Utf8, true, Some(ColumnDefault::UuidV7)),
    ];
    assert_eq!(notes, TableDefinition::new_shared("app.notes".parse().unwrap(), columns, ["id"]).unwrap());

    let rates = created(
        "create shared table Rates (ccy VARCHAR, \"Day\" DATE, px DOUBLE DEFAULT NULL, \
         CONSTRAINT rates_key PRIMARY KEY (\"Day\", ccy));"
            .trim_end_matches(';'),
    );
    assert_eq!(rates.name().to_string(), "default.Rates");
    assert_eq!(rates.key_columns().map(ColumnDefinition::name).collect::<Vec<_>>(), ["Day", "ccy"]);
    assert_eq!(rates.columns()[2].default(), None);

    // Words that other dialects take for the beginning of an index.
    let kv = created("CREATE SHARED TABLE kv (key TEXT PRIMARY KEY, value BYTEA, index INT, rows INT, user TEXT)");
    assert_eq!(kv.columns().len(), 5);

    let is_lenient = |sql: &str| match parsed(sql) {
        RowStatement::CreateTable { if_not_exists, .. } => if_not_exists,
        other => panic!("{other:?}"),
    };
    assert!(is_lenient("CREATE SHARED TABLE IF NOT EXISTS t (a INT PRIMARY KEY)"));
    assert!(!is_lenient("CREATE SHARED TABLE t (a INT PRIMARY KEY)"));
}

#[test]
fn types_are_those_of_sql() {
    use DataType as A;
    let ntz = || A::Timestamp(TimeUnit::Microsecond, None);
    let check = |names: &[&str], want: DataType| {
        for sql in names {
            let table = created(&format!("CREATE SHARED TABLE t (id INT PRIMARY KEY, x {sql})"));
            assert_eq!(*table.columns()[1].field().data_type(), want, "{sql}");
        }
    };
    check(&["BIGINT", "INT8"], A::Int64);
    check(&["INT", "integer", "INT4"], A::Int32);
    check(&["SMALLINT", "INT2"], A::Int16);
    check(&["TINYINT"], A::Int8);
    check(&["TEXT", "VARCHAR", "STRING", "CHARACTER VARYING", "UUID"], A::Utf8);
    check(&["DOUBLE", "DOUBLE PRECISION", "FLOAT8"], A::Float64);
    check(&["REAL", "FLOAT", "FLOAT4"], A::Float32);
    check(&["BOOLEAN", "bool"], A::Boolean);
    check(&["DATE"], A::Date32);
    check(&["TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP(6)"], timestamp());
    check(&["TIMESTAMP_NTZ", "TIMESTAMP WITHOUT TIME ZONE"], ntz());
    check(&["DECIMAL(10, 2)", "NUMERIC(10,2)", "DEC(10, 2)"], A::Decimal128(10, 2));
    check(&["DECIMAL(38)", "NUMERIC(38, 0)"], A::Decimal128(38, 0));
    check(&["BYTEA", "BLOB", "BINARY", "VARBINARY"], A::Binary);

    let refuse = |sql: &str, says: &str| {
        refused(&format!("CREATE SHARED TABLE app.t (id INT PRIMARY KEY, x {sql})"), says);
    };
    for serial in ["SERIAL", "bigserial", "SMALLSERIAL", "serial4"] {
        refuse(serial, "write BIGINT DEFAULT SNOWFLAKE_ID(), which needs no sequence");
    }
    refuse("VARCHAR(20)", "the column \"x\" of app.t cannot be of type VARCHAR(20): write TEXT");
    refuse("CHAR(3)", "write TEXT");
    refuse("INT(11)", "write INT, without a display width");
    refuse("BINARY(16)", "write BYTEA");
    refuse("DECIMAL", "such as DECIMAL(18, 2)");
    for digits in ["0", "39", "3, 4", "3, -1", "300", "18446744073709551615", "3, 300"] {
        refuse(&format!("DECIMAL({digits})"), "expected 1 to 38 digits");
    }
    refuse("FLOAT(24)", "write REAL for 32 bits or DOUBLE for 64");
    refuse("TIMESTAMP(3)", "write TIMESTAMP, which has microseconds");
    refuse("DATETIME", "write TIMESTAMP");
    for other in ["INT UNSIGNED", "TIME", "INTERVAL", "JSON", "JSONB", "INT[]", "INT ARRAY", "HUGEINT", "geometry"] {
        refused(
            &format!("CREATE SHARED TABLE app.t (id INT PRIMARY KEY, x {other})"),
            if other == "INT ARRAY" { "found: ARRAY" } else { "expected BIGINT, INT, SMALLINT" },
        );
    }
    refuse("", "found: )");
}

#[test]
fn defaults_are_literals_and_three_functions() {
    let check = |data_type: &str, default: &str, want: &str| {
        let table = created(&format!("CREATE SHARED TABLE t (id INT PRIMARY KEY, x {data_type} DEFAULT {default})"));
        let default = table.columns()[1].default().map(ToString::to_string);
        assert_eq!(default.as_deref(), Some(want), "{data_type} DEFAULT {default:?}");
    };
    check("BIGINT", "snowflake_id()", "SNOWFLAKE_ID()");
    check("TEXT", "UUID_V7()", "UUID_V7()");
    check("TIMESTAMP", "CURRENT_TIMESTAMP", "NOW()");
    check("TIMESTAMP_NTZ", "now()", "NOW()");
    check("BIGINT", "-9223372036854775808", "-9223372036854775808");
    check("TINYINT", "'127'", "127");
    check("INT", "+5", "5");
    check("DOUBLE", "1e300", "1e300");
    check("DOUBLE", "-.5", "-0.5");
    check("DOUBLE", "'NaN'", "'NaN'");
    check("DOUBLE", "'-infinity'", "'-Infinity'");
    check("REAL", "0.1", "0.1");
    check("DECIMAL(10, 2)", "5", "5.00");
    check("DECIMAL(10, 2)", "1.500", "1.50");
    check("TEXT", "'it''s'", "'it''s'");
    check("TEXT", "''", "''");
    check("BOOLEAN", "TRUE", "true");
    check("BOOLEAN", "'False'", "false");
    check("BYTEA", "X'00ff'", "X'00FF'");
    check("BYTEA", "X''", "X''");
    check("DATE", "DATE '2024-02-29'", "'2024-02-29'");
    check("TIMESTAMP", "TIMESTAMP '2024-02-29 01:02:03.000004'", "'2024-02-29T01:02:03.000004Z'");
    check("TIMESTAMP", "'2024-02-29T01:00:00+02:00'", "'2024-02-28T23:00:00Z'");
    check("TIMESTAMP", "DATE '2024-02-29'", "'2024-02-29T00:00:00Z'");
    check("TIMESTAMP_NTZ", "'2024-02-29 01:02:03'", "'2024-02-29T01:02:03'");
    check("TIMESTAMP", "'2024-02-29T01:02:03.1234560000'", "'2024-02-29T01:02:03.123456Z'");

    let refuse = |data_type: &str, default: &str, says: &str| {
        refused(&format!("CREATE SHARED TABLE app.t (id INT PRIMARY KEY, x {data_type} DEFAULT {default})"), says);
    };
    refuse("UUID", "gen_random_uuid()", "gen_random_uuid() is not supported: expected a literal, SNOWFLAKE_ID(),");
    refuse("BIGINT", "nextval('s')", "the column \"x\" of app.t has a default that is not supported: nextval('s')");
    for other in
        ["SNOWFLAKE_ID(1)", "snowflake_id", "\"now\"()", "1 + 1", "'x'::TEXT", "(1)", "id", "$1", "- -1", "-'1'"]
    {
        refuse("BIGINT", other, "is not supported: expected a literal");
    }
    refuse("INT", "SNOWFLAKE_ID()", "SNOWFLAKE_ID() is a BIGINT, but the column is of type INT");
    refuse("BYTEA", "UUID_V7()", "UUID_V7() is a UUID, but the column is of type BYTEA");
    refuse("DATE", "NOW()", "NOW() is a TIMESTAMP, but the column is of type DATE");
    for (data_type, literal) in [
        ("TINYINT", "128"),
        ("INT", "1.0"),
        ("INT", "'x'"),
        ("INT", "TRUE"),
        ("BOOLEAN", "1"),
        ("REAL", "1e39"),
        ("DOUBLE", "1e400"),
        ("DOUBLE", "'x'"),
        ("DECIMAL(3, 2)", "10"),
        ("DECIMAL(3, 2)", "1.005"),
        ("TEXT", "1"),
        ("TEXT", "X'00'"),
        ("BYTEA", "'00'"),
        ("BYTEA", "X'0'"),
        ("DATE", "'2023-02-29'"),
        ("DATE", "20240101"),
        ("DATE", "'0000-12-31'"),
        ("DATE", "'+10000-01-01'"),
        ("TIMESTAMP", "'yesterday'"),
        ("TIMESTAMP", "'2024-01-01T00:00:00.0000001'"),
        ("TIMESTAMP_NTZ", "'2024-01-01T00:00:00Z'"),
    ] {
        refuse(data_type, literal, "is not exactly a value of type");
    }
}

#[test]
fn statements_of_later_versions_are_refused_by_name() {
    for (sql, name) in [
        ("COMPACT TABLE app.notes", "COMPACT TABLE"),
        ("kill job 'a'", "KILL JOB"),
        ("SHOW JOBS", "SHOW JOBS"),
        ("SHOW MANIFEST app.notes", "SHOW MANIFEST"),
        ("SHOW MANIFEST CACHE", "SHOW MANIFEST"),
        ("CREATE USER 'alice' WITH PASSWORD 'x'", "CREATE USER"),
        ("ALTER USER alice SET PASSWORD 'x'", "ALTER USER"),
        ("DROP USER alice", "DROP USER"),
        ("EXECUTE AS USER 'alice' (SELECT 1)", "EXECUTE AS USER"),
        ("AS USER 'alice' SELECT 1", "AS USER"),
        ("INSERT INTO app.notes AS USER 'alice' VALUES (1)", "AS USER"),
        ("UPDATE app.notes AS USER 'alice' SET body = 'x'", "AS USER"),
        ("delete from app.notes as user 'alice' where id = 1", "AS USER"),
    ] {
        assert_eq!(parse(sql).unwrap_err().to_string(), format!("{name} is not supported yet"), "{sql}");
    }
}

#[test]
fn what_a_row_table_does_not_have_is_refused_by_name() {
    refused("CREATE USER TABLE t (a INT PRIMARY KEY)", "CREATE USER TABLE is not supported");
    refused("create stream table t (a INT PRIMARY KEY)", "CREATE STREAM TABLE is not supported");
    refused("CREATE OR REPLACE SHARED TABLE t (a INT PRIMARY KEY)", "CREATE OR REPLACE SHARED TABLE is not supported");

    let column = |option: &str, says: &str| {
        refused(&format!("CREATE SHARED TABLE app.t (k INT PRIMARY KEY, x INT {option})"), says)
    };
    column("UNIQUE", "the column \"x\" of app.t cannot be UNIQUE");
    column("REFERENCES u (a)", "the column \"x\" of app.t cannot have a FOREIGN KEY");
    column("CHECK (x > 0)", "the column \"x\" of app.t cannot have a CHECK");
    column("AUTO_INCREMENT", "cannot be AUTO_INCREMENT: declare it BIGINT DEFAULT SNOWFLAKE_ID()");
    column("NOT NULL autoincrement", "cannot be AUTO_INCREMENT");
    column("GENERATED ALWAYS AS IDENTITY", "cannot be an identity column: declare it BIGINT DEFAULT SNOWFLAKE_ID()");
    column("GENERATED BY DEFAULT AS IDENTITY", "cannot be an identity column");
    column("GENERATED ALWAYS AS (k + 1) STORED", "cannot be GENERATED");
    column("COLLATE \"C\"", "has the option COLLATE \"C\", which is not supported");
    column("COMMENT 'x'", "has the option COMMENT 'x'");
    column("NULL NOT NULL", "is both NULL and NOT NULL");
    column("DEFAULT 1 DEFAULT 2", "has two defaults");
    column("PRIMARY KEY", "app.t has two primary keys");
    column("PRIMARY KEY DEFERRABLE", "PRIMARY KEY with options");

    let table = |item: &str, says: &str| refused(&format!("CREATE SHARED TABLE app.t (a INT, b INT, {item})"), says);
    table("UNIQUE (a)", "app.t cannot have UNIQUE columns");
    table("FOREIGN KEY (a) REFERENCES u (a)", "app.t cannot have a FOREIGN KEY");
    table("CHECK (a > b)", "app.t cannot have a CHECK");
    table("PRIMARY KEY (a DESC)", "a primary key of expressions");
    table("PRIMARY KEY (a + b)", "a primary key of expressions");
    table("PRIMARY KEY (a) DEFERRABLE", "PRIMARY KEY with options");
    table("PRIMARY KEY (a), PRIMARY KEY (b)", "two primary keys");
    table("PRIMARY KEY ()", "");
    table("PRIMARY KEY (x)", "its primary key names the column \"x\", and its columns are a, b");
    table("PRIMARY KEY (a, a)", "its primary key has the column \"a\" twice");
    table("c INT NULL PRIMARY KEY", "the column \"c\" of app.t cannot be NULL, because it is in the primary key");
    table("c INT NULL, PRIMARY KEY (a, c)", "the column \"c\" of app.t cannot be NULL");
    table("c INT", "it needs a primary key");
    table("A INT PRIMARY KEY", "its columns \"a\" and \"A\" differ in case only");
    table("a INT PRIMARY KEY", "it has the column \"a\" twice");
    table("_c INT PRIMARY KEY", "\"_c\" needs another name");
    table("_seq BIGINT PRIMARY KEY", "\"_seq\" needs another name");

    let clause =
        |clause: &str, says: &str| refused(&format!("CREATE SHARED TABLE app.t (a INT PRIMARY KEY) {clause}"), says);
    clause(
        "WITH (flush_policy = 'rows:10000')",
        "app.t has the option flush_policy, which is not supported: a table is",
    );
    clause("WITH (Layout = 'packed')", "has the option Layout, which is not supported: it is an option of USER tables");
    clause("WITH (ttl_seconds = 30)", "has the option ttl_seconds, which is not supported: it is an option of STREAM");
    clause("WITH (access_level = 'public')", "has the option access_level, which is not supported");
    clause("WITH (fillfactor = 70)", "app.t has the unknown option fillfactor");
    clause("AS SELECT 1 AS a", "app.t cannot be created AS a query");
    clause("PARTITIONED BY (a)", "app.t has the clause PARTITIONED BY (a), which is not supported");
    clause("LOCATION '/x'", "app.t has the clause LOCATION '/x'");
    clause("TBLPROPERTIES ('a' = 'b')", "which is not supported");
    clause("INHERITS (u)", "app.t has the clause INHERITS (u)");
    clause("x", "found: x");

    refused("CREATE SHARED TABLE app.t", "the row table app.t needs columns");
    refused("CREATE SHARED TABLE app.t ()", "the row table app.t needs columns");
    refused("CREATE SHARED TABLE app.t LIKE u", "app.t has the clause LIKE u");
    refused("CREATE SHARED TABLE a.b.c (a INT PRIMARY KEY)", "\"a.b.c\" is not a table name");
    refused("CREATE SHARED TABLE app._t (a INT PRIMARY KEY)", "names that begin with _ are reserved");
    refused("CREATE SHARED TABLE system.t (a INT PRIMARY KEY)", "reserved for the tables of the system");
    refused("CREATE SHARED TABLE t (a INT PRIMARY KEY,)", "the SQL cannot be read");
    refused("CREATE SHARED TABLE t (a INT PRIMARY KEY", "the SQL cannot be read");
    refused("CREATE SHARED TABLE", "the SQL cannot be read");
}

#[test]
fn a_table_to_be_dropped_is_recognized() {
    let table = RowStatement::DropTable("app.notes".parse().unwrap());
    for sql in ["DROP TABLE app.notes", "drop table IF EXISTS \"app\".notes"] {
        assert_eq!(parse(sql).unwrap(), Some(table.clone()), "{sql}");
    }
}

#[test]
fn other_statements_are_not_recognized() {
    for sql in [
        "",
        "SELECT 1",
        "CREATE TABLE t (a INT)",
        "CREATE SCHEMA app",
        "SHOW TABLES",
        "KILL 5",
        "INSERT INTO t SELECT 1 AS user",
        "CREATE \"NAMESPACE\" app",
        "\"FLUSH\" ALL",
        "CREATE SHARED",
        "CREATE SHARED VIEW v",
        "CREATE OR REPLACE TABLE t (a INT)",
        "DROP TABLE a, b",
        "DROP TABLE app.notes CASCADE",
        "INSERT INTO flush VALUES (1)",
        "'FLUSH' ALL",
        "-- FLUSH ALL",
    ] {
        assert_eq!(parse(sql).unwrap(), None, "{sql}");
    }
}

#[test]
fn wide_tables_are_created() {
    let columns: Vec<_> = (0..2000).map(|n| format!("c{n} DECIMAL(10, 2) NOT NULL DEFAULT {n}.5")).collect();
    let sql = format!("CREATE SHARED TABLE t ({}, PRIMARY KEY (c1, c1999))", columns.join(", "));
    assert_eq!(created(&sql).columns().len(), 2000);
}

#[test]
fn deep_recursion_is_refused() {
    let deep = |before: &str, open: &str, close: &str| {
        let sql = format!(
            "CREATE SHARED TABLE t (k INT PRIMARY KEY, x {before}{}1{})",
            open.repeat(20_000),
            close.repeat(20_000)
        );
        refused(&sql, "the SQL cannot be read");
    };
    deep("INT DEFAULT ", "(", ")");
    deep("INT DEFAULT ", "-", "");
    deep("INT DEFAULT ", "NOT ", "");
    deep("INT DEFAULT ", "INTERVAL ", "");
    deep("INT DEFAULT ", "f(1, ", ")");
    deep("INT DEFAULT ", "CASE ", "");
    deep("INT DEFAULT ", "[1,", "]");
    deep("INT DEFAULT ", "(SELECT ", ")");
    deep("", "ARRAY<", ">");
    deep("", "ARRAY<ARRAY<INT>, ", ">");
    deep("", "SETOF ", "");
    deep("", "TABLE (x ", ")");
    deep("INT CHECK ", "(1,", ")");
    refused(&format!("FLUSH TABLE {}", "a.".repeat(20_000)), "the SQL cannot be read");
    refused(&format!("CREATE SHARED TABLE t AS {}", "SELECT (".repeat(20_000)), "the SQL cannot be read");
}

/// Statements from which random ones are made.
const EXAMPLES: &[&str] = &[
    "CREATE NAMESPACE IF NOT EXISTS app",
    "CREATE SHARED TABLE IF NOT EXISTS app.t (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), x DECIMAL(10, 2) NOT NULL DEFAULT -1.5)",
    "CREATE SHARED TABLE t (a TEXT DEFAULT 'x', b DATE DEFAULT DATE '2024-01-01', CONSTRAINT c PRIMARY KEY (b, a)) WITH (layout = 'packed')",
    "CREATE SHARED TABLE t (a INT[] UNIQUE, b ARRAY<INT>, c TIMESTAMP(6) WITH TIME ZONE, CHECK (a > 1), FOREIGN KEY (a) REFERENCES u (x) ON DELETE CASCADE)",
    "CREATE SHARED TABLE t (a INT GENERATED ALWAYS AS IDENTITY, b BYTEA DEFAULT X'00', PRIMARY KEY (a)) PARTITION BY RANGE (a) AS SELECT * FROM (VALUES (1)) u",
    "CREATE USER TABLE t (a INT)",
    "FLUSH TABLE app.t",
    "FLUSH ALL",
];

#[test]
fn random_tokens_are_parsed_or_refused_in_one_sentence() {
    let examples: Vec<Vec<TokenWithSpan>> = EXAMPLES.iter().map(|sql| tokens(sql)).collect();
    let all = tokens(&format!("{} ' ' \"\" ( ) [ ] {{ }} < > ; :: $1 -1e9 \u{0}é", EXAMPLES.join(" ")));
    let mutated = |rng: &mut Rng| {
        let mut tokens = pick(rng, &examples);
        for _ in 0..rng.usize(1..6) {
            let (at, other) = (rng.usize(..=tokens.len()), rng.usize(..all.len()));
            match rng.u8(..5) {
                0 if at < tokens.len() => drop(tokens.remove(at)),
                1 if at < tokens.len() => tokens[at] = all[other].clone(),
                2 if at < tokens.len() => {
                    let with = rng.usize(..tokens.len());
                    tokens.swap(at, with);
                }
                3 => tokens.truncate(at),
                _ => tokens.insert(at, all[other].clone()),
            }
        }
        tokens
    };
    let shuffled = |rng: &mut Rng| {
        let begin = pick(rng, &["CREATE SHARED TABLE", "CREATE SHARED TABLE t (", "CREATE NAMESPACE", "FLUSH", ""]);
        let rest = (0..rng.usize(..40)).map(|_| pick(rng, &all)).collect::<Vec<_>>();
        tokens(begin).into_iter().chain(rest).collect()
    };
    let count = std::cell::Cell::new((0, 0));
    for_seeds(20_000, |rng| {
        let tokens = if rng.bool() { mutated(rng) } else { shuffled(rng) };
        let (accepted, refused) = count.get();
        match RowStatement::parse(&tokens) {
            Ok(None) => {}
            Ok(Some(RowStatement::CreateTable { definition, .. })) => {
                // It can be stored, too.
                definition.cold_table().unwrap();
                count.set((accepted + 1, refused));
            }
            Ok(Some(_)) => count.set((accepted + 1, refused)),
            Err(e) => {
                let message = e.to_string();
                assert!(!message.contains('\n') && !message.is_empty(), "{message:?}");
                assert_eq!(e.kind(), ErrorKind::Invalid, "{message}");
                count.set((accepted, refused + 1));
            }
        }
    });
    if std::env::var_os("DELTALAKEDB_SEED").is_none() {
        let (accepted, refused) = count.get();
        assert!(accepted > 500 && refused > 5000, "{accepted} were accepted and {refused} refused");
    }
}
