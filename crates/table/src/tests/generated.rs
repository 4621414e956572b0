//! Generated columns, with names in any case.

use arrow::array::Date32Array;
use serde_json::{Value, json};

use super::*;

/// A table with the columns `Day` and `monthOf`, which are computed from `eventTime`.
async fn with_generated(fixture: &Fixture, name: &str, mode: Option<(i32, &[&str])>) -> DeltaTable {
    let table = fixture.create(name, "eventTime timestamp, Day date, monthOf date, Note string", &[]).await;
    let mut head = table.head().await.unwrap();
    let mut schema: Value = serde_json::from_str(&head.metadata.schema_string).unwrap();
    schema["fields"][1]["metadata"] = json!({"delta.generationExpression": "CAST(eventTime AS DATE)", "comment": "c"});
    schema["fields"][2]["metadata"]["delta.generationExpression"] = "TRUNC(CAST(eventTime AS DATE), 'MM')".into();
    head.metadata.schema_string = schema.to_string();
    head.protocol.min_writer_version = mode.map_or(4, |(version, _)| version);
    head.protocol.writer_features = mode.map(|(_, features)| features.iter().map(|f| f.to_string()).collect());
    let actions = vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata)];
    let request = CommitRequest::new(fixture.id(name).await, Uuid::from_u128(1), Base::Exactly(0), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    fixture.open(name).await
}

/// Rows of that table. Days count from 1970; `None` leaves the column out.
fn events(hours: &[i64], days: Option<&[Option<i32>]>, note: &str) -> Vec<RecordBatch> {
    let times = hours.iter().map(|hour| hour * 3_600_000_000).collect::<Vec<_>>();
    let times: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    let notes: ArrayRef = Arc::new(StringArray::from(vec![note; hours.len()]));
    let mut columns = vec![("eventTime", times), ("Note", notes)];
    columns.extend(days.map(|days| ("Day", Arc::new(Date32Array::from(days.to_vec())) as ArrayRef)));
    vec![RecordBatch::try_from_iter(columns).unwrap()]
}

async fn all(table: &DeltaTable) -> Vec<String> {
    let columns = ["Note", "Day", "monthOf"].map(String::from).to_vec();
    text(&table.read(&Scan { columns: Some(columns), ..Scan::default() }).await.unwrap())
}

async fn refused(table: &DeltaTable, operation: Operation, what: &str) {
    let (version, files) = (table.head().await.unwrap().version, data_files(table));
    let e = table.run(operation, &WriteOptions::default()).await.unwrap_err();
    let message = e.to_string();
    assert_eq!(e.kind(), ErrorKind::Invalid, "{what}: {message}");
    assert!(message.contains("\"Day\" is generated as CAST(eventTime AS DATE)"), "{what}: {message}");
    assert_eq!((table.head().await.unwrap().version, data_files(table)), (version, files), "{what}");
}

fn update(set: &[(&str, &str)], filter: &str) -> Operation {
    let set = set.iter().map(|(column, value)| (column.to_string(), value.to_string())).collect();
    Operation::Update { set, filter: Some(filter.into()), safe_cast: false }
}

fn merge(set: Assignments, values: Assignments, rows: Vec<RecordBatch>) -> Operation {
    let on = Merge::on("target.\"Note\" = source.\"Note\"");
    let on = on.when(MergeClause::MatchedUpdate { condition: None, set });
    Operation::Merge(on.when(MergeClause::NotMatchedInsert { condition: None, values }), rows.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_computed_and_checked() {
    let fixture = Fixture::new();
    for (name, mode) in [("old", None), ("features", Some((7, &["generatedColumns", "appendOnly"][..])))] {
        let table = with_generated(&fixture, name, mode).await;
        let (options, before) = (WriteOptions::default(), table.head().await.unwrap());
        table.write(events(&[25], None, "a"), SaveMode::Append, &options).await.unwrap();
        table.write(events(&[800], Some(&[Some(33)]), "b"), SaveMode::Append, &options).await.unwrap();
        table.write(events(&[800, 25], Some(&[Some(33), None]), "n"), SaveMode::Append, &options).await.unwrap();
        table
            .run(
                Operation::Delete { filter: Some("\"Note\" = 'n' AND \"Day\" IN ('1970-01-02', '1970-02-03')".into()) },
                &options,
            )
            .await
            .unwrap();
        let (a, b) = ("|a|1970-01-02|1970-01-01|", "|b|1970-02-03|1970-02-01|");
        assert_eq!(all(&table).await, [a, b]);
        let wrong = || events(&[1], Some(&[Some(7)]), "c");
        refused(&table, Operation::Write(WriteRows::new(wrong(), SaveMode::Append)), "append").await;
        refused(&table, Operation::Write(WriteRows::new(wrong(), SaveMode::Overwrite)), "overwrite").await;
        refused(&table, update(&[("Day", "DATE '2020-01-01'")], "\"Note\" = 'a'"), "update of the column").await;
        let both = [("eventTime", "TIMESTAMP '1970-03-05T00:00:00Z'"), ("Day", "DATE '2020-01-01'")];
        refused(&table, update(&both, "\"Note\" = 'a'"), "update of both").await;
        let day = || Assignments::Columns(vec![("\"Day\"".into(), "source.\"Day\"".into())]);
        refused(&table, merge(day(), Assignments::All, events(&[800], Some(&[Some(1)]), "b")), "merge").await;
        refused(&table, merge(day(), Assignments::All, events(&[800], Some(&[Some(1)]), "new")), "merge of a new row")
            .await;

        table
            .run(update(&[("eventTime", "TIMESTAMP '1970-03-05T00:00:00Z'")], "\"Note\" = 'a'"), &options)
            .await
            .unwrap();
        assert_eq!(all(&table).await, ["|a|1970-03-05|1970-03-01|", b]);
        table.run(update(&[("Note", "'z'")], "\"Note\" = 'a'"), &options).await.unwrap();
        assert_eq!(all(&table).await, [b, "|z|1970-03-05|1970-03-01|"]);
        let rows = [events(&[1600], None, "b").remove(0), events(&[1], None, "c").remove(0)].to_vec();
        table.run(merge(Assignments::All, Assignments::All, rows), &options).await.unwrap();
        let merged = ["|b|1970-03-08|1970-03-01|", "|c|1970-01-01|1970-01-01|", "|z|1970-03-05|1970-03-01|"];
        assert_eq!(all(&table).await, merged);
        // Without its time, an event has no day.
        let note = Assignments::Columns(vec![("\"Note\"".into(), "source.\"Note\"".into())]);
        table.run(merge(note.clone(), note, events(&[1], None, "d")), &options).await.unwrap();
        assert_eq!(all(&table).await[2], "|d|||");

        // Generated columns are kept by other changes of the metadata, and follow when their sources change.
        table.run(Operation::Alter(Alter::AddColumns(parse_schema("more long").unwrap())), &options).await.unwrap();
        let (was, now) = (before, table.head().await.unwrap());
        let fields = |schema: &str| serde_json::from_str::<Value>(schema).unwrap()["fields"].clone();
        assert_eq!(now.protocol, was.protocol);
        let (was, now) = (fields(&was.metadata.schema_string), fields(&now.metadata.schema_string));
        assert_eq!(now.as_array().unwrap()[..4], was.as_array().unwrap()[..]);
        check_plain(&table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_leaves_generated_columns_out() {
    let fixture = Fixture::new();
    let table = with_generated(&fixture, "t", None).await;
    let mut session = SqlSession::new(fixture.catalog.clone(), SqlOptions::default()).unwrap();
    let insert = "INSERT INTO t (\"Note\", \"eventTime\") VALUES ('s', TIMESTAMP '1970-02-03T04:00:00Z')";
    session.execute(insert).unwrap().next().await.unwrap().unwrap();
    assert_eq!(all(&table).await, ["|s|1970-02-03|1970-02-01|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_schema_has_no_generated_columns() {
    let fixture = Fixture::new();
    let table = with_generated(&fixture, "t", None).await;
    let replace = WriteRows::new(events(&[1], Some(&[Some(7)]), "c"), SaveMode::Overwrite);
    let replace = WriteRows { schema_mode: Some(SchemaMode::Overwrite), ..replace };
    table.run(Operation::Write(replace), &WriteOptions::default()).await.unwrap();
    assert!(!table.head().await.unwrap().metadata.schema_string.contains("generationExpression"));
    check_plain(&table).await;
}
