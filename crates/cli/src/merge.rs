//! Merges rows from a file, or from another table.

use std::path::Path;

use arrow::datatypes::SchemaRef;
use deltalakedb_log::{At, Catalog, ErrorKind, Result, TableRef, TxnLogError};
use deltalakedb_table::{Assignments, DeltaTable, Merge, MergeClause, Operation, Rows, Scan, parse_clause};

use crate::args::MergeArgs;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::input::{self, Columns};
use crate::operation;
use crate::report::counted;

pub(crate) async fn merge(s: &CommandContext, args: MergeArgs) -> Result<ExitStatus> {
    let mut merge = Merge::on(args.on.clone());
    merge.evolve_schema = args.add_columns;
    for (option, text) in &args.clauses.0 {
        merge = merge.when(clause(option, text)?);
    }
    if merge.clauses.is_empty() {
        return Err(TxnLogError::invalid(
            "a merge needs a clause: pass for example --matched-update '*' --not-matched-insert '*'",
        ));
    }
    let (catalog, entry) = s.table(&args.name).await?;
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let schema = table.schema(At::Latest).await?;
    let rows = source(s, catalog.clone(), &args, &schema).await?;
    operation::run_on(s, catalog, entry, Operation::Merge(merge, rows), args.dry_run, |table, result| {
        let count = |what| {
            let metric = format!("num_target_rows_{what}");
            let n = result.metrics.get(metric).and_then(serde_json::Value::as_u64).unwrap_or(0);
            (n, what)
        };
        let counts = ["inserted", "updated", "deleted"].map(count);
        let parts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| (*n, *what)).collect();
        match (result.committed, parts.as_slice()) {
            (None, _) => format!("no clause applies to a row of {}", table.name),
            (Some(_), []) => format!("rows were merged into {}", table.name),
            (Some(_), [(first, what), rest @ ..]) => {
                let verb = if *first == 1 { "was" } else { "were" };
                let rest: String = rest.iter().map(|(n, what)| format!(", {n} {what}")).collect();
                format!("{} {verb} {what}{rest} in {}", counted(*first, "row"), table.name)
            }
        }
    })
    .await
}

fn clause(option: &str, text: &str) -> Result<MergeClause> {
    use MergeClause as C;
    let condition = (!text.trim().is_empty()).then(|| text.to_string());
    Ok(match option {
        "matched-update" => {
            let (set, condition) = parse_clause(text)?;
            C::MatchedUpdate { condition, set }
        }
        "not-matched-insert" => {
            let (values, condition) = parse_clause(text)?;
            C::NotMatchedInsert { condition, values }
        }
        "not-matched-by-source-update" => match parse_clause(text)? {
            (Assignments::Columns(set), condition) => C::NotMatchedBySourceUpdate { condition, set },
            (Assignments::All, _) => {
                return Err(TxnLogError::invalid(
                    "--not-matched-by-source-update has no source row to take `*` from: name the columns to set",
                ));
            }
        },
        "matched-delete" => C::MatchedDelete { condition },
        "not-matched-by-source-delete" => C::NotMatchedBySourceDelete { condition },
        other => return Err(TxnLogError::new(ErrorKind::Internal, format!("--{other} is not a clause of a merge"))),
    })
}

/// The source rows, from a file or a table.
async fn source(
    s: &CommandContext,
    catalog: std::sync::Arc<dyn Catalog>,
    args: &MergeArgs,
    target: &SchemaRef,
) -> Result<Rows> {
    let source = args.source.as_str();
    if source == "-" || args.source_format.is_some() || Path::new(source).is_file() {
        return Ok(input::open(source, args.source_format, Columns::AndMore(target))?.into());
    }
    match s.find(catalog.as_ref(), source).await {
        Ok(Some(entry)) => {
            let table = DeltaTable::open_in(catalog, &TableRef::Id(entry.id)).await?;
            Ok(table.scan(&Scan::default()).await?.into())
        }
        Err(e) if e.kind() != ErrorKind::Invalid => Err(e),
        Ok(None) | Err(_) => {
            Err(TxnLogError::not_found(format!("the source {source} is neither a file nor a table of the catalog")))
        }
    }
}
