//! `date_trunc` for the range of years in Delta.
//!
//! DataFusion's function uses nanoseconds, whose range is 1677 to 2262, and fails outside it. The calendar repeats
//! every 400 years, including the weekday, so a time is truncated in the cycle around 2000 and shifted back.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result as PlanResult, ScalarValue, exec_datafusion_err};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

/// 400 years, in microseconds.
const CYCLE: i64 = 146_097 * 86_400_000_000;
/// 1800-01-01, the start of the cycle.
const BEGIN: i64 = -62_091 * 86_400_000_000;

/// Replaces DataFusion's function.
pub(super) fn install(session: &SessionContext) {
    session.register_udf(ScalarUDF::new_from_impl(DateTrunc { within: date_trunc() }));
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    within: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.within.name()
    }

    fn aliases(&self) -> &[String] {
        self.within.aliases()
    }

    fn signature(&self) -> &Signature {
        self.within.signature()
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        self.within.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        self.within.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let Some(times) = args.args.get(1).cloned() else { return self.within.invoke_with_args(args) };
        // In other zones the cycles differ.
        let zone = match times.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone)
                if zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00" | "Z")) =>
            {
                zone
            }
            _ => return self.within.invoke_with_args(args),
        };
        let rows = args.number_rows;
        let is_scalar = matches!(times, ColumnarValue::Scalar(_));
        let times = times.into_array(if is_scalar { 1 } else { rows })?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let cycles = |time: i64| (time - BEGIN).div_euclid(CYCLE) * CYCLE;
        let shifted = times.unary::<_, TimestampMicrosecondType>(|time| time - cycles(time));
        args.args[1] = ColumnarValue::Array(Arc::new(shifted.with_timezone_opt(zone.clone())));
        args.number_rows = times.len();
        let truncated = self.within.invoke_with_args(args)?.into_array(times.len())?;
        let truncated = truncated
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| exec_datafusion_err!("date_trunc of microseconds yields {}", truncated.data_type()))?;
        let back =
            arrow::compute::binary::<_, _, _, TimestampMicrosecondType>(truncated, times, |t, time| t + cycles(time))?;
        let back = back.with_timezone_opt(zone);
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&back, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(back))
        })
    }
}
