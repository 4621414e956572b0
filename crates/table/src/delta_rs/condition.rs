//! Conditions that select the rows to change.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as PlanResult, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility, lit,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use deltalakedb_log::Predicate;

/// A condition that selects the rows of a table to change, and with them the files to remove.
///
/// delta-rs never gets the condition itself but a function of its columns, which is true for the selected rows and
/// false, never null, for all others. delta-rs would evaluate the condition differently from SQL:
/// - It evaluates conditions on partition columns with the kernel's file skipping, where unknown means "may match": a
///   delete removes all files whose condition is null (since <https://github.com/delta-io/delta-rs/pull/4150>).
/// - It casts a literal to the type of the column it is compared with: `i = 1.5` becomes `i = 1`.
/// - It skips files and row groups by bounds that do not include NaN
///   (<https://github.com/apache/datafusion/issues/15812>). Here our own log selects the files, once, by the predicate.
/// - It rejects what it cannot write into the commit, such as an interval.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// The original text, recorded in the commit.
    pub(super) sql: String,
    /// The function of the columns.
    pub(super) is_true: Expr,
    /// The corresponding predicate for data skipping.
    pub(crate) predicate: Predicate,
}

impl Condition {
    /// A condition with coerced types and folded constants, over columns of `schema`.
    pub(super) fn new(
        sql: &str,
        condition: Expr,
        predicate: Predicate,
        schema: &DFSchema,
        session: &SessionContext,
    ) -> PlanResult<Self> {
        check_same_each_time(&condition)?;
        let is_true = match condition {
            Expr::Literal(ScalarValue::Boolean(Some(b)), _) => lit(b),
            Expr::Literal(value, _) if value.is_null() => lit(false),
            condition => {
                let mut columns: Vec<Column> = condition.column_refs().into_iter().cloned().collect();
                columns.sort();
                let field = |column: &Column| {
                    let field = schema.field_from_column(column)?;
                    let field = Field::new(&column.name, as_scanned(field.data_type()), true);
                    Ok((column.relation.clone(), Arc::new(field)))
                };
                let fields = columns.iter().map(field).collect::<PlanResult<Vec<_>>>()?;
                let seen = DFSchema::new_with_metadata(fields, HashMap::new())?;
                let physical = session.create_physical_expr(condition, &seen)?;
                let function =
                    IsTrue { sql: sql.into(), physical, columns: seen.inner().clone(), signature: SIGNATURE };
                ScalarUDF::new_from_impl(function).call(columns.into_iter().map(Expr::Column).collect())
            }
        };
        Ok(Self { sql: sql.into(), is_true, predicate })
    }
}

/// delta-rs reads the rows more than once, and must get the same result.
fn check_same_each_time(condition: &Expr) -> PlanResult<()> {
    condition.apply(|e| match e {
        Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable => {
            plan_err!("{}() is not deterministic", f.func.name())
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// The type that delta-rs uses in scans of columns of this type.
fn as_scanned(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// The name of the function.
pub(super) const IS_TRUE: &str = "is_true";

const SIGNATURE: Signature =
    Signature { type_signature: TypeSignature::UserDefined, volatility: Volatility::Immutable, parameter_names: None };

#[derive(Debug)]
struct IsTrue {
    sql: String,
    physical: Arc<dyn PhysicalExpr>,
    columns: SchemaRef,
    signature: Signature,
}

impl PartialEq for IsTrue {
    fn eq(&self, other: &Self) -> bool {
        (&self.sql, &self.columns) == (&other.sql, &other.columns)
    }
}

impl Eq for IsTrue {}

impl Hash for IsTrue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sql.hash(state);
    }
}

impl ScalarUDFImpl for IsTrue {
    fn name(&self) -> &str {
        IS_TRUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, _: &[DataType]) -> PlanResult<Vec<DataType>> {
        Ok(self.columns.fields().iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_nullable(&self, _: &[Expr], _: &dyn ExprSchema) -> bool {
        false
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns =
            arguments.args.into_iter().map(|column| column.into_array(rows)).collect::<PlanResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.columns.clone(), columns, &options)?;
        let truth = self.physical.evaluate(&batch)?.into_array(rows)?;
        let truth = truth.as_boolean();
        let truth = if truth.null_count() > 0 { prep_null_mask_filter(truth) } else { truth.clone() };
        Ok(ColumnarValue::Array(Arc::new(truth)))
    }
}
