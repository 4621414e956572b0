//! What people type.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Delta Lake tables with a database's brain: the log in SQL, mirrored to `_delta_log`.
#[derive(Debug, Parser)]
#[command(name = "dl", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The catalog, such as deltasql://sqlite//var/data/meta.db
    #[arg(long, global = true, env = "DELTALAKEDB_CATALOG", value_name = "URI")]
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
    /// One setting; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
    /// Bytes of one Parquet file, for rows: `dl sql` and `dl read`
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the catalog, or bring an older one up to date
    Init,
    /// Bring an existing Delta table in, with its history; again: continue, or take in commits made by others
    Import {
        /// A path or URL
        location: String,
        /// The name it gets, `name` or `namespace.name`
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
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
    },
    /// List the tables
    Tables,
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
    Write {
        name: String,
        /// A file, or - for standard input
        #[arg(long, value_name = "FILE")]
        input: String,
        /// The file's format; by its ending when absent
        #[arg(long, value_name = "FORMAT")]
        input_format: Option<InputFormat>,
        /// What happens to rows that are there
        #[arg(long, default_value = "append")]
        mode: Mode,
        /// Columns that partition a new table
        #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
        partition_by: Vec<String>,
        /// Where a new table will be
        #[arg(long)]
        location: Option<String>,
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
        /// All tables
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
