//! Settings: what a TOML file and then `--set key=value` give, parsed once, over the defaults.
//!
//! They become options of a catalog, of a mirror and of writes. This is the lowest crate that knows all three, and the one
//! that the command and the package for Python share; no other module of it reads them.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use deltalakedb_catalog::ConnectOptions;
use deltalakedb_log::time::parse_duration;
use deltalakedb_log::{AllowedPaths, Durability, ErrorKind, FutureTimes, Result, Retention, TxnLogError, near_names};
use deltalakedb_mirror::{ReconcileOptions, RetryBackoff};
use url::Url;

use crate::write_options::WriteOptions;

/// The settings and their values.
const KNOWN: &[(&str, &str)] = &[
    ("catalog", "a catalog URI"),
    ("commit.max_waiting", "a number of commits, 1 or more"),
    ("concurrency.retries", "a number such as 5"),
    ("durability", "full or catalog"),
    ("import.future_times", "refuse or accept"),
    ("mirror.alert_webhook", "an http or https URL"),
    ("mirror.check_interval", "a duration such as 7s, or never"),
    ("mirror.checkpoint_interval", "a number of versions, 1 or more"),
    ("mirror.duckdb", "the path of a DuckDB database"),
    ("mirror.expire_interval", "a duration such as 1h, or never"),
    ("mirror.lag_alert", "a duration such as 60s"),
    ("mirror.max_lag", "a duration such as 10m, or never"),
    ("mirror.mode", "inline or background"),
    ("mirror.parallel", "a number of tables, 1 or more"),
    ("mirror.retry_backoff", "a first and a longest pause such as 1s/60s"),
    ("output.rows", "a number of rows, or all"),
    ("paths.allowed", "locations such as s3://bucket/shared, separated by commas"),
    ("postgres.readers", "a number of connections, 1 or more"),
    ("postgres.writers", "a number of connections, 1 or more"),
    ("retention.time", "a duration such as 30d"),
    ("retention.versions", "a number of versions, 1 or more"),
    ("sql.file_mode", "permissions such as 0600 or 0640"),
    ("sql.schema", "create_if_missing or error"),
    ("warehouse", "a location below which new tables are created"),
];

/// What a user has set, and the defaults of what was not set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The URI of the catalog.
    pub catalog: Option<String>,
    /// How a catalog is opened.
    pub connect: ConnectOptions,
    /// Whether a missing catalog may be created, and an older one upgraded.
    pub create_if_missing: Option<bool>,
    /// The options of commands that write.
    pub write: WriteOptions,
    /// Whether a command publishes its commits before it ends, or leaves that to `dl mirror run`.
    pub publishes_inline: bool,
    /// Published versions from one checkpoint to the next; `None` for the mirror's default.
    pub checkpoint_interval: Option<NonZeroU64>,
    /// The lag at which a mirror is in alarm.
    pub lag_alert: Duration,
    /// Where `dl mirror run --watch` posts alerts; `None` if it posts none.
    pub alert_webhook: Option<Url>,
    /// How `dl mirror run --watch` publishes.
    pub reconcile: ReconcileOptions,
    /// The DuckDB database that `dl mirror run` refreshes.
    pub duckdb_mirror: Option<PathBuf>,
    /// How long `dl mirror run --watch` waits after it has expired the history of all tables until it begins again;
    /// `None` if it never does.
    pub expire_interval: Option<Duration>,
    /// The retention of dropped tables, and of the history of tables without a retention of their own, if it differs
    /// from the catalog's. `dl init` stores it in the catalog.
    pub retention: Retention,
    /// How an import treats versions with times ahead of the catalog's clock.
    pub future_times: FutureTimes,
    /// How many rows of a result a table shows.
    pub row_limit: RowLimit,
    /// The location below which new tables are made.
    pub warehouse: Option<String>,
}

/// How many rows of a result a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowLimit {
    /// A terminal shows the first ones, a file or a pipe gets all.
    #[default]
    Terminal,
    /// So many.
    Rows(u64),
    /// All.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            catalog: None,
            connect: ConnectOptions::default(),
            create_if_missing: None,
            write: WriteOptions::default(),
            publishes_inline: true,
            checkpoint_interval: None,
            lag_alert: Duration::from_secs(60),
            alert_webhook: None,
            reconcile: ReconcileOptions::default(),
            duckdb_mirror: None,
            expire_interval: Some(Duration::from_secs(60 * 60)),
            retention: Retention::default(),
            future_times: FutureTimes::Refuse,
            row_limit: RowLimit::Terminal,
            warehouse: None,
        }
    }
}

impl Settings {
    /// Reads the file, if there is one, and then the single settings, which take precedence.
    pub fn read(file: Option<&Path>, single: &[String]) -> Result<Self> {
        Self::read_with_profile(file, None, single)
    }

    /// Reads the file, its table `[profiles.NAME]` if a profile is named, and the single settings; each takes precedence
    /// over those before it.
    pub fn read_with_profile(file: Option<&Path>, profile: Option<&str>, single: &[String]) -> Result<Self> {
        let mut texts = Texts::default();
        if let Some(file) = file {
            let place = file.display();
            let text = std::fs::read_to_string(file).map_err(|e| {
                TxnLogError::new(ErrorKind::NotFound, format!("the configuration {place} cannot be read"))
                    .with_source(e)
            })?;
            let mut table: toml::Table = toml::from_str(&text)
                .map_err(|e| TxnLogError::invalid(format!("the configuration {place} is not TOML")).with_source(e))?;
            let profiles = profiles(table.remove("profiles"), &format!("in {place}"))?;
            texts.take_table("", &table, &format!("in {place}"))?;
            if let Some(profile) = profile {
                let named = profiles.into_iter().find(|(name, _)| name == profile);
                let (_, named) = named.ok_or_else(|| {
                    TxnLogError::not_found(format!(
                        "the configuration {place} has no profile {profile:?}: add [profiles.{profile}] or name another"
                    ))
                })?;
                texts.0.extend(named.0);
            }
        } else if let Some(profile) = profile {
            return Err(TxnLogError::not_found(format!(
                "there is no configuration for the profile {profile:?}: pass --config, or set DELTALAKEDB_CONFIG"
            )));
        }
        for setting in single {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                TxnLogError::invalid(format!(
                    "invalid --set {setting:?}: expected KEY=VALUE, such as mirror.lag_alert=60s"
                ))
            })?;
            texts.take(key.trim(), value.trim().to_string(), "of --set")?;
        }
        let mut settings = Self::default();
        texts.0.values().try_for_each(|given| settings.set(given))?;
        Ok(settings)
    }

    fn set(&mut self, given: &Given) -> Result<()> {
        match given.key {
            "catalog" => self.catalog = Some(given.text.clone()),
            "commit.max_waiting" => self.connect.max_waiting = given.parse::<NonZeroUsize>()?.get(),
            "concurrency.retries" => self.write.retries = given.parse()?,
            "durability" => {
                self.write.durability = given.one_of([("full", Durability::Full), ("catalog", Durability::Catalog)])?;
            }
            "import.future_times" => {
                self.future_times = given.one_of([("refuse", FutureTimes::Refuse), ("accept", FutureTimes::Accept)])?;
            }
            "mirror.alert_webhook" => self.alert_webhook = Some(given.web_url()?),
            "mirror.check_interval" => self.reconcile.check_interval = given.interval()?,
            "mirror.checkpoint_interval" => self.checkpoint_interval = Some(given.parse()?),
            "mirror.duckdb" => self.duckdb_mirror = Some(PathBuf::from(&given.text)),
            "mirror.expire_interval" if given.text == "never" => self.expire_interval = None,
            "mirror.expire_interval" => self.expire_interval = Some(given.duration()?),
            "mirror.lag_alert" => self.lag_alert = given.duration()?,
            "mirror.max_lag" => self.write.max_lag = given.interval()?,
            "mirror.parallel" => self.reconcile.parallel = given.parse()?,
            "mirror.retry_backoff" => self.reconcile.retry = given.backoff()?,
            "mirror.mode" => self.publishes_inline = given.one_of([("inline", true), ("background", false)])?,
            "output.rows" if given.text == "all" => self.row_limit = RowLimit::None,
            "output.rows" => self.row_limit = RowLimit::Rows(given.parse()?),
            "paths.allowed" => {
                let places = given.text.split(',').map(str::trim).filter(|place| !place.is_empty());
                self.connect.allowed_paths = AllowedPaths::below(places)?;
            }
            "postgres.readers" => self.connect.postgres.readers = given.parse()?,
            "postgres.writers" => self.connect.postgres.writers = given.parse()?,
            "retention.time" => {
                self.retention.time = Some(given.duration()?);
                self.write.dropped_retention = self.retention.time;
            }
            "retention.versions" => self.retention.versions = Some(given.parse::<NonZeroU64>()?.get()),
            "sql.file_mode" => self.connect.file_mode = given.file_mode()?,
            "sql.schema" => {
                self.create_if_missing = Some(given.one_of([("create_if_missing", true), ("error", false)])?);
            }
            "warehouse" => self.warehouse = Some(given.text.clone()),
            _ => return Err(given.wrong()),
        }
        Ok(())
    }
}

/// Whether a setting of that name exists.
pub fn is_setting(key: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == key)
}

/// The settings of each profile. Those that are not used must have known keys, too.
fn profiles(value: Option<toml::Value>, place: &str) -> Result<Vec<(String, Texts)>> {
    let wrong = || TxnLogError::invalid(format!("\"profiles\" {place} is no table of profiles: write [profiles.NAME]"));
    let profiles = match value {
        None => toml::Table::new(),
        Some(toml::Value::Table(profiles)) => profiles,
        Some(_) => return Err(wrong()),
    };
    let read = |(name, settings): (String, toml::Value)| -> Result<_> {
        let mut texts = Texts::default();
        texts.take_table("", settings.as_table().ok_or_else(wrong)?, &format!("of the profile {name:?} {place}"))?;
        Ok((name, texts))
    };
    profiles.into_iter().map(read).collect()
}

/// The settings that were given, as text, by their keys.
#[derive(Default)]
struct Texts(BTreeMap<&'static str, Given>);

impl Texts {
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

    fn take(&mut self, key: &str, text: String, place: &str) -> Result<()> {
        let known = KNOWN.iter().find(|(known, _)| *known == key);
        let (key, expected) = *known.ok_or_else(|| unknown(key, place))?;
        self.0.insert(key, Given { key, expected, text });
        Ok(())
    }
}

fn unknown(key: &str, place: &str) -> TxnLogError {
    let known: Vec<_> = KNOWN.iter().map(|(known, _)| known.to_string()).collect();
    let near = near_names(key, &known);
    let hint = match near.as_slice() {
        [] => format!("expected one of {}", known.join(", ")),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    TxnLogError::invalid(format!("unknown setting {key:?} {place}: {hint}"))
}

/// A setting that was given: its key, what it takes, and what was written.
struct Given {
    key: &'static str,
    expected: &'static str,
    text: String,
}

impl Given {
    fn wrong(&self) -> TxnLogError {
        let Self { key, expected, text } = self;
        TxnLogError::invalid(format!("invalid setting {key}={text}: expected {expected}"))
    }

    fn parse<T: FromStr>(&self) -> Result<T> {
        self.text.parse().map_err(|_| self.wrong())
    }

    fn one_of<T>(&self, choices: [(&str, T); 2]) -> Result<T> {
        let chosen = choices.into_iter().find(|(word, _)| *word == self.text);
        chosen.map(|(_, value)| value).ok_or_else(|| self.wrong())
    }

    fn duration(&self) -> Result<Duration> {
        parse_duration(&self.text).ok_or_else(|| self.wrong())
    }

    /// A duration above zero; `None` for `never`.
    fn interval(&self) -> Result<Option<Duration>> {
        match self.text.as_str() {
            "never" => Ok(None),
            _ => Some(self.duration()?).filter(|duration| !duration.is_zero()).map(Some).ok_or_else(|| self.wrong()),
        }
    }

    fn web_url(&self) -> Result<Url> {
        let url = Url::parse(&self.text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        // The text may contain a token, so that it is not printed.
        url.ok_or_else(|| {
            let Self { key, expected, .. } = self;
            TxnLogError::invalid(format!("invalid setting {key}: expected {expected}, such as https://example.com/a"))
        })
    }

    fn backoff(&self) -> Result<RetryBackoff> {
        let pauses = self.text.split_once('/').and_then(|(first, max)| {
            Some(RetryBackoff { first: parse_duration(first.trim())?, max: parse_duration(max.trim())? })
        });
        pauses.filter(|pauses| !pauses.first.is_zero() && pauses.first <= pauses.max).ok_or_else(|| self.wrong())
    }

    /// Whatever else is allowed, the owner of a file reads and writes it.
    fn file_mode(&self) -> Result<u32> {
        let mode = u32::from_str_radix(&self.text, 8).ok();
        mode.filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600).ok_or_else(|| self.wrong())
    }
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
        assert_eq!(settings.warehouse.as_deref(), Some("/x"));
        assert_eq!(settings.lag_alert, Duration::from_secs(120));
    }

    #[test]
    fn a_profile_wins_over_the_file_and_loses_to_single_settings() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "warehouse = \"/w\"\ncatalog = \"a\"\n[profiles.prod]\ncatalog = \"b\"\nmirror.lag_alert = \"2m\"\n";
        std::fs::write(file.path(), text).unwrap();
        let read = |profile, single: &[String]| Settings::read_with_profile(Some(file.path()), profile, single);
        let prod = read(Some("prod"), &[]).unwrap();
        assert_eq!((prod.catalog.as_deref(), prod.warehouse.as_deref()), (Some("b"), Some("/w")));
        assert_eq!(prod.lag_alert, Duration::from_secs(120));
        assert_eq!(read(Some("prod"), &["catalog=c".into()]).unwrap().catalog.as_deref(), Some("c"));
        assert_eq!(read(None, &[]).unwrap().catalog.as_deref(), Some("a"));
        let says = |e: Result<Settings>, what: &str| {
            let e = e.unwrap_err().to_string();
            assert!(e.contains(what), "{e}");
        };
        says(read(Some("dev"), &[]), "has no profile \"dev\": add [profiles.dev]");
        says(Settings::read_with_profile(None, Some("dev"), &[]), "no configuration for the profile \"dev\"");
        std::fs::write(file.path(), "[profiles.prod]\ncatalogue = \"b\"\n").unwrap();
        says(read(None, &[]), "unknown setting \"catalogue\" of the profile \"prod\"");
        std::fs::write(file.path(), "profiles = 3\n").unwrap();
        says(read(None, &[]), "no table of profiles");
    }

    #[test]
    fn lists_are_read_from_the_file_and_the_command_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "paths.allowed = [\"s3://a/x\", \"/data\"]\nsql.file_mode = \"0640\"\n").unwrap();
        let settings = Settings::read(Some(file.path()), &[]).unwrap();
        let single = set(&["paths.allowed=s3://a/x, /data"]).unwrap();
        assert_eq!(settings.connect.allowed_paths, single.connect.allowed_paths);
        assert_eq!(settings.connect.file_mode, 0o640);
        assert_eq!(set(&[]).unwrap().connect.allowed_paths, AllowedPaths::default());
        assert!(!set(&["paths.allowed="]).unwrap().connect.allowed_paths.are_all(), "an empty list allows nothing");
    }

    #[test]
    fn settings_of_the_reconciler_are_read() {
        let settings = set(&["mirror.retry_backoff=500ms / 5m", "mirror.parallel=3", "mirror.check_interval=never"]);
        let reconcile = settings.unwrap().reconcile;
        let retry = RetryBackoff { first: Duration::from_millis(500), max: Duration::from_secs(300) };
        assert_eq!((reconcile.retry, reconcile.parallel.get(), reconcile.check_interval), (retry, 3, None));
        assert_eq!(set(&["mirror.max_lag=10m"]).unwrap().write.max_lag, Some(Duration::from_secs(600)));
        assert_eq!(set(&["mirror.max_lag=never"]).unwrap().write.max_lag, None);
    }

    #[test]
    fn every_known_setting_can_be_set() {
        for (key, _) in KNOWN {
            let taken = ["5", "1h", "full", "accept", "inline", "0600", "error", "1s/1m", "http://a/b"];
            assert!(taken.iter().any(|text| set(&[&format!("{key}={text}")]).is_ok()), "{key}");
        }
    }

    #[test]
    fn a_wrong_setting_is_refused_by_name() {
        let says = |s: &[&str], what: &str| {
            let e = set(s).unwrap_err().to_string();
            assert!(e.contains(what), "{e}");
        };
        says(&["mirror.lagalert=3s"], "unknown setting \"mirror.lagalert\" of --set: did you mean mirror.lag_alert?");
        says(&["mirror.lag_alert=soon"], "expected a duration");
        says(&["durable=full"], ": expected one of catalog,");
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
        for text in ["0s", "often", ""] {
            says(&[&format!("mirror.check_interval={text}")], "expected a duration such as 7s, or never");
            says(&[&format!("mirror.max_lag={text}")], "expected a duration such as 10m, or never");
        }
        for text in ["1s", "0s/1m", "2m/1m", "1s/soon", "/"] {
            says(&[&format!("mirror.retry_backoff={text}")], "expected a first and a longest pause such as 1s/60s");
        }
        says(&["mirror.alert_webhook=example.com/secret"], "setting mirror.alert_webhook: expected an http");
        says(&["mirror.parallel=0"], "expected a number of tables, 1 or more");
        says(&["mirror.expire_interval=often"], "expected a duration such as 1h, or never");
        says(&["retention.versions=0"], "expected a number of versions, 1 or more");
        says(&["x"], "KEY=VALUE");
    }
}
