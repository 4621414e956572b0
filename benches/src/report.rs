//! The measured figures, from which the table, the JSON and the chart are generated.

use serde_json::{Value, json};

use crate::machine::Machine;

/// The measured system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// Ours in SQLite.
    Sqlite,
    /// Ours in PostgreSQL.
    Postgres,
    /// Ours in DuckDB.
    DuckDb,
    /// The Python package `deltalake`.
    DeltaRs,
    /// DuckDB's extension `delta`.
    DuckDbDelta,
    /// DuckDB's extension `ducklake`.
    DuckLake,
    /// The same without a log: a file that is appended and synced, or DataFusion on the bare files.
    Baseline,
}

impl System {
    /// The columns of the table.
    pub(crate) const COLUMNS: [System; 6] =
        [Self::Sqlite, Self::Postgres, Self::DuckDb, Self::DeltaRs, Self::DuckDbDelta, Self::DuckLake];
    /// Our databases.
    pub(crate) const OUR_SYSTEMS: [System; 3] = [Self::Sqlite, Self::Postgres, Self::DuckDb];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::DuckDb => "DuckDB",
            Self::DeltaRs => "delta-rs",
            Self::DuckDbDelta => "DuckDB delta",
            Self::DuckLake => "DuckLake",
            Self::Baseline => "without a log",
        }
    }

    /// The system of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::COLUMNS.into_iter().find(|s| s.name() == name)
    }

    pub(crate) fn is_ours(self) -> bool {
        Self::OUR_SYSTEMS.contains(&self)
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    FilesPerSecond,
    CommitsPerSecond,
    RowsPerSecond,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::FilesPerSecond => "files/s",
            Self::CommitsPerSecond => "commits/s",
            Self::RowsPerSecond => "rows/s",
        }
    }

    /// The value for people, with three digits.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value >= 1.0 => format!("{} s", digits(value)),
            Self::Seconds => format!("{} ms", digits(value * 1e3)),
            Self::Bytes => format!("{} MB", digits(value / 1e6)),
            Self::FilesPerSecond => format!("{} files/s", grouped(value)),
            Self::CommitsPerSecond => format!("{} commits/s", grouped(value)),
            Self::RowsPerSecond => format!("{} rows/s", grouped(value)),
        }
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// `12,345`
pub(crate) fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in plain.chars().enumerate() {
        if n > 0 && (plain.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure of one system.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) system: System,
    pub(crate) unit: Unit,
    /// The number of samples.
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

impl Figure {
    pub(crate) fn show(&self) -> String {
        self.unit.show(self.p50)
    }
}

/// A figure that could not be measured.
#[derive(Clone, Debug)]
struct Absent {
    what: String,
    system: System,
    why: String,
}

/// A promise about a row, and the systems of ours that break it.
#[derive(Clone, Debug)]
struct Promise {
    what: String,
    text: String,
    broken_by: Vec<System>,
}

/// The results of one run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    machine: Machine,
    date: String,
    versions: Vec<(String, String)>,
    figures: Vec<Figure>,
    absent: Vec<Absent>,
    promises: Vec<Promise>,
}

impl Report {
    pub(crate) fn new(machine: Machine, date: String, versions: Vec<(String, String)>) -> Self {
        Self { machine, date, versions, figures: Vec::new(), absent: Vec::new(), promises: Vec::new() }
    }

    /// Adds a figure. Rows are ordered by their first figure.
    pub(crate) fn add(&mut self, what: &str, system: System, unit: Unit, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let (Some(p50), Some(p95)) = (percentile(&samples, 50), percentile(&samples, 95)) else {
            return self.add_absent(what, system, "there are no samples");
        };
        self.figures.push(Figure { what: what.into(), system, unit, n: samples.len(), p50, p95 });
    }

    /// Records why there is no figure.
    pub(crate) fn add_absent(&mut self, what: &str, system: System, why: &str) {
        self.absent.push(Absent { what: what.into(), system, why: why.into() });
    }

    /// Checks a promise about a row for `systems`. A missing figure breaks the promise.
    pub(crate) fn promise(
        &mut self,
        what: &str,
        text: &str,
        systems: &[System],
        kept: impl Fn(&Self, System, f64) -> Option<bool>,
    ) {
        let keeps = |s: &System| self.p50(what, *s).and_then(|p50| kept(self, *s, p50)).unwrap_or(false);
        let broken_by = systems.iter().copied().filter(|s| !keeps(s)).collect();
        self.promises.push(Promise { what: what.into(), text: text.into(), broken_by });
    }

    pub(crate) fn p50(&self, what: &str, system: System) -> Option<f64> {
        self.figure(what, system).map(|f| f.p50)
    }

    pub(crate) fn p95(&self, what: &str, system: System) -> Option<f64> {
        self.figure(what, system).map(|f| f.p95)
    }

    fn figure(&self, what: &str, system: System) -> Option<&Figure> {
        self.figures.iter().find(|f| f.what == what && f.system == system)
    }

    /// The names of the rows, in order.
    pub(crate) fn rows(&self) -> Vec<&str> {
        let mut rows: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !rows.contains(&figure.what.as_str()) {
                rows.push(&figure.what);
            }
        }
        rows
    }

    /// The figures of a row, in the order of the columns.
    pub(crate) fn figures_of(&self, what: &str) -> Vec<&Figure> {
        let systems = System::COLUMNS.into_iter().chain([System::Baseline]);
        systems.filter_map(|s| self.figure(what, s)).collect()
    }

    pub(crate) fn is_missed(&self) -> bool {
        self.promises.iter().any(|p| !p.broken_by.is_empty())
    }

    /// The table, followed by the reasons for missing figures.
    pub(crate) fn table(&self) -> String {
        let names = System::COLUMNS.map(System::name).join(" | ");
        let mut text = format!("| what | {names} | promised | kept |\n|{}\n", "---|".repeat(System::COLUMNS.len() + 3));
        for what in self.rows() {
            let alone = self.figure(what, System::Baseline).map(|f| format!(": {}", f.show())).unwrap_or_default();
            let cells = System::COLUMNS.map(|s| self.cell(what, s)).join(" | ");
            let (promised, kept) = match self.promises.iter().find(|p| p.what == what) {
                None => ("-", "-".to_string()),
                Some(p) if p.broken_by.is_empty() => (p.text.as_str(), "yes".to_string()),
                Some(p) => {
                    let by: Vec<_> = p.broken_by.iter().map(|s| s.name()).collect();
                    (p.text.as_str(), format!("NO: {}", by.join(", ")))
                }
            };
            text.push_str(&format!("| {what}{alone} | {cells} | {promised} | {kept} |\n"));
        }
        if !self.absent.is_empty() {
            text.push_str("\nNot measured:\n\n");
        }
        for absent in &self.absent {
            text.push_str(&format!("- {}, {}: {}\n", absent.system.name(), absent.what, absent.why));
        }
        text
    }

    /// The figure; for a peer also the ratio to ours in SQLite.
    fn cell(&self, what: &str, system: System) -> String {
        let Some(figure) = self.figure(what, system) else { return "-".into() };
        match self.p50(what, System::Sqlite).filter(|sqlite_p50| !system.is_ours() && *sqlite_p50 > 0.0) {
            Some(sqlite_p50) => format!("{} ({}x)", figure.show(), digits(figure.p50 / sqlite_p50)),
            None => figure.show(),
        }
    }

    /// The date, the machine and the versions, one line each.
    pub(crate) fn circumstances(&self) -> String {
        let m = &self.machine;
        let mut lines = vec![
            format!("- Measured on {}", self.date),
            format!("- Processor: {}; {} cores", m.cpu, m.cores),
            format!("- Memory: {:.1} GiB", m.memory as f64 / f64::from(1 << 30)),
            format!("- System: {}", m.system),
            format!("- Disk: {}", m.disk),
        ];
        lines.extend(self.versions.iter().map(|(what, version)| format!("- {what}: {version}")));
        lines.join("\n") + "\n"
    }

    /// All figures, for programs, in seconds, bytes and files per second.
    pub(crate) fn to_json(&self) -> Value {
        let m = &self.machine;
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(what, v)| (what.clone(), Value::from(v.as_str()))).collect();
        let figure = |f: &Figure| {
            let Figure { what, n, p50, p95, .. } = f;
            json!({"what": what, "system": f.system.name(), "unit": f.unit.name(), "n": n, "p50": p50, "p95": p95})
        };
        let absent = |a: &Absent| json!({"what": a.what, "system": a.system.name(), "why": a.why});
        let promise = |p: &Promise| {
            let by: Vec<_> = p.broken_by.iter().map(|s| s.name()).collect();
            json!({"what": p.what, "promised": p.text, "kept": by.is_empty(), "broken_by": by})
        };
        json!({
            "date": self.date,
            "machine": {"cpu": m.cpu, "cores": m.cores, "memory": m.memory, "system": m.system, "disk": m.disk},
            "versions": versions,
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "not_measured": self.absent.iter().map(absent).collect::<Vec<_>>(),
            "promises": self.promises.iter().map(promise).collect::<Vec<_>>(),
        })
    }
}

/// By nearest rank, so the result is always a measured value.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
