//! `dl rebuild`: a catalog from the mirrors of its tables.

use deltalakedb_log::{Catalog, Location, Result};
use deltalakedb_mirror::{Rebuilt, RebuiltTable};
use serde_json::{Value, json};

use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::progress::Progress;
use crate::report::entry_json;

pub(crate) async fn run(s: &CommandContext, locations: &[String]) -> Result<ExitStatus> {
    let locations = locations.iter().map(|place| Location::parse(place)).collect::<Result<Vec<_>>>()?;
    let catalog = s.catalog(true).await?;
    let mirror = s.mirror(&catalog).with_future_times(s.settings.future_times);
    let progress = Progress::new(format!("rebuilding {}", catalog.describe()), s.global.quiet);
    let rebuilt = mirror.rebuild(&locations, &|done, all| progress.at(done, all)).await?;
    drop(progress);
    let mut out = s.output();
    match out.format() {
        Format::Table => {
            let columns = ["name", "version", "published", "location"];
            let mut listing = out.listing(columns.map(String::from).into());
            for table in &rebuilt.tables {
                let all = table_json(table);
                listing.row(columns.iter().map(|column| all[*column].clone()).collect())?;
            }
            listing.end()?;
        }
        _ => out.document(&document(catalog.as_ref(), &rebuilt))?,
    }
    notices(&rebuilt).iter().for_each(|notice| warn(&format!("warning: {notice}")));
    Ok(ExitStatus::Success)
}

fn table_json(rebuilt: &RebuiltTable) -> Value {
    let mut table = entry_json(&rebuilt.table);
    table["id"] = rebuilt.table.id.to_string().into();
    table["owner"] = rebuilt.table.owner.as_ref().map(ToString::to_string).into();
    table["published"] = rebuilt.published.into();
    let cut = rebuilt.cut.as_ref();
    table["cut"] = cut.map(|cut| json!({"version": cut.version, "because": cut.because.to_string()})).into();
    table["isKnown"] = rebuilt.is_known.into();
    table
}

fn document(catalog: &dyn Catalog, rebuilt: &Rebuilt) -> Value {
    let left_out = rebuilt.left_out.iter().map(
        |table| json!({"name": table.name.to_string(), "location": table.location.to_string(), "reason": table.reason}),
    );
    json!({
        "catalog": catalog.describe(),
        "catalogId": rebuilt.catalog,
        "epoch": rebuilt.epoch,
        "tables": rebuilt.tables.iter().map(table_json).collect::<Vec<_>>(),
        "leftOut": left_out.collect::<Vec<_>>(),
        "absent": rebuilt.absent.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// What the operator has to know or do: one sentence each.
fn notices(rebuilt: &Rebuilt) -> Vec<String> {
    let mut notices = Vec::new();
    for RebuiltTable { table, published, cut, is_known, .. } in &rebuilt.tables {
        let (name, place) = (&table.name, &table.location);
        if let Some(cut) = cut {
            let (from, because) = (cut.version, &cut.because);
            let which = match *published {
                last if last == from => format!("version {from}"),
                last => format!("versions {from} to {last}"),
            };
            notices.push(format!(
                "{name} is at version {}, without {which} of its _delta_log: version {from} is part of a transaction \
                 whose part in {because} was not published or is left out; before the next write to {name}, move the \
                 files of {which} and _last_checkpoint out of {place}/_delta_log",
                table.current_version
            ));
        }
        if !is_known {
            notices.push(format!(
                "no commit in {place}/_delta_log says the name of its table: it is {name} now and has a new id, and \
                 `dl rename` gives it another name"
            ));
        }
    }
    for table in &rebuilt.left_out {
        notices.push(format!("{} at {} is left out: {}", table.name, table.location, table.reason));
    }
    if !rebuilt.absent.is_empty() {
        let names: Vec<_> = rebuilt.absent.iter().map(ToString::to_string).collect();
        notices.push(format!(
            "transactions of these tables also changed {}, of which no location is given: unless it was dropped, start \
             again in a new catalog with its location as well",
            names.join(", ")
        ));
    }
    notices
}
