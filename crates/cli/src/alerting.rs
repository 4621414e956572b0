//! Alerts of `dl mirror run --watch`: what is in alarm is looked for again and again, and reported when it begins and
//! when it ends.
//!
//! A round checks the tables that are behind, those in alarm, and some others, so that each table has its turn. It
//! takes a tenth of the time at most, however many tables there are. It makes no request to an object store: that a log
//! is lost is what the reconciler has found.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TableEntry, TableId, TablePage, TableRef, TxnLogError};
use deltalakedb_mirror::Mirror;

use crate::alarm::{Alert, AlertState, CatalogAlarm, FiringAlarms, alarm_of};
use crate::context::CommandContext;
use crate::output::warn;
use crate::webhook::Webhook;

/// The pause between two rounds, if they are fast.
const PAUSE_MS: i64 = 5_000;
/// How much longer than a round the pause after it is.
const PAUSE_SHARE: i64 = 9;
/// How many tables get their turn in a round.
const TURNS: usize = 50;
/// How long the catalog may take to answer a question.
const ANSWER: Duration = Duration::from_secs(15);

/// Looks for alarms, and reports them.
pub(crate) struct Alerting<'a> {
    s: &'a CommandContext,
    mirror: &'a Mirror,
    firing: FiringAlarms,
    catalog: CatalogAlarm,
    webhook: Option<Webhook>,
    /// The tables that get their turn next.
    page: TablePage,
}

impl<'a> Alerting<'a> {
    pub(crate) fn new(s: &'a CommandContext, mirror: &'a Mirror) -> Result<Self> {
        let webhook = s.settings.alert_webhook.clone().map(Webhook::new).transpose()?;
        let (firing, catalog) = (FiringAlarms::default(), CatalogAlarm::default());
        Ok(Self { s, mirror, firing, catalog, webhook, page: first_page() })
    }

    /// Never ends.
    pub(crate) async fn run(mut self) -> Result<Infallible> {
        loop {
            let began_ms = self.s.clock.now_ms();
            let mut alerts = Vec::new();
            let failure = self.round(&mut alerts).await.err();
            if let Some(e) = &failure {
                tracing::debug!(error = %e, "the mirrors were not checked for alarms");
            }
            let (described, now_ms) = (self.mirror.catalog().describe(), self.s.clock.now_ms());
            alerts.extend(self.catalog.note(&described, failure.as_ref(), now_ms, self.s.settings.lag_alert));
            alerts.iter().for_each(tell);
            if let Some(webhook) = &mut self.webhook {
                webhook.deliver(&alerts).await;
            }
            // A round that failed has waited for an answer, and the catalog has not worked for it.
            let took_ms = if failure.is_some() { 0 } else { self.s.clock.now_ms().saturating_sub(began_ms) };
            let pause_ms = PAUSE_MS.max(took_ms.saturating_mul(PAUSE_SHARE));
            self.s.clock.sleep(Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0))).await;
        }
    }

    /// Checks tables, and adds what begins and ends to `alerts`. A failure is the catalog's, not that of one table.
    async fn round(&mut self, alerts: &mut Vec<Alert>) -> Result<()> {
        let catalog = self.mirror.catalog().clone();
        let turns = self.answer(catalog.tables_page(&self.page)).await?;
        self.page = self.page.after(&turns).unwrap_or_else(first_page);
        let behind = self.answer(catalog.tables_behind(None)).await?.into_iter().map(|behind| behind.table);
        let mut tables: BTreeMap<TableId, TableEntry> = turns.into_iter().chain(behind).map(|t| (t.id, t)).collect();
        for id in self.mirror.lost_logs() {
            if !tables.contains_key(&id) {
                tables.extend(self.answer(catalog.find(&TableRef::Id(id))).await?.map(|table| (id, table)));
            }
        }
        for (id, name) in self.firing.tables() {
            if tables.contains_key(&id) {
                continue;
            }
            match self.answer(catalog.find(&TableRef::Id(id))).await? {
                Some(table) => self.check(table, alerts).await?,
                // It was dropped or detached.
                None => alerts.extend(self.firing.note(id, &name, None)),
            }
        }
        for table in tables.into_values() {
            self.check(table, alerts).await?;
        }
        Ok(())
    }

    /// The answer of the catalog, or an error if it takes too long.
    async fn answer<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answered = call => answered,
            () = self.s.clock.sleep(ANSWER) => Err(TxnLogError::new(
                ErrorKind::Unavailable,
                format!("there was no answer within {} s", ANSWER.as_secs()),
            )),
        }
    }

    async fn check(&mut self, table: TableEntry, alerts: &mut Vec<Alert>) -> Result<()> {
        let name = table.name.clone();
        let status = match self.answer(self.mirror.status_of(table)).await {
            Ok(status) => status,
            Err(e) if e.kind() == ErrorKind::Unavailable => return Err(e),
            // It was dropped since it was found, or its rows are damaged: the others are checked.
            Err(e) => {
                tracing::debug!(table = %name, error = %e, "a mirror was not checked for alarms");
                return Ok(());
            }
        };
        let alarm = alarm_of(&status, self.s.settings.lag_alert);
        alerts.extend(self.firing.note(status.table.id, &status.table.name, alarm.as_ref()));
        Ok(())
    }
}

fn first_page() -> TablePage {
    TablePage { limit: TURNS, ..TablePage::default() }
}

fn tell(alert: &Alert) {
    tracing::warn!(
        target: "deltalakedb::alert",
        table = alert.table.as_ref().map(tracing::field::display),
        state = alert.state.as_str(),
        kind = alert.kind.as_str(),
        lag_seconds = alert.lag_seconds(),
        "{}",
        alert.message
    );
    let word = match alert.state {
        AlertState::Firing => "alert",
        AlertState::Resolved => "alert ended",
    };
    warn(&format!("{word}: {}", alert.message));
}
