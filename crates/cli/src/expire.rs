//! Expires history.

use deltalakedb_log::time::parse_duration;
use deltalakedb_log::{Result, Retention, TxnLogError};
use deltalakedb_mirror::ExpireOptions;
use futures::TryStreamExt;
use serde_json::Value;

use crate::args::{ExpireArgs, Format};
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::expiry_report::{COLUMNS, described, failure, row_of_step, summary_of};

pub(crate) async fn run(s: &CommandContext, args: ExpireArgs) -> Result<ExitStatus> {
    let options = options(s, &args)?;
    let Some(name) = args.name.as_deref() else { return all(s, &options).await };
    let (catalog, entry) = s.table(name).await?;
    let working = s.working(format!("expiring history of {}", entry.name));
    let expired = s.mirror(&catalog).expire(entry.id, &options).await?;
    drop(working);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&summary_of(&expired, options.dry_run))?,
        _ => {
            let mut document = described(&expired);
            if options.dry_run {
                document["dryRun"] = true.into();
            }
            out.document(&document)?;
        }
    }
    Ok(ExitStatus::Success)
}

fn options(s: &CommandContext, args: &ExpireArgs) -> Result<ExpireOptions> {
    let time = args.keep.as_deref().map(|text| {
        let wrong = || TxnLogError::invalid(format!("invalid --keep {text:?}: expected a duration such as 30d or 12h"));
        parse_duration(text).ok_or_else(wrong)
    });
    Ok(ExpireOptions {
        keep: Retention { time: time.transpose()?, versions: args.keep_versions.map(|n| n.get()) },
        default: s.settings.retention,
        at_most: None,
        dry_run: args.dry_run,
        committer: s.write_options().committer(),
    })
}

async fn all(s: &CommandContext, options: &ExpireOptions) -> Result<ExitStatus> {
    let catalog = s.catalog(false).await?;
    let mut steps = s.mirror(&catalog).expire_all(options);
    let mut out = s.output();
    // People read it in the result.
    let is_marked = options.dry_run && out.format() != Format::Table;
    let mut columns: Vec<String> = COLUMNS.map(String::from).into();
    columns.extend(is_marked.then(|| "dryRun".to_string()));
    let mut listing = out.listing(columns);
    let (mut tables, mut failed) = (0, Vec::new());
    while let Some(step) = steps.try_next().await? {
        let Some(mut row) = row_of_step(&step, options.dry_run) else { continue };
        row.extend(is_marked.then_some(Value::Bool(true)));
        tables += 1;
        listing.row(row)?;
        failed.extend(failure(&step).map(TxnLogError::kind));
    }
    listing.end()?;
    match failed.first() {
        None => Ok(ExitStatus::Success),
        Some(first) => {
            let message = format!("the history of {} of {tables} tables could not be expired", failed.len());
            Err(TxnLogError::new(*first, message))
        }
    }
}
