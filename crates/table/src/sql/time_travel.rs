//! Time travel references in queries.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result as PlanResult, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::TableFactor;
use deltalakedb_log::TableName;
use deltalakedb_log::snapshot::At;
use parking_lot::RwLock;

use super::names::past;
use crate::error::to_datafusion_error;

/// A table at an earlier version, and its reference in the query.
pub(super) type TimeTravelTable = ((TableName, At), Arc<dyn TableProvider>);

/// The tables at earlier versions in the statement being planned; they were looked up before.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeTravelPlanner(Arc<RwLock<Vec<TimeTravelTable>>>);

impl TimeTravelPlanner {
    pub(super) fn hold(&self, tables: Vec<TimeTravelTable>) {
        *self.0.write() = tables;
    }
}

impl RelationPlanner for TimeTravelPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> PlanResult<RelationPlanning> {
        let Some(wanted) = past(&relation).map_err(to_datafusion_error)? else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let TableFactor::Table { name, alias, args, .. } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let tables = self.0.read();
        let table = tables.iter().find(|(key, _)| *key == wanted).map(|(_, table)| table.clone());
        let table = table.ok_or_else(|| DataFusionError::Internal(format!("{} was not looked up", wanted.0)))?;
        // Columns are qualified by the name as written.
        let reference = match args {
            None => context.object_name_to_table_reference(name)?,
            Some(_) if wanted.0.namespace == "default" => TableReference::bare(wanted.0.name),
            Some(_) => TableReference::partial(wanted.0.namespace, wanted.0.name),
        };
        let plan = LogicalPlanBuilder::scan(reference, provider_as_source(table), None)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
