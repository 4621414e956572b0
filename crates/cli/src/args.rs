//! What people type.

use std::collections::HashMap;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use deltalakedb_log::{Result, TableOwner, TxnLogError};

/// Delta Lake tables with their transaction log in SQL, mirrored to `_delta_log`.
#[derive(Debug, Parser)]
#[command(name = "dl", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of the options of all commands.
const GLOBAL: &str = "Global options";

#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// URI of the catalog, such as deltasql://sqlite//var/data/meta.db
    #[arg(long, global = true, env = "DELTALAKEDB_CATALOG", hide_env_values = true, value_name = "URI", help_heading = GLOBAL)]
    pub(crate) catalog: Option<String>,
    /// Output format
    #[arg(long, global = true, default_value = "table", value_name = "FORMAT", help_heading = GLOBAL)]
    pub(crate) format: Format,
    /// Print results as JSON, and an error as one JSON object: short for --format json
    #[arg(long, global = true, conflicts_with = "format", help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print only results and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Log what happens to standard error: -v events, -vv also the time that each step took
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    /// Print long output to the terminal directly instead of through the pager of PAGER
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) no_pager: bool,
    /// TOML file with settings [default: deltalakedb/config.toml in the folder for configuration, such as ~/.config]
    // An empty variable is as if it was not set, and clap's parser of paths rejects it.
    #[arg(long, global = true, env = "DELTALAKEDB_CONFIG", value_name = "FILE", help_heading = GLOBAL, value_parser = OsStringValueParser::new().map(std::path::PathBuf::from))]
    pub(crate) config: Option<std::path::PathBuf>,
    /// Use the settings of [profiles.NAME] in the configuration; they take precedence over its others
    #[arg(long, global = true, env = "DELTALAKEDB_PROFILE", value_name = "NAME", help_heading = GLOBAL)]
    pub(crate) profile: Option<String>,
    /// Set a configuration key; after `dl update`, set a column to an expression. May be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = GLOBAL)]
    pub(crate) settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// Comma-separated values with a header line
    Csv,
    /// One Parquet file; only for the rows of `dl sql` and `dl read`
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the catalog, or upgrade its schema
    Init {
        /// Begin a new epoch, after the catalog was restored from a backup or its server failed over
        #[arg(long)]
        restored: bool,
    },
    /// Import a Delta table with its history, continue an interrupted import, or import later commits of other writers
    Import {
        /// Path or URL of the table; for an imported table also its name
        location: String,
        /// Name of the table in the catalog, `name` or `namespace.name`
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        /// Abandon an interrupted import of this location; its name and location become free
        #[arg(long, conflicts_with = "name")]
        abandon: bool,
        /// Abandon it as the owner of the table, such as rows:/data, if the owning program is no longer installed
        #[arg(long, requires = "abandon", value_name = "OWNER")]
        owner: Option<TableOwner>,
    },
    /// Create an empty table
    Create {
        /// Table name (`name` or `namespace.name`)
        name: String,
        /// Path or URL of the table [default: a directory below the setting `warehouse`]
        #[arg(long)]
        location: Option<String>,
        /// Columns and types, such as 'id long, day string', or the JSON of a Delta schema
        #[arg(long)]
        schema: String,
        /// Partition columns
        #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
        partition_by: Vec<String>,
        /// Set a table property, such as delta.enableChangeDataFeed=true. May be repeated
        #[arg(long = "property", value_name = "KEY=VALUE")]
        properties: Vec<String>,
    },
    /// Rename a table
    Rename {
        /// Table name (`namespace.name`), path or URL
        old: String,
        /// New name, `name` or `namespace.name`; a name without a namespace is in `default`
        new: String,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// Drop a table, which can be undropped until its retention ends, or abandon an unfinished import
    Drop(DropArgs),
    /// Restore a dropped table
    Undrop {
        /// Name of the dropped table; of several tables with this name, the last one dropped
        name: String,
        /// New name, if another table has taken the old one
        #[arg(long = "as", value_name = "NAME")]
        new: Option<String>,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// Remove a table from the catalog; its files stay in place as a plain Delta table
    Detach {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// List tables
    Tables {
        /// List dropped and detached tables and unfinished imports instead
        #[arg(long)]
        dropped: bool,
    },
    /// Show the version, size, protocol, properties and columns of a table
    Show {
        /// Table name (`namespace.name`), path or URL
        name: String,
    },
    /// List the commits of a table, newest first
    History {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Maximum number of commits to print
        #[arg(long)]
        limit: Option<u64>,
        /// Print only commits at or after this time
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Print only commits at or before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// List the live data files of a table
    Files {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// List only files that may contain matching rows
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        #[command(flatten)]
        at: AtArgs,
        /// Print the SQL that finds the files, and the number of files examined, found and kept
        #[arg(long)]
        explain: bool,
    },
    /// Print the complete state of a table at a version
    Snapshot {
        /// Table name (`namespace.name`), path or URL
        name: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Read rows of a table
    Read {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Read only matching rows
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// Read only these columns
        #[arg(long, value_delimiter = ',')]
        columns: Option<Vec<String>>,
        /// Maximum number of rows to read
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Run SQL statements on the tables of the catalog, or start an interactive shell
    Sql {
        /// Statements separated by `;`, run in order until one fails [default: a shell, or standard input]
        statements: Option<String>,
        /// The data directory of row tables, created on first use; without --catalog it has a catalog of its own
        #[arg(long, value_name = "DIR")]
        data: Option<std::path::PathBuf>,
        /// The value of `:NAME` or `$NAME` in the statements: JSON, or else a text; may be repeated
        #[arg(long = "param", short = 'p', value_name = "NAME=VALUE")]
        params: Vec<String>,
    },
    /// Write rows from a file to a table
    Write(WriteArgs),
    /// Delete the rows that match a condition
    Delete {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Delete the rows that match this condition
        #[arg(long = "where", value_name = "SQL", required_unless_present = "all")]
        filter: Option<String>,
        /// Delete all rows
        #[arg(long, conflicts_with = "filter")]
        all: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Update the rows that match a condition: `--set 'price = price * 2'`, which may be repeated
    Update {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Update the rows that match this condition
        #[arg(long = "where", value_name = "SQL", required_unless_present = "all")]
        filter: Option<String>,
        /// Update all rows
        #[arg(long, conflicts_with = "filter")]
        all: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Merge rows into a table; the first clause that applies to a row is executed
    Merge(MergeArgs),
    /// Compact small files, cluster rows by Z-order, or remove deleted rows from files
    Optimize {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Z-order columns
        #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
        zorder: Vec<String>,
        /// Target file size, such as 256mb
        #[arg(long, value_name = "SIZE")]
        target_size: Option<String>,
        /// Rewrite only the files that have a deletion vector, without the rows that it hides
        #[arg(long, conflicts_with_all = ["zorder", "target_size"])]
        purge: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete data files that no retained version and no running writer needs
    Vacuum(VacuumArgs),
    /// Remove versions older than the retention from the catalog and _delta_log
    Expire(ExpireArgs),
    /// Restore a table to an earlier version
    Restore {
        /// Table name (`namespace.name`), path or URL
        name: String,
        #[command(flatten)]
        to: ToArgs,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation, which is only done on a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Remove data files that are lost from a table, with their rows
    Repair {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Print which files are missing, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation, which is only done on a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Change columns, properties, constraints or the description of a table in one commit
    Alter(AlterArgs),
    /// Read the change data feed of a table with delta.enableChangeDataFeed=true
    Changes {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// First version
        #[arg(long, value_name = "VERSION")]
        from: u64,
        /// Last version [default: the newest]
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Publish commits to _delta_log, and check and repair it
    Mirror {
        #[command(subcommand)]
        command: MirrorCommand,
    },
    /// Compare _delta_log with the catalog; exit with 3 and print the first differences if they differ
    Verify {
        /// Table name (`namespace.name`), path or URL [default: all tables]
        name: Option<String>,
        /// Verify all tables, the default
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Replay every version instead of the newest only
        #[arg(long)]
        every_version: bool,
        /// Check that every data file exists
        #[arg(long)]
        data: bool,
    },
    /// Rebuild a lost catalog, in a new one, from the _delta_log of its tables; run again, continue an interrupted rebuild
    Rebuild {
        /// Paths or URLs of tables, or of folders with tables at any depth
        #[arg(required = true, value_name = "LOCATION")]
        locations: Vec<String>,
        /// Confirm the source: the last published versions, in _delta_log
        #[arg(long, required = true)]
        from_mirror: bool,
    },
    /// Copy the catalog with all history to another database; run again, copy only later commits
    CopyCatalog {
        /// URI of the target catalog, which is created if it does not exist
        #[arg(long, value_name = "URI")]
        to: String,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// The folder for the pages, which is created if it does not exist
        #[arg(long, value_name = "DIR")]
        to: std::path::PathBuf,
    },
    /// Run the tour on an embedded catalog in a temporary directory
    Demo {
        /// Use this empty directory and keep it
        #[arg(long, value_name = "DIR")]
        keep: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MirrorCommand {
    /// Show which version of each table is published
    Status {
        /// Exit with 3 if a table lags or its publishing has stopped
        #[arg(long)]
        check: bool,
    },
    /// Publish all unpublished commits
    Run {
        /// Keep running until Ctrl-C or SIGTERM
        #[arg(long)]
        watch: bool,
        /// Serve metrics for Prometheus at this address, such as 127.0.0.1:9184, under /metrics
        #[arg(long, requires = "watch", value_name = "ADDR")]
        metrics: Option<String>,
    },
    /// Keep a DuckDB database with a view for each table, which plain DuckDB reads; run again, refresh what has changed
    Duckdb {
        /// The database, which is created if it does not exist
        #[arg(long, value_name = "FILE")]
        to: std::path::PathBuf,
    },
    /// Write a checkpoint of the newest published version, replacing an existing one
    Checkpoint {
        /// Table name (`namespace.name`), path or URL
        name: String,
    },
    /// Restore what is missing, truncated or wrong in _delta_log: commits, checkpoints, checksums, _last_checkpoint
    Repair {
        /// Table name (`namespace.name`), path or URL
        name: String,
        /// Keep the commits of the catalog: those of other engines are moved out of _delta_log
        #[arg(long, conflicts_with = "theirs")]
        ours: bool,
        /// Keep the commits of other engines: they are imported, and commits of the catalog for the same versions are
        /// copied to a folder of the table
        #[arg(long)]
        theirs: bool,
        /// Print what is missing or wrong, as `dl verify --every-version` does, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// With `--theirs`, do not ask for confirmation, which is only done on a terminal
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    /// Table name (`namespace.name`), path or URL
    pub(crate) name: String,
    /// Also delete the files of the table, which cannot be undone; files of other tables are kept
    #[arg(long)]
    pub(crate) delete_files: bool,
    /// Do not ask for confirmation, which --delete-files requires also where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Drop the table even if some commits cannot be published
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) by: OwnerArgs,
}

/// In whose name the life of a table is changed.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// Act as the owner of the table (see `dl show`), if the owning program is no longer installed
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Option<TableOwner>,
}

#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Table name (`namespace.name`), path or URL; a new table needs a name
    pub(crate) name: String,
    /// Input file, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) input: String,
    /// Format of the file [default: by its extension]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// What to do with existing rows
    #[arg(long, default_value = "append")]
    pub(crate) mode: Mode,
    /// Overwrite only the rows that match this condition; the new rows must match it, too
    #[arg(long, value_name = "SQL")]
    pub(crate) replace_where: Option<String>,
    /// How to change the schema for new columns, which are an error by default
    #[arg(long, value_name = "MODE")]
    pub(crate) schema_mode: Option<Evolution>,
    /// Partition columns of a new table
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) partition_by: Vec<String>,
    /// Path or URL of a new table [default: a directory below the setting `warehouse`]
    #[arg(long)]
    pub(crate) location: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Table name (`namespace.name`), path or URL
    pub(crate) name: String,
    /// Source rows: a file as for `dl write`, - for standard input, or a table of the catalog
    #[arg(long, value_name = "FILE|TABLE")]
    pub(crate) source: String,
    /// Format of the file [default: by its extension]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) source_format: Option<InputFormat>,
    /// Join condition, such as 'target.id = source.id'
    #[arg(long, value_name = "SQL")]
    pub(crate) on: String,
    /// Add the columns to the table that only the source has
    #[arg(long)]
    pub(crate) add_columns: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) clauses: Clauses,
}

/// The clauses of a merge, in the order in which they were typed.
#[derive(Debug)]
pub(crate) struct Clauses(pub(crate) Vec<(&'static str, String)>);

/// Their options: whether one sets something, or only takes a condition, and what it does.
const CLAUSES: [(&str, bool, &str); 5] = [
    ("matched-update", true, "Update matched rows: '*' or 'a = source.a, …', then an optional WHERE …"),
    ("matched-delete", false, "Delete matched rows, or those that satisfy a condition"),
    ("not-matched-insert", true, "Insert unmatched source rows: '*' or 'a = source.a, …', then an optional WHERE …"),
    ("not-matched-by-source-update", true, "Update unmatched table rows: 'a = 0', …, then an optional WHERE …"),
    ("not-matched-by-source-delete", false, "Delete unmatched table rows, or those that satisfy a condition"),
];

impl FromArgMatches for Clauses {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed = Vec::new();
        for (name, ..) in CLAUSES {
            let places = matches.indices_of(name).into_iter().flatten();
            let texts = matches.get_many::<String>(name).into_iter().flatten();
            typed.extend(places.zip(texts).map(|(place, text)| (place, name, text.clone())));
        }
        typed.sort_unstable();
        Ok(Self(typed.into_iter().map(|(_, name, text)| (name, text)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Clauses {
    fn augment_args(command: clap::Command) -> clap::Command {
        CLAUSES.into_iter().fold(command, |command, (name, sets, help)| {
            let clause = Arg::new(name).long(name).help(help).action(ArgAction::Append).required(false);
            command.arg(if sets {
                clause.value_name("COLUMNS")
            } else {
                clause.value_name("SQL").num_args(0..=1).default_missing_value("")
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, Args)]
pub(crate) struct VacuumArgs {
    /// Table name (`namespace.name`), path or URL
    pub(crate) name: String,
    /// Retention: keep the files of versions that were current within this time, such as 7d or 12h [default: the table
    /// property delta.deletedFileRetentionDuration, or one week]
    #[arg(long, value_name = "TIME")]
    pub(crate) retain: Option<String>,
    /// Allow a shorter retention than that of the table
    #[arg(long, requires = "retain")]
    pub(crate) force: bool,
    /// Do not ask for confirmation, which is only done on a terminal, and with --force
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete only files that the log names; do not list the table's directory
    #[arg(long)]
    pub(crate) lite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExpireArgs {
    /// Table name (`namespace.name`), path or URL
    #[arg(required_unless_present = "all")]
    pub(crate) name: Option<String>,
    /// Expire all tables, and remove older rows of the audit
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// Keep versions that were current within this time, such as 30d [default: the table property
    /// delta.logRetentionDuration, or the setting retention.time]. Versions whose tombstones are retained are always kept
    #[arg(long, value_name = "TIME")]
    pub(crate) keep: Option<String>,
    /// Keep at least this number of the newest versions
    #[arg(long, value_name = "N")]
    pub(crate) keep_versions: Option<std::num::NonZeroU64>,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ToArgs {
    /// Restore this version
    #[arg(long)]
    pub(crate) version: Option<u64>,
    /// Restore the version that was current at this time
    #[arg(long, value_name = "TIME")]
    pub(crate) timestamp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AlterArgs {
    /// Table name (`namespace.name`), path or URL
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) changes: AlterChanges,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct AlterChanges {
    /// Add a column, such as 'note string'. May be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) add_column: Vec<String>,
    /// Make a column nullable. May be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) drop_not_null: Vec<String>,
    /// Set a table property, such as delta.appendOnly=true. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set_property: Vec<String>,
    /// Add a check constraint, such as 'positive: price > 0'. May be repeated
    #[arg(long, value_name = "NAME: SQL")]
    pub(crate) add_constraint: Vec<String>,
    /// Drop a check constraint. May be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) drop_constraint: Vec<String>,
    /// Set the description of the table
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    /// Read the table at this version
    #[arg(long, conflicts_with = "timestamp")]
    pub(crate) version: Option<u64>,
    /// Read the table at this time
    #[arg(long, value_name = "TIME")]
    pub(crate) timestamp: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object a line
    Ndjson,
    /// Parquet
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Add the new rows
    Append,
    /// Replace the existing rows
    Overwrite,
    /// Fail if the table exists
    Error,
    /// Do nothing if the table exists
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Evolution {
    /// Add the new columns to the table
    Merge,
    /// Replace the schema with that of the new rows; only with --mode overwrite
    Overwrite,
}

/// `KEY=VALUE`, several times.
pub(crate) fn key_values(texts: &[String]) -> Result<HashMap<String, String>> {
    let one = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.trim().to_string())),
        _ => Err(TxnLogError::invalid(format!(
            "invalid property {text:?}: expected KEY=VALUE, such as delta.enableChangeDataFeed=true"
        ))),
    };
    texts.iter().map(one).collect()
}
