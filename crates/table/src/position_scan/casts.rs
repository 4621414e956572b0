//! The types of columns between files, the scan and the table.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::CastExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

/// Casts the columns of a file to those of the scan as DataFusion does, except for milliseconds.
///
/// DataFusion compares a cast column with a literal by casting the literal to the column's type, and cuts off what the
/// milliseconds of a file cannot hold: of the time 0, `at < 0.0005 s` becomes `at < 0 s`. It does not look into a
/// function.
#[derive(Debug)]
pub(super) struct FileCasts;

#[derive(Debug)]
struct CastsOfFile {
    default: Arc<dyn PhysicalExprAdapter>,
    columns: SchemaRef,
}

impl PhysicalExprAdapterFactory for FileCasts {
    fn create(&self, of_scan: SchemaRef, of_file: SchemaRef) -> PlanResult<Arc<dyn PhysicalExprAdapter>> {
        let default = DefaultPhysicalExprAdapterFactory.create(of_scan, of_file.clone())?;
        Ok(Arc::new(CastsOfFile { default, columns: of_file }))
    }
}

impl PhysicalExprAdapter for CastsOfFile {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        let rewritten = self.default.rewrite(expr)?.transform_up(|expr| {
            let Some(cast) = expr.downcast_ref::<CastExpr>() else { return Ok(Transformed::no(expr)) };
            let of_file = cast.expr().data_type(&self.columns)?;
            if !matches!(of_file, DataType::Timestamp(TimeUnit::Millisecond, _)) {
                return Ok(Transformed::no(expr));
            }
            Ok(Transformed::yes(with_type_of(cast.expr().clone(), cast.target_field(), Arc::default())))
        });
        Ok(rewritten?.data)
    }
}

/// The same values as a field of another type, which differs in names and nullability of nested fields only, or in the
/// unit of times.
pub(super) fn with_type_of(
    values: Arc<dyn PhysicalExpr>,
    field: &FieldRef,
    options: Arc<ConfigOptions>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(ScalarFunctionExpr::new(NAME, WITH_TYPE.clone(), vec![values], field.clone(), options))
}

const NAME: &str = "with_type";

static WITH_TYPE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(WithType { signature }))
});

/// See [`with_type_of`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct WithType {
    signature: Signature,
}

impl ScalarUDFImpl for WithType {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Err(DataFusionError::Internal(format!("{NAME} is planned with its type")))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let (rows, data_type) = (arguments.number_rows, arguments.return_field.data_type().clone());
        let [argument] = take_function_args(NAME, arguments.args)?;
        Ok(ColumnarValue::Array(with_type(&argument.into_array(rows)?, &data_type)?))
    }
}

fn with_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), data_type) {
        (is, wanted) if is == wanted => Ok(array.clone()),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let of = array.as_struct();
            let columns = of.columns().iter().zip(fields).map(|(column, field)| with_type(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, of.nulls().cloned(), of.len())?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let of = array.as_list::<i32>();
            let values = with_type(of.values(), item.data_type())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), of.offsets().clone(), values, of.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entries, is_sorted)) => {
            let of = array.as_map();
            let values: ArrayRef = Arc::new(of.entries().clone());
            let values = with_type(&values, entries.data_type())?.as_struct().clone();
            let (offsets, nulls) = (of.offsets().clone(), of.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *is_sorted)?))
        }
        (DataType::Timestamp(..), DataType::Timestamp(..)) => cast(array, data_type),
        (is, wanted) => Err(ArrowError::CastError(format!("{is} is not {wanted} under other names"))),
    }
}
