//! Spark with Delta Lake, as a reader and as a writer of tables.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::{skip, soak};

/// The folders in `~/.cache/deltalakedb` in which `scripts/setup test` installs them.
const PYTHON: &str = "spark-4.1.4";
const JARS: &str = "delta-spark-4.4.0";

/// How many tables each caller of [`read_by_spark`] has read in a usual run: a table takes a second.
const SAMPLE: usize = 8;

/// Runs the statements of each line, an array of texts. Answers with a line: an array with the rows of each statement,
/// or the text of an error.
const PROGRAM: &str = r#"
import json, sys, tempfile
from pyspark.sql import SparkSession
warehouse = tempfile.TemporaryDirectory()
settings = {
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2", "spark.databricks.delta.snapshotPartitions": "1",
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.warehouse.dir": warehouse.name,
    # A list of jars, or else a package that Spark finds itself.
    "spark.jars": sys.argv[1],
    "spark.jars.packages": sys.argv[2],
}
builder = SparkSession.builder.master("local[2]")
for key, value in settings.items():
    if value:
        builder = builder.config(key, value)
spark = builder.getOrCreate()
for line in sys.stdin:
    try:
        answer = [[row.asDict() for row in spark.sql(statement).collect()] for statement in json.loads(line)]
    except Exception as e:
        answer = str(e)
    print("\nANSWER " + json.dumps(answer), flush=True)
"#;

/// A Python with Spark, and Delta Lake for it.
pub struct Spark {
    python: PathBuf,
    /// The list of jars, or empty.
    jars: String,
    /// The packages that Spark downloads itself, or empty.
    packages: String,
}

/// Spark, from the folders in which `scripts/setup test` installs it. `DELTALAKEDB_SPARK` names another Python, and
/// `DELTALAKEDB_SPARK_JARS` or `DELTALAKEDB_SPARK_PACKAGES` another Delta Lake. `None`, after a report, if there is none.
pub fn spark() -> Option<Spark> {
    let cache = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from).join(".cache/deltalakedb");
    let python =
        std::env::var_os("DELTALAKEDB_SPARK").map_or_else(|| cache.join(PYTHON).join("bin/python"), PathBuf::from);
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let (mut jars, packages) = (text("DELTALAKEDB_SPARK_JARS"), text("DELTALAKEDB_SPARK_PACKAGES"));
    if jars.is_empty() && packages.is_empty() {
        let files = std::fs::read_dir(cache.join(JARS)).into_iter().flatten().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "jar"));
        jars = files.map(|path| path.to_str().unwrap().to_string()).collect::<Vec<_>>().join(",");
    }
    if python.is_file() && !(jars.is_empty() && packages.is_empty()) {
        return Some(Spark { python, jars, packages });
    }
    skip("Spark is not installed: run `scripts/setup test` where there is Java 17 or newer");
    None
}

/// The process that all tests of a program share, because its start takes many seconds. It ends with the program, at the
/// end of its input.
static SESSION: Mutex<Option<Session>> = Mutex::new(None);

struct Session {
    process: Child,
    output: BufReader<ChildStdout>,
    log: File,
}

impl Session {
    fn start(spark: &Spark) -> Self {
        let log = tempfile::tempfile().unwrap();
        let mut command = Command::new(&spark.python);
        command.arg("-c").arg(PROGRAM).args([&spark.jars, &spark.packages]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output, log }
    }

    fn answer(&mut self, statements: &[String]) -> Value {
        let mut input = self.process.stdin.as_ref().unwrap();
        if writeln!(input, "{}", Value::from(statements)).is_ok() {
            for line in self.output.by_ref().lines().map_while(Result::ok) {
                if let Some(answer) = line.strip_prefix("ANSWER ") {
                    return serde_json::from_str(answer).unwrap();
                }
            }
        }
        let mut log = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut log).unwrap();
        panic!("Spark ended:\n{log}");
    }
}

impl Spark {
    /// Runs statements in order; returns the rows of each, an array of objects.
    pub fn run(&self, statements: &[String]) -> Vec<Value> {
        let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = session.get_or_insert_with(|| Session::start(self)).answer(statements);
        match answer {
            Value::Array(answers) => answers,
            error => panic!("Spark: {error}\n{statements:#?}"),
        }
    }

    /// Deletes the rows of the tables at these places that satisfy a condition, unless it is empty, and returns columns
    /// of the others: an array of objects by place.
    pub fn delete_and_read(&self, condition: &str, columns: &str, places: &[&str]) -> Value {
        if !condition.is_empty() {
            let delete = |place: &&str| format!("DELETE FROM delta.`{place}` WHERE {condition}");
            self.run(&places.iter().map(delete).collect::<Vec<_>>());
        }
        let read = |place: &&str| format!("SELECT {columns} FROM delta.`{place}`");
        let found = self.run(&places.iter().map(read).collect::<Vec<_>>());
        Value::Object(places.iter().map(|place| place.to_string()).zip(found).collect::<Map<_, _>>())
    }
}

/// Spark finds the same columns in the rows of a sample of these tables, taken from all parts of the list: objects with
/// the name of the `table`, its `location` and its `rows`, perhaps with a `version` and with `columns` of their own.
pub fn read_by_spark<'a>(columns: &str, tables: impl Iterator<Item = &'a Value>) {
    let Some(spark) = spark() else { return };
    let (tables, sample): (Vec<_>, _) = (tables.collect(), SAMPLE * soak() as usize);
    let tables: Vec<_> = tables.iter().copied().step_by((tables.len() / sample).max(1)).take(sample).collect();
    let read = |table: &&Value| {
        let version = table["version"].as_u64().map(|version| format!(" VERSION AS OF {version}"));
        let (location, version) = (table["location"].as_str().unwrap(), version.unwrap_or_default());
        let columns = table["columns"].as_str().unwrap_or(columns);
        format!("SELECT {columns} FROM delta.`{location}`{version}")
    };
    let found = spark.run(&tables.iter().map(read).collect::<Vec<_>>());
    for (table, found) in tables.iter().zip(&found) {
        let rows = |rows: &Value| rows.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
        let [mut ours, mut theirs] = [rows(&table["rows"]), rows(found)];
        ours.sort();
        theirs.sort();
        assert_eq!(theirs, ours, "Spark reads {}", table["table"]);
    }
    eprintln!("Spark read {} tables", tables.len());
}
