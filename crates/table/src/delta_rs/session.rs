//! Query sessions that read with delta-rs' own planner.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use deltalake_core::delta_datafusion::DeltaSessionContext;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Result, Stores};

use super::{date_trunc, floats, literals, stores};
use crate::error::Explain;
use crate::statistics_request::RequestExactStatistics;

/// A session for queries over tables that are registered in it, with settings of DataFusion such as
/// `datafusion.execution.batch_size`.
pub fn query_session<'a>(settings: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<SessionContext> {
    let session = session_context(&environment())?;
    {
        let state = session.state_ref();
        let mut state = state.write();
        for (key, value) in settings {
            state.config_mut().options_mut().set(key, value).explain(|| format!("invalid setting {key}"))?;
        }
    }
    Ok(session)
}

/// Runs a query in such a session; numbers and times are parsed as by [`SqlSession`](crate::SqlSession).
pub async fn query(session: &SessionContext, sql: &str) -> Result<DataFrame, DataFusionError> {
    let state = session.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    literals::in_statement(&mut statement);
    session.execute_logical_plan(state.statement_to_plan(statement).await?).await
}

/// A session with delta-rs' own planner and settings that requests exact statistics from logs.
pub(crate) fn session_context(stores: &Arc<dyn Stores>) -> Result<SessionContext> {
    let mut session = DeltaSessionContext::with_runtime_env(stores::session(stores.clone())?).into_inner();
    {
        let state = session.state_ref();
        let mut state = state.write();
        // DataFusion 55.2 derives a filter from the bounds of plain columns even if other aggregates of the query need
        // the rows that it skips: `SELECT max(-id), max(id)`.
        state.config_mut().options_mut().optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    }
    session.add_optimizer_rule(Arc::new(RequestExactStatistics));
    date_trunc::install(&session);
    literals::install(&mut session).explain(|| "a query session cannot be started".into())?;
    session.add_analyzer_rule(Arc::new(floats::OneZero));
    Ok(session)
}
