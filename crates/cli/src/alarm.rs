//! When a mirror is in alarm, and when the alarm begins and ends.

use std::collections::BTreeMap;
use std::time::Duration;

use deltalakedb_log::{Artifact, MirrorState, TableId, TableName, TxnLogError};
use deltalakedb_mirror::Status;
use serde_json::{Value, json};

/// Why a mirror is in alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmKind {
    /// Its oldest unpublished version is too old.
    Lag,
    /// Another writer's commit has stopped it.
    Diverged,
    /// The last attempt to publish something failed.
    Failed,
    /// Its log is empty.
    Lost,
    /// The catalog does not answer.
    Catalog,
}

impl AlarmKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Catalog => "catalog",
        }
    }
}

/// The alarm of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) kind: AlarmKind,
    pub(crate) lag_ms: i64,
    /// One sentence.
    pub(crate) message: String,
}

/// The alarm of a mirror with this status, if it has one.
pub(crate) fn alarm_of(status: &Status, lag_alert: Duration) -> Option<Alarm> {
    let (name, lag_ms) = (&status.table.name, status.lag_ms);
    let lags = u64::try_from(lag_ms).is_ok_and(|ms| Duration::from_millis(ms) > lag_alert);
    let (kind, message) = match (&status.table.mirror, status.failures.last()) {
        (MirrorState::Diverged { version, what }, _) => {
            let message = format!("publishing of {name} stopped at version {version} ({what}): run `dl verify {name}`");
            (AlarmKind::Diverged, message)
        }
        (_, Some(failure)) if failure.artifact == Artifact::Checkpoint => {
            (AlarmKind::Failed, format!("{name}: {}", failure.error))
        }
        (_, Some(failure)) => {
            let message = format!("{name} could not be published: {}: run `dl mirror run`", failure.error);
            (AlarmKind::Failed, message)
        }
        (_, None) if status.lost.is_some() => (AlarmKind::Lost, status.lost.clone().unwrap_or_default()),
        (_, None) if lags => (AlarmKind::Lag, format!("{name} lags by {} s: run `dl mirror run`", lag_ms / 1000)),
        (_, None) => return None,
    };
    Some(Alarm { kind, lag_ms, message })
}

/// Whether an alert begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlertState {
    Firing,
    Resolved,
}

impl AlertState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// The begin or the end of an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    /// The table; none if it is about the catalog.
    pub(crate) table: Option<TableName>,
    pub(crate) state: AlertState,
    pub(crate) kind: AlarmKind,
    pub(crate) lag_ms: i64,
    pub(crate) message: String,
}

impl Alert {
    fn firing(table: &TableName, alarm: &Alarm) -> Self {
        let Alarm { kind, lag_ms, message } = alarm.clone();
        Self { table: Some(table.clone()), state: AlertState::Firing, kind, lag_ms, message }
    }

    fn resolved(table: TableName, kind: AlarmKind, lag_ms: i64) -> Self {
        let message = format!("the alert {} of {table} has ended", kind.as_str());
        Self { table: Some(table), state: AlertState::Resolved, kind, lag_ms, message }
    }

    pub(crate) fn lag_seconds(&self) -> f64 {
        self.lag_ms as f64 / 1000.0
    }

    /// As programs get it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "table": self.table.as_ref().map(TableName::to_string),
            "state": self.state.as_str(),
            "kind": self.kind.as_str(),
            "lagSeconds": self.lag_seconds(),
            "message": self.message,
        })
    }
}

/// The tables that are in alarm.
#[derive(Debug, Default)]
pub(crate) struct FiringAlarms(BTreeMap<TableId, (TableName, AlarmKind)>);

impl FiringAlarms {
    /// Records the alarm of a table, or that it has none; returns what begins and ends with that: nothing if the alarm
    /// lasts. An alarm of another kind ends the one before it.
    pub(crate) fn note(&mut self, id: TableId, name: &TableName, alarm: Option<&Alarm>) -> Vec<Alert> {
        let kind = alarm.map(|alarm| alarm.kind);
        if self.0.get(&id).map(|(_, kind)| *kind) == kind {
            return Vec::new();
        }
        let lag_ms = alarm.map_or(0, |alarm| alarm.lag_ms);
        let ended = self.0.remove(&id).map(|(name, kind)| Alert::resolved(name, kind, lag_ms));
        if let Some(kind) = kind {
            self.0.insert(id, (name.clone(), kind));
        }
        ended.into_iter().chain(alarm.map(|alarm| Alert::firing(name, alarm))).collect()
    }

    /// The tables in alarm, with the names under which their alarms began.
    pub(crate) fn tables(&self) -> Vec<(TableId, TableName)> {
        self.0.iter().map(|(id, (name, _))| (*id, name.clone())).collect()
    }
}

/// Whether the catalog answers.
#[derive(Debug, Default)]
pub(crate) struct CatalogAlarm {
    /// When it did not answer for the first time since its last answer, in milliseconds since 1970.
    since_ms: Option<i64>,
    is_firing: bool,
}

impl CatalogAlarm {
    /// Records whether the catalog of this description answered: an alert begins when it has not done so, or has only
    /// rejected the questions, for `lag_alert`.
    pub(crate) fn note(
        &mut self,
        catalog: &str,
        failure: Option<&TxnLogError>,
        now_ms: i64,
        lag_alert: Duration,
    ) -> Option<Alert> {
        let alert = |state, lag_ms, message| Alert { table: None, state, kind: AlarmKind::Catalog, lag_ms, message };
        let Some(failure) = failure else {
            self.since_ms = None;
            let ended = std::mem::take(&mut self.is_firing);
            return ended.then(|| alert(AlertState::Resolved, 0, format!("{catalog} answers again")));
        };
        let silent_ms = now_ms.saturating_sub(*self.since_ms.get_or_insert(now_ms));
        let is_long = u64::try_from(silent_ms).is_ok_and(|ms| Duration::from_millis(ms) >= lag_alert);
        if self.is_firing || !is_long {
            return None;
        }
        self.is_firing = true;
        let seconds = silent_ms / 1000;
        let message = format!(
            "{catalog} has not answered for {seconds} s, so nothing is published or checked ({failure}): check the \
             database and the network"
        );
        Some(alert(AlertState::Firing, silent_ms, message))
    }
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::{Clock, ErrorKind, SeededClock};

    use super::*;

    fn alarm(kind: AlarmKind, lag_ms: i64) -> Alarm {
        Alarm { kind, lag_ms, message: format!("{} for {lag_ms} ms", kind.as_str()) }
    }

    fn news(firing: &mut FiringAlarms, table: &(TableId, TableName), alarm: Option<Alarm>) -> Vec<String> {
        let alerts = firing.note(table.0, &table.1, alarm.as_ref());
        let table = |a: &Alert| a.table.as_ref().unwrap().to_string();
        alerts.iter().map(|a| format!("{} {} {} {}", table(a), a.state.as_str(), a.kind.as_str(), a.lag_ms)).collect()
    }

    #[test]
    fn an_alert_begins_once_and_ends_once() {
        use AlarmKind::{Diverged, Lag};
        let clock = SeededClock::new(0, 1);
        let table = |name: &str| -> (TableId, TableName) { (TableId(clock.new_uuid()), name.parse().unwrap()) };
        let (first, second) = (table("t1"), table("t2"));
        let mut firing = FiringAlarms::default();
        let none: [&str; 0] = [];
        assert_eq!(news(&mut firing, &first, None), none);
        assert_eq!(news(&mut firing, &first, Some(alarm(Lag, 61_000))), ["default.t1 firing lag 61000"]);
        assert_eq!(news(&mut firing, &first, Some(alarm(Lag, 66_000))), none);
        assert_eq!(news(&mut firing, &second, Some(alarm(Lag, 70_000))), ["default.t2 firing lag 70000"]);
        let other = ["default.t1 resolved lag 80000", "default.t1 firing diverged 80000"];
        assert_eq!(news(&mut firing, &first, Some(alarm(Diverged, 80_000))), other);
        assert_eq!(firing.tables().len(), 2);
        assert_eq!(news(&mut firing, &first, None), ["default.t1 resolved diverged 0"]);
        assert_eq!(news(&mut firing, &first, None), none);
        assert_eq!(news(&mut firing, &second, None), ["default.t2 resolved lag 0"]);
        assert!(firing.tables().is_empty());
    }

    #[test]
    fn a_catalog_that_does_not_answer_for_long_is_an_alert_once() {
        let mut alarm = CatalogAlarm::default();
        let failure = TxnLogError::new(ErrorKind::Unavailable, "connection refused");
        let mut note = |failure, now_ms| {
            let alert = alarm.note("the catalog", failure, now_ms, Duration::from_secs(60));
            alert.map(|a| (a.state, a.lag_ms, a.message))
        };
        assert_eq!(note(None, 0), None);
        assert_eq!(note(Some(&failure), 5_000), None);
        assert_eq!(note(None, 10_000), None, "it was short");
        assert_eq!(note(Some(&failure), 15_000), None);
        assert_eq!(note(Some(&failure), 70_000), None);
        let (state, lag_ms, message) = note(Some(&failure), 75_000).unwrap();
        assert_eq!((state, lag_ms), (AlertState::Firing, 60_000));
        assert!(message.starts_with("the catalog has not answered for 60 s"), "{message}");
        assert!(message.contains("connection refused"), "{message}");
        assert_eq!(note(Some(&failure), 80_000), None);
        assert_eq!(note(None, 85_000), Some((AlertState::Resolved, 0, "the catalog answers again".into())));
        assert_eq!(note(None, 90_000), None);
    }

    #[test]
    fn an_alert_is_a_json_document() {
        let alert = Alert::firing(&"a.b".parse().unwrap(), &alarm(AlarmKind::Failed, 1_500));
        let expected = json!({
            "table": "a.b", "state": "firing", "kind": "failed", "lagSeconds": 1.5, "message": "failed for 1500 ms",
        });
        assert_eq!(alert.json(), expected);
    }
}
