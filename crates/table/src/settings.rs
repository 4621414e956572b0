//! Settings: from a TOML file, then from `--set key=value`.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use deltalakedb_catalog::PostgresOptions;
use deltalakedb_log::{AllowedPaths, Durability, ErrorKind, FutureTimes, Result, Retention, TxnLogError};

use crate::write_options::WriteOptions;

/// The settings and their values.
const KNOWN: &[(&str, &str)] = &[
    ("catalog", "a catalog URI"),
    ("commit.max_waiting", "a number of commits, 1 or more"),
    ("concurrency.retries", "a number such as 5"),
    ("durability", "full or catalog"),
    ("import.future_times", "refuse or accept"),
    ("mirror.checkpoint_interval", "a number of versions, 1 or more"),
    ("mirror.expire_interval", "a duration such as 1h, or never"),
    ("mirror.lag_alert", "a duration such as 60s"),
    ("mirror.mode", "inline or background"),
    ("output.rows", "a number of rows, or all"),
    ("paths.allowed", "places such as s3://bucket/shared, with commas between them"),
    ("postgres.readers", "a number of connections, 1 or more"),
    ("postgres.writers", "a number of connections, 1 or more"),
    ("retention.time", "a duration such as 30d"),
    ("retention.versions", "a number of versions, 1 or more"),
    ("sql.file_mode", "permissions such as 0600 or 0640"),
    ("sql.schema", "create_if_missing or error"),
    ("warehouse", "a location below which new tables are made"),
];

/// The default of `mirror.expire_interval`.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The settings of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads the file, if there is one, and then the single settings, which take precedence.
    pub fn read(file: Option<&Path>, single: &[String]) -> Result<Self> {
        let mut settings = Self::default();
        if let Some(file) = file {
            let place = file.display();
            let text = std::fs::read_to_string(file).map_err(|e| {
                TxnLogError::new(ErrorKind::NotFound, format!("the configuration {place} cannot be read"))
                    .with_source(e)
            })?;
            let table: toml::Table = toml::from_str(&text)
                .map_err(|e| TxnLogError::invalid(format!("the configuration {place} is not TOML")).with_source(e))?;
            settings.take_table("", &table, &format!("in {place}"))?;
        }
        for setting in single {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                TxnLogError::invalid(format!(
                    "--set {setting:?} is no setting: expected KEY=VALUE, such as mirror.lag_alert=60s"
                ))
            })?;
            settings.take(key.trim(), value.trim().to_string(), "of --set")?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// A wrong value is rejected before anything is done, even if the command does not use it.
    fn check(&self) -> Result<()> {
        self.create_if_missing(true)?;
        self.publishes_inline()?;
        self.lag_alert_ms()?;
        self.write_options()?;
        self.retention()?;
        self.checkpoint_interval()?;
        self.expire_interval()?;
        self.file_mode()?;
        self.output_rows()?;
        self.allowed_paths()?;
        self.max_waiting()?;
        self.postgres()?;
        self.future_times()?;
        Ok(())
    }

    fn take_table(&mut self, prefix: &str, table: &toml::Table, place: &str) -> Result<()> {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) => self.take_table(&format!("{key}."), inner, place)?,
                toml::Value::String(text) => self.take(&key, text.clone(), place)?,
                toml::Value::Integer(n) => self.take(&key, n.to_string(), place)?,
                toml::Value::Array(texts) if texts.iter().all(toml::Value::is_str) => {
                    let texts: Vec<_> = texts.iter().filter_map(toml::Value::as_str).collect();
                    self.take(&key, texts.join(","), place)?;
                }
                other => {
                    let kind = other.type_str();
                    return Err(TxnLogError::invalid(format!(
                        "the setting {key:?} {place} is {kind}: expected text or a number"
                    )));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: String, place: &str) -> Result<()> {
        if !is_setting(key) {
            let known: Vec<_> = KNOWN.iter().map(|(k, _)| *k).collect();
            return Err(TxnLogError::invalid(format!(
                "the setting {key:?} {place} is unknown: there are {}",
                known.join(", ")
            )));
        }
        self.0.insert(key.into(), value);
        Ok(())
    }

    /// The value of a setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn wrong(&self, key: &str) -> TxnLogError {
        let wants = KNOWN.iter().find(|(k, _)| *k == key).map_or("something else", |(_, wants)| wants);
        TxnLogError::invalid(format!(
            "the setting {key}={} is wrong: expected {wants}",
            self.get(key).unwrap_or_default()
        ))
    }

    /// Whether a missing catalog may be created, and an older one upgraded.
    pub fn create_if_missing(&self, default: bool) -> Result<bool> {
        match self.get("sql.schema") {
            None => Ok(default),
            Some("create_if_missing") => Ok(true),
            Some("error") => Ok(false),
            Some(_) => Err(self.wrong("sql.schema")),
        }
    }

    /// Whether a command publishes its commits before it ends, or leaves that to `dl mirror run`.
    pub fn publishes_inline(&self) -> Result<bool> {
        match self.get("mirror.mode") {
            None | Some("inline") => Ok(true),
            Some("background") => Ok(false),
            Some(_) => Err(self.wrong("mirror.mode")),
        }
    }

    /// How an import treats versions with times ahead of the catalog's clock.
    pub fn future_times(&self) -> Result<FutureTimes> {
        match self.get("import.future_times") {
            None | Some("refuse") => Ok(FutureTimes::Refuse),
            Some("accept") => Ok(FutureTimes::Accept),
            Some(_) => Err(self.wrong("import.future_times")),
        }
    }

    /// Published versions from one checkpoint to the next; `None` for the mirror's default.
    pub fn checkpoint_interval(&self) -> Result<Option<NonZeroU64>> {
        let key = "mirror.checkpoint_interval";
        self.get(key).map(|text| text.parse().map_err(|_| self.wrong(key))).transpose()
    }

    /// How long `dl mirror run --watch` waits after it has expired the history of all tables until it begins again;
    /// `None` if it never does.
    pub fn expire_interval(&self) -> Result<Option<Duration>> {
        let key = "mirror.expire_interval";
        match self.get(key) {
            None => Ok(Some(EXPIRE_INTERVAL)),
            Some("never") => Ok(None),
            Some(text) => self.duration(key, text).map(Some),
        }
    }

    fn duration(&self, key: &str, text: &str) -> Result<Duration> {
        let ms = duration_ms(text).and_then(|ms| u64::try_from(ms).ok());
        ms.map(Duration::from_millis).ok_or_else(|| self.wrong(key))
    }

    /// How many rows of a result a table shows: `Some(None)` for all; `None` for the default.
    pub fn output_rows(&self) -> Result<Option<Option<u64>>> {
        match self.get("output.rows") {
            None => Ok(None),
            Some("all") => Ok(Some(None)),
            Some(text) => text.parse().map(|rows| Some(Some(rows))).map_err(|_| self.wrong("output.rows")),
        }
    }

    /// The permissions of a new catalog file; `None` for the catalog's default.
    pub fn file_mode(&self) -> Result<Option<u32>> {
        let Some(text) = self.get("sql.file_mode") else { return Ok(None) };
        // The owner can always read and write it.
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(Some(mode)),
            _ => Err(self.wrong("sql.file_mode")),
        }
    }

    /// The places outside their table's folder where files may be; everywhere by default.
    pub fn allowed_paths(&self) -> Result<AllowedPaths> {
        let Some(text) = self.get("paths.allowed") else { return Ok(AllowedPaths::default()) };
        AllowedPaths::below(text.split(',').map(str::trim).filter(|place| !place.is_empty()))
    }

    /// How many commits of a process may wait for earlier ones; `None` for the catalog's default.
    pub fn max_waiting(&self) -> Result<Option<NonZeroUsize>> {
        let key = "commit.max_waiting";
        self.get(key).map(|text| text.parse().map_err(|_| self.wrong(key))).transpose()
    }

    /// The lag, in milliseconds, at which `dl mirror status --check` reports an alarm.
    pub fn lag_alert_ms(&self) -> Result<i64> {
        let Some(text) = self.get("mirror.lag_alert") else { return Ok(60_000) };
        duration_ms(text).ok_or_else(|| self.wrong("mirror.lag_alert"))
    }

    /// The settings of a catalog in PostgreSQL.
    pub fn postgres(&self) -> Result<PostgresOptions> {
        let mut options = PostgresOptions::default();
        for (key, most) in [("postgres.readers", &mut options.readers), ("postgres.writers", &mut options.writers)] {
            if let Some(text) = self.get(key) {
                *most = text.parse().map_err(|_| self.wrong(key))?;
            }
        }
        Ok(options)
    }

    /// The options of commands that write.
    pub fn write_options(&self) -> Result<WriteOptions> {
        let mut options = WriteOptions::default();
        if let Some(text) = self.get("concurrency.retries") {
            options.retries = text.parse().map_err(|_| self.wrong("concurrency.retries"))?;
        }
        options.durability = match self.get("durability") {
            None | Some("full") => Durability::Full,
            Some("catalog") => Durability::Catalog,
            Some(_) => return Err(self.wrong("durability")),
        };
        options.dropped_retention = self.retention()?.time;
        Ok(options)
    }

    /// The retention of dropped tables, and of the history of tables without a retention of their own, if it differs
    /// from the catalog's. `dl init` stores it in the catalog.
    pub fn retention(&self) -> Result<Retention> {
        let time = self.get("retention.time").map(|text| self.duration("retention.time", text));
        let versions = self.get("retention.versions").map(|text| {
            let number = text.parse::<NonZeroU64>();
            number.map(NonZeroU64::get).map_err(|_| self.wrong("retention.versions"))
        });
        Ok(Retention { time: time.transpose()?, versions: versions.transpose()? })
    }
}

/// Whether a setting of that name exists.
pub fn is_setting(key: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == key)
}

/// `500ms`, `60s`, `5m`, `1h`, `7d` in milliseconds; seconds without a unit.
pub fn duration_ms(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit).filter(|ms| *ms >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &[&str]) -> Result<Settings> {
        Settings::read(None, &settings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn single_settings_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "warehouse = \"/w\"\n[mirror]\nlag_alert = \"2m\"\n").unwrap();
        let settings = Settings::read(Some(file.path()), &["warehouse=/x".into()]).unwrap();
        assert_eq!(settings.get("warehouse"), Some("/x"));
        assert_eq!(settings.lag_alert_ms().unwrap(), 120_000);
    }

    #[test]
    fn a_list_is_one_in_the_file_and_on_the_command_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "paths.allowed = [\"s3://a/x\", \"/data\"]\nsql.file_mode = \"0640\"\n").unwrap();
        let settings = Settings::read(Some(file.path()), &[]).unwrap();
        let single = set(&["paths.allowed=s3://a/x, /data"]).unwrap();
        assert_eq!(settings.allowed_paths().unwrap(), single.allowed_paths().unwrap());
        assert_eq!(settings.file_mode().unwrap(), Some(0o640));
        assert_eq!(set(&[]).unwrap().allowed_paths().unwrap(), AllowedPaths::default());
        assert!(!set(&["paths.allowed="]).unwrap().allowed_paths().unwrap().are_all(), "an empty list allows nothing");
    }

    #[test]
    fn a_wrong_setting_is_refused_by_name() {
        let says = |s: &[&str], what: &str| {
            let e = set(s).unwrap_err().to_string();
            assert!(e.contains(what), "{e}");
        };
        says(&["mirror.lagalert=3s"], "\"mirror.lagalert\" of --set is unknown");
        says(&["mirror.lag_alert=soon"], "expected a duration");
        says(&["durable=full"], "is unknown: there are catalog,");
        says(&["durability=half"], "expected full or catalog");
        says(&["concurrency.retries=-1"], "expected a number");
        for interval in ["0", "-1", "often", "1.5"] {
            says(&[&format!("mirror.checkpoint_interval={interval}")], "expected a number of versions, 1 or more");
        }
        says(&["commit.max_waiting=0"], "expected a number of commits, 1 or more");
        says(&["postgres.readers=0"], "expected a number of connections, 1 or more");
        says(&["postgres.writers=some"], "expected a number of connections, 1 or more");
        says(&["sql.schema=maybe"], "create_if_missing or error");
        for mode in ["rw", "0400", "1777", "-1", ""] {
            says(&[&format!("sql.file_mode={mode}")], "expected permissions such as 0600");
        }
        says(&["paths.allowed=s3://a,nosuch://b"], "is not a location");
        says(&["retention.time=long"], "expected a duration such as 30d");
        says(&["mirror.expire_interval=often"], "expected a duration such as 1h, or never");
        says(&["retention.versions=0"], "expected a number of versions, 1 or more");
        says(&["x"], "KEY=VALUE");
    }
}
