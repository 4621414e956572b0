//! Floats compared as in PostgreSQL: there is one NaN, equal to itself and greater than every number, and one zero.
//!
//! Arrow orders floats by their bits: a NaN with its sign bit set is less than every number and differs from one
//! without. The bounds in Parquet files do not include NaN, but DataFusion prunes by them as if they held for every
//! value (<https://github.com/apache/datafusion/issues/15812>): with the rows 1 and NaN, `x <> 1` finds nothing. So
//! columns of floats are wrapped in a function: it maps all NaNs to one, and DataFusion has no bounds of its result, so
//! the scan below does not prune by it. The log selects the *files* that may contain a row, and takes into account that
//! its bounds do not include NaN.
//!
//! DataFusion compares zeros as equal whatever their sign, but compares the bits of a zero in the list of `IN`.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::common::{DFSchema, ExprSchema, Result as PlanResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

/// Wraps the columns of a condition for rows that are not from [`one_nan_in_scan`].
pub(super) fn in_condition(condition: Expr, columns: &DFSchema) -> PlanResult<Expr> {
    let seen = condition.transform_up(|e| match e {
        Expr::Column(c) if columns.field_from_column(&c).is_ok_and(|field| holds_floats(field.data_type())) => {
            Ok(Transformed::yes(ONE_NAN.call(vec![Expr::Column(c)])))
        }
        e => Ok(both_zeros(e)),
    });
    Ok(seen?.data)
}

/// Adds the zero of the other sign to an `IN` list with a zero.
#[derive(Debug)]
pub(super) struct OneZero;

impl AnalyzerRule for OneZero {
    fn name(&self) -> &str {
        "one_zero"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> PlanResult<LogicalPlan> {
        let analyzed = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(|e| Ok(both_zeros(e)))?.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(analyzed?.data)
    }
}

fn both_zeros(expr: Expr) -> Transformed<Expr> {
    let Expr::InList(mut list) = expr else { return Transformed::no(expr) };
    let zeros = match list.list.iter().filter_map(value).find(is_zero) {
        Some(ScalarValue::Float32(_)) => [0.0_f32, -0.0].map(lit).to_vec(),
        Some(ScalarValue::Float64(_)) => [0.0_f64, -0.0].map(lit).to_vec(),
        _ => Vec::new(),
    };
    let missing: Vec<_> = zeros.into_iter().filter(|zero| !list.list.contains(zero)).collect();
    list.list.extend(missing.iter().cloned());
    Transformed::new_transformed(Expr::InList(list), !missing.is_empty())
}

/// The value of a literal, with casts.
fn value(literal: &Expr) -> Option<ScalarValue> {
    match literal {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => value(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Negative(inner) => value(inner)?.arithmetic_negate().ok(),
        _ => None,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Float32(Some(0.0)) | ScalarValue::Float64(Some(0.0)))
}

/// The same rows with their float columns wrapped in the function.
pub(crate) fn one_nan_in_scan(
    scan: Arc<dyn ExecutionPlan>,
    options: &Arc<ConfigOptions>,
) -> PlanResult<Arc<dyn ExecutionPlan>> {
    let schema = scan.schema();
    if !schema.fields().iter().any(|field| holds_floats(field.data_type())) {
        return Ok(scan);
    }
    let columns = schema.fields().iter().enumerate().map(|(n, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), n));
        let seen: Arc<dyn PhysicalExpr> = if holds_floats(field.data_type()) {
            Arc::new(ScalarFunctionExpr::new(NAME, ONE_NAN.clone(), vec![column], field.clone(), options.clone()))
        } else {
            column
        };
        (seen, field.name().clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), scan)?))
}

/// Whether a condition uses a float column.
pub(crate) fn uses_floats(condition: &Expr, schema: &Schema) -> bool {
    let of_floats = |name: &str| schema.field_with_name(name).is_ok_and(|field| holds_floats(field.data_type()));
    condition.column_refs().iter().any(|column| of_floats(&column.name))
}

fn holds_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_floats(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            holds_floats(field.data_type())
        }
        DataType::Map(field, _) => holds_floats(field.data_type()),
        DataType::Dictionary(_, values) => holds_floats(values),
        _ => false,
    }
}

const NAME: &str = "one_nan";

static ONE_NAN: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(OneNan { signature }))
});

/// Maps every NaN to the same one; other values are unchanged.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneNan {
    signature: Signature,
}

impl ScalarUDFImpl for OneNan {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> PlanResult<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let [argument] = take_function_args(NAME, arguments.args)?;
        Ok(match argument {
            ColumnarValue::Array(array) => ColumnarValue::Array(match array.data_type() {
                DataType::Float32 => replace::<Float32Type>(array, f32::is_nan, f32::NAN),
                DataType::Float64 => replace::<Float64Type>(array, f64::is_nan, f64::NAN),
                _ => array,
            }),
            ColumnarValue::Scalar(ScalarValue::Float32(Some(x))) if x.is_nan() => {
                ColumnarValue::Scalar(ScalarValue::Float32(Some(f32::NAN)))
            }
            ColumnarValue::Scalar(ScalarValue::Float64(Some(x))) if x.is_nan() => {
                ColumnarValue::Scalar(ScalarValue::Float64(Some(f64::NAN)))
            }
            scalar => scalar,
        })
    }
}

fn replace<T: ArrowPrimitiveType>(array: ArrayRef, is_nan: impl Fn(T::Native) -> bool, nan: T::Native) -> ArrayRef {
    let values = array.as_primitive::<T>();
    // Without a branch for each value, of which hardly any is NaN.
    let has_nan = |values: &[T::Native]| values.iter().fold(false, |any, value| any | is_nan(*value));
    if values.values().chunks(1_024).any(has_nan) {
        Arc::new(values.unary::<_, T>(|value| if is_nan(value) { nan } else { value }))
    } else {
        array
    }
}
