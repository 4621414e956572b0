//! What people type.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use deltalakedb_log::{Result, TableOwner, TxnLogError};

/// Delta Lake tables with a database's brain: the log in SQL, mirrored to `_delta_log`.
#[derive(Debug, Parser)]
#[command(name = "dl", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// The catalog, such as deltasql://sqlite//var/data/meta.db
    #[arg(long, global = true, env = "DELTALAKEDB_CATALOG", hide_env_values = true, value_name = "URI")]
    pub(crate) catalog: Option<String>,
    /// How results are printed: tables for people, JSON and CSV for programs
    #[arg(long, global = true, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Print results and errors, nothing else
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// A TOML file with settings
    #[arg(long, global = true, env = "DELTALAKEDB_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<std::path::PathBuf>,
    /// One setting; may be repeated. After `dl update`: a column and its new value
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Csv,
    /// Bytes of one Parquet file, for rows: `dl sql` and `dl read`
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the catalog, or bring an older one up to date
    Init {
        /// The catalog was restored from a backup, or its server replaced: begin a new epoch
        #[arg(long)]
        restored: bool,
    },
    /// Bring an existing Delta table in, with its history; again: continue, or take in commits made by others
    Import {
        /// A path or URL
        location: String,
        /// The name it gets, `name` or `namespace.name`
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        /// Forget an import of that place that was interrupted: its name and place are free again
        #[arg(long, conflicts_with = "name")]
        abandon: bool,
    },
    /// Create an empty table
    Create {
        name: String,
        /// Where it will be; below the setting `warehouse` when absent
        #[arg(long)]
        location: Option<String>,
        /// JSON, or 'id long, day string'
        #[arg(long)]
        schema: String,
        /// Columns that partition it
        #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
        partition_by: Vec<String>,
        /// A property, such as delta.enableChangeDataFeed=true; may be repeated
        #[arg(long = "property", value_name = "KEY=VALUE")]
        properties: Vec<String>,
    },
    /// Give a table another name
    Rename {
        old: String,
        /// `name` or `namespace.name`; a name alone is in `default`
        new: String,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// Drop a table; it can be undropped for a while. Of an import that is not finished: give it up
    Drop(DropArgs),
    /// Bring a dropped table back
    Undrop {
        /// The name it had; of several the one that was dropped last
        name: String,
        /// Another name, where its own was taken meanwhile
        #[arg(long = "as", value_name = "NAME")]
        new: Option<String>,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// Take a table out of the catalog: it stays where it is, as a plain Delta table
    Detach {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        by: OwnerArgs,
    },
    /// List the tables
    Tables {
        /// Those that were dropped or detached, and imports that are not finished
        #[arg(long)]
        dropped: bool,
    },
    /// Show one table
    Show { name: String },
    /// Show a table's commits, newest first
    History {
        name: String,
        /// At most so many
        #[arg(long)]
        limit: Option<u64>,
        /// Not before that time
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Not after that time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// List a table's live files
    Files {
        name: String,
        /// Only files in which a row may match
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        #[command(flatten)]
        at: AtArgs,
        /// Show the SQL that finds them, and how many files were looked at, found and kept
        #[arg(long)]
        explain: bool,
    },
    /// Print the whole state of a table at a version
    Snapshot {
        name: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Read rows
    Read {
        name: String,
        /// Only rows that match
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// Only these columns
        #[arg(long, value_delimiter = ',')]
        columns: Option<Vec<String>>,
        /// At most so many rows
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Run SQL over all tables; a shell without an argument
    Sql {
        /// Statements separated by `;`, which run in order until one fails
        statements: Option<String>,
    },
    /// Write rows from a file
    Write(WriteArgs),
    /// Delete rows
    Delete {
        name: String,
        /// Those that match
        #[arg(long = "where", value_name = "SQL", required_unless_present = "all")]
        filter: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "filter")]
        all: bool,
    },
    /// Set columns of rows: `--set 'price = price * 2'`, which may be repeated
    Update {
        name: String,
        /// Of those that match
        #[arg(long = "where", value_name = "SQL", required_unless_present = "all")]
        filter: Option<String>,
        /// Of all rows
        #[arg(long, conflicts_with = "filter")]
        all: bool,
    },
    /// Merge rows into a table: the first clause that applies to a row decides
    Merge(MergeArgs),
    /// Put small files together, or lay rows out along columns
    Optimize {
        name: String,
        /// Columns along whose values rows are laid out
        #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
        zorder: Vec<String>,
        /// The size files should get, such as 256mb
        #[arg(long, value_name = "SIZE")]
        target_size: Option<String>,
    },
    /// Remove files that no version within retention, and nobody who may still commit, can need
    Vacuum(VacuumArgs),
    /// End history that no retention needs: old versions leave the catalog and _delta_log
    Expire(ExpireArgs),
    /// Make a table what it was
    Restore {
        name: String,
        #[command(flatten)]
        to: ToArgs,
    },
    /// Change columns, properties, constraints or the description of a table, all in one commit
    Alter(AlterArgs),
    /// Read what changed from version to version, where delta.enableChangeDataFeed is set
    Changes {
        name: String,
        /// The first version
        #[arg(long, value_name = "VERSION")]
        from: u64,
        /// The last version; the newest when absent
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Publish commits to _delta_log
    Mirror {
        #[command(subcommand)]
        command: MirrorCommand,
    },
    /// Compare _delta_log with the catalog; exit 3 and the smallest difference when they differ
    Verify {
        /// One table; all when absent
        name: Option<String>,
        /// All tables, as without a name
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Replay every version, not only the newest
        #[arg(long)]
        every_version: bool,
        /// Look for every data file
        #[arg(long)]
        data: bool,
    },
    /// Copy the catalog to another database, with all history; again: bring what was committed since
    CopyCatalog {
        /// The catalog to copy to, made when it is missing
        #[arg(long, value_name = "URI")]
        to: String,
    },
    /// The tour, on an embedded catalog in a temporary folder
    Demo {
        /// Work in this empty folder and leave everything there
        #[arg(long, value_name = "DIR")]
        keep: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MirrorCommand {
    /// How far the mirrors are
    Status {
        /// Exit 3 when one lags or has stopped
        #[arg(long)]
        check: bool,
    },
    /// Publish everything that is committed
    Run {
        /// Go on until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Write a checkpoint of a table's newest published version, over one that is there
    Checkpoint { name: String },
    /// Put back what was published of a table and is missing in its _delta_log
    Repair {
        name: String,
        /// Keep the catalog's commits where another engine wrote others
        #[arg(long, conflicts_with = "theirs")]
        ours: bool,
        /// Keep the other engine's commits
        #[arg(long)]
        theirs: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    pub(crate) name: String,
    /// Delete its files, too: nothing brings it back then. What does not belong to it stays
    #[arg(long)]
    pub(crate) delete_files: bool,
    /// Do not ask before files are deleted
    #[arg(long)]
    pub(crate) yes: bool,
    /// Drop it even if not all of its commits can be published
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) by: OwnerArgs,
}

/// In whose name the life of a table is changed.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// The owner of the table, as `dl show` says it, for when that program is no longer installed
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Option<TableOwner>,
}

#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    pub(crate) name: String,
    /// A file, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) input: String,
    /// The file's format; by its ending when absent
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// What happens to rows that are there
    #[arg(long, default_value = "append")]
    pub(crate) mode: Mode,
    /// Overwrite only the rows that match; the new ones must match, too
    #[arg(long, value_name = "SQL")]
    pub(crate) replace_where: Option<String>,
    /// What happens to columns that the table has not; without it they are refused
    #[arg(long, value_name = "MODE")]
    pub(crate) schema_mode: Option<Evolution>,
    /// Columns that partition a new table
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) partition_by: Vec<String>,
    /// Where a new table will be
    #[arg(long)]
    pub(crate) location: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    pub(crate) name: String,
    /// The rows: a file as `dl write` takes it, - for standard input, or a table of the catalog
    #[arg(long, value_name = "FILE|TABLE")]
    pub(crate) source: String,
    /// The file's format; by its ending when absent
    #[arg(long, value_name = "FORMAT")]
    pub(crate) source_format: Option<InputFormat>,
    /// Which rows belong together, such as 'target.id = source.id'
    #[arg(long, value_name = "SQL")]
    pub(crate) on: String,
    /// Add columns to the table that only the source has
    #[arg(long)]
    pub(crate) add_columns: bool,
    #[command(flatten)]
    pub(crate) clauses: Clauses,
}

/// The clauses of a merge, in the order in which they were typed.
#[derive(Debug)]
pub(crate) struct Clauses(pub(crate) Vec<(&'static str, String)>);

/// Their options: whether one sets something, or only takes a condition, and what it does.
const CLAUSES: [(&str, bool, &str); 5] = [
    ("matched-update", true, "Update rows that have a counterpart: '*' or 'a = source.a, …', then perhaps WHERE …"),
    ("matched-delete", false, "Delete rows that have a counterpart"),
    ("not-matched-insert", true, "Insert rows without a counterpart: '*' or 'a = source.a, …', then perhaps WHERE …"),
    ("not-matched-by-source-update", true, "Update rows of the table without a counterpart: 'a = 0', …"),
    ("not-matched-by-source-delete", false, "Delete rows of the table without a counterpart"),
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
            command.arg(match sets {
                true => clause.value_name("COLUMNS"),
                false => clause.value_name("SQL").num_args(0..=1).default_missing_value(""),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, Args)]
pub(crate) struct VacuumArgs {
    pub(crate) name: String,
    /// Keep the files of versions that were the newest within this time, such as 7d or 12h; the table's own setting,
    /// or a week, when absent
    #[arg(long, value_name = "TIME")]
    pub(crate) retain: Option<String>,
    /// Allow a shorter time than the table's own
    #[arg(long, requires = "retain")]
    pub(crate) force: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only files that the log knows; the table's folder is not listed
    #[arg(long)]
    pub(crate) lite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExpireArgs {
    #[arg(required_unless_present = "all")]
    pub(crate) name: Option<String>,
    /// All tables; rows of the audit that are older are removed, too
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// Keep versions that were the newest within this time, such as 30d; what the table says, or the setting
    /// retention.time, when absent. Tombstones are kept as long as the table says in any case, and all since
    #[arg(long, value_name = "TIME")]
    pub(crate) keep: Option<String>,
    /// Keep so many of the newest versions, however old they are
    #[arg(long, value_name = "N")]
    pub(crate) keep_versions: Option<std::num::NonZeroU64>,
    /// Only show what would end
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ToArgs {
    /// The state at that version
    #[arg(long)]
    pub(crate) version: Option<u64>,
    /// The state at that time
    #[arg(long, value_name = "TIME")]
    pub(crate) timestamp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AlterArgs {
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) changes: AlterChanges,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct AlterChanges {
    /// Add a column, such as 'note string'; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) add_column: Vec<String>,
    /// Let a column be null; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) drop_not_null: Vec<String>,
    /// Set a property, such as delta.appendOnly=true; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set_property: Vec<String>,
    /// Add a condition that every row satisfies, such as 'positive: price > 0'; may be repeated
    #[arg(long, value_name = "NAME: SQL")]
    pub(crate) add_constraint: Vec<String>,
    /// Take a condition away; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) drop_constraint: Vec<String>,
    /// Say what the table is about
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    /// The state at that version
    #[arg(long, conflicts_with = "timestamp")]
    pub(crate) version: Option<u64>,
    /// The state at that time
    #[arg(long, value_name = "TIME")]
    pub(crate) timestamp: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    Csv,
    Ndjson,
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Add to them
    Append,
    /// Replace them
    Overwrite,
    /// Fail if the table exists
    Error,
    /// Do nothing if the table exists
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Evolution {
    /// Add them to the table
    Merge,
    /// The rows' columns become the table's; only where all rows are overwritten
    Overwrite,
}

/// What stands before the command. clap forgets repeatable options from there once one comes after the command, too.
#[derive(Debug, Parser)]
#[command(name = "dl", disable_help_flag = true, disable_version_flag = true)]
struct GlobalOptions {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    _command: Option<AnyCommand>,
}

/// The command and what follows it, unread.
#[derive(Debug, Subcommand)]
#[allow(dead_code, reason = "it is only parsed over")]
enum AnyCommand {
    #[command(external_subcommand)]
    Any(Vec<OsString>),
}

impl Cli {
    /// What was typed, and apart from it the settings that stand before the command.
    pub(crate) fn read() -> (Self, Vec<String>) {
        let cli = Self::parse();
        let before = GlobalOptions::try_parse().map(|before| before.global.settings).unwrap_or_default();
        (cli, before)
    }
}

/// `KEY=VALUE`, several times.
pub(crate) fn key_values(texts: &[String]) -> Result<HashMap<String, String>> {
    let one = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.trim().to_string())),
        _ => Err(TxnLogError::invalid(format!(
            "{text:?} sets no property: expected KEY=VALUE, such as delta.enableChangeDataFeed=true"
        ))),
    };
    texts.iter().map(one).collect()
}
