//! SQL literals with all their digits and the whole range of years.
//!
//! By default, DataFusion parses `0.1` as a double and a text compared with a time as nanoseconds, whose range ends in
//! 2262; and it converts a decimal and a double to decimals, which cannot represent NaN and most doubles. Here a number
//! with a fraction is a decimal, one with an exponent a double, and a time is in microseconds, as in Delta. An operand
//! combined with a double becomes a double, and one combined with a time gets the type of the time.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Operator};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, ExactNumberInfo, Expr as SqlExpr, ExprWithAlias as ParsedExpr, TypedString, Value, VisitMut,
    visit_expressions_mut,
};
use deltalakedb_log::decimal;

use super::condition::IS_TRUE;

/// The maximum number of digits of a decimal.
const MAX_DIGITS: usize = 38;

/// Makes a session parse literals in this way.
pub(super) fn install(session: &mut SessionContext) -> PlanResult<()> {
    session.state_ref().write().config_mut().options_mut().sql_parser.parse_float_as_decimal = true;
    session.register_function_rewrite(Arc::new(ExactLiterals))
}

/// Parses an expression over columns.
pub(crate) fn parse(sql: &str, session: &SessionContext, columns: &DFSchema) -> PlanResult<Expr> {
    let state = session.state();
    let dialect = state.config_options().sql_parser.dialect;
    planned(state.sql_to_expr_with_alias(sql, &dialect)?, &state, columns)
}

/// Plans an expression over columns.
pub(crate) fn planned(mut parsed: ParsedExpr, state: &SessionState, columns: &DFSchema) -> PlanResult<Expr> {
    spell_out(&mut parsed.expr);
    let expr = state.create_logical_expr_from_sql_expr(parsed, columns)?;
    Ok(expr.transform_up(|e| coerce(e, columns))?.data)
}

/// Rewrites the literals of a statement that DataFusion would parse differently.
pub(crate) fn in_statement(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => spell_out(statement),
        Statement::Explain(explain) => in_statement(&mut explain.statement),
        _ => {}
    }
}

/// Numbers with an exponent, and those too long for a decimal, become doubles; times without a precision get
/// microseconds.
fn spell_out(within: &mut impl VisitMut) {
    let _: ControlFlow<()> = visit_expressions_mut(within, |e| {
        match e {
            SqlExpr::Value(value) => {
                if let Value::Number(digits, _) = &value.value
                    && (digits.contains(['e', 'E']) || digits.bytes().filter(u8::is_ascii_digit).count() > MAX_DIGITS)
                {
                    let digits = Value::SingleQuotedString(digits.replace('_', ""));
                    *e = SqlExpr::TypedString(TypedString {
                        data_type: SqlType::Double(ExactNumberInfo::None),
                        value: digits.with_span(value.span),
                        uses_odbc_syntax: false,
                    });
                }
            }
            SqlExpr::Cast { data_type, .. } | SqlExpr::TypedString(TypedString { data_type, .. }) => {
                if let SqlType::Timestamp(precision @ None, _) = data_type {
                    *precision = Some(6);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
}

/// Applies it to the expressions of every plan of a session.
#[derive(Debug)]
struct ExactLiterals;

impl FunctionRewrite for ExactLiterals {
    fn name(&self) -> &str {
        "exact_literals"
    }

    fn rewrite(&self, expr: Expr, columns: &DFSchema, _: &ConfigOptions) -> PlanResult<Transformed<Expr>> {
        coerce(expr, columns)
    }
}

/// How operands are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OperandUse {
    /// They get the same type.
    OneType,
    /// In arithmetic: a text combined with a time may be an interval.
    Arithmetic,
}

/// Coerces operands that are combined with doubles or times; their own operands are coerced already.
fn coerce(mut expr: Expr, columns: &DFSchema) -> PlanResult<Transformed<Expr>> {
    use Operator as O;
    let changed = match &mut expr {
        Expr::BinaryExpr(binary) => {
            let operand_use = match binary.op {
                O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom => {
                    OperandUse::OneType
                }
                O::Plus | O::Minus | O::Multiply | O::Divide | O::Modulo => OperandUse::Arithmetic,
                _ => return Ok(Transformed::no(expr)),
            };
            coerce_operands(&mut [&mut binary.left, &mut binary.right], operand_use, columns)
        }
        Expr::Between(between) => {
            coerce_operands(&mut [&mut between.expr, &mut between.low, &mut between.high], OperandUse::OneType, columns)
        }
        Expr::InList(list) => {
            let mut all: Vec<_> = std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            coerce_operands(&mut all, OperandUse::OneType, columns)
        }
        Expr::Case(case) => {
            let (mut compared, mut results) = (Vec::new(), Vec::new());
            for (when, then) in &mut case.when_then_expr {
                compared.push(when.as_mut());
                results.push(then.as_mut());
            }
            results.extend(case.else_expr.as_deref_mut());
            let of_results = coerce_operands(&mut results, OperandUse::OneType, columns);
            let of_compared = case.expr.as_deref_mut().is_some_and(|base| {
                compared.push(base);
                coerce_operands(&mut compared, OperandUse::OneType, columns)
            });
            of_results || of_compared
        }
        Expr::Cast(cast) if cast.field.data_type().is_floating() => spell_decimal(&mut cast.expr, columns),
        // Its type depends on whether its digits are constant: they are after constant folding.
        Expr::ScalarFunction(function) if function.func.name() == "round" && function.args.len() == 2 => {
            match function.args[0].get_type(columns) {
                Ok(DataType::Decimal128(precision, scale)) => {
                    cast(&mut expr, DataType::Decimal128(38.min(precision + 1), scale));
                    true
                }
                _ => false,
            }
        }
        // The columns of a condition are separate arguments: they have the types that the condition was parsed with.
        Expr::ScalarFunction(function) if function.func.name() == IS_TRUE => false,
        Expr::ScalarFunction(function) => {
            let operand_use = match function.func.name() {
                "coalesce" | "nvl" | "ifnull" | "nullif" | "greatest" | "least" => OperandUse::OneType,
                _ => OperandUse::Arithmetic,
            };
            coerce_operands(&mut function.args.iter_mut().collect::<Vec<_>>(), operand_use, columns)
        }
        _ => false,
    };
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Returns whether an operand was changed.
fn coerce_operands(operands: &mut [&mut Expr], operand_use: OperandUse, columns: &DFSchema) -> bool {
    // Operands without a type yet are left to DataFusion.
    let types: Vec<_> = operands.iter().map(|e| e.get_type(columns).ok()).collect();
    let types = || types.iter().flatten();
    if types().any(DataType::is_floating) && types().any(DataType::is_decimal) {
        coerce_to_double(operands, columns);
        return true;
    }
    if operand_use == OperandUse::OneType && operands.len() > 1 && types().all(DataType::is_decimal) {
        return coerce_decimals(operands, columns);
    }
    let microseconds = |t: &&DataType| matches!(t, DataType::Timestamp(TimeUnit::Microsecond, _));
    let Some(time) = types().find(microseconds).cloned() else { return false };
    let mut changed = false;
    for operand in operands.iter_mut() {
        let to = match operand.get_type(columns) {
            Ok(DataType::Timestamp(TimeUnit::Nanosecond, zone)) => DataType::Timestamp(TimeUnit::Microsecond, zone),
            Ok(DataType::Date32) if operand_use == OperandUse::OneType => time.clone(),
            Ok(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
                if operand_use == OperandUse::OneType && matches!(operand, Expr::Literal(..)) =>
            {
                time.clone()
            }
            _ => continue,
        };
        cast(operand, to);
        changed = true;
    }
    changed
}

/// Doubles and decimals. delta-rs parses the conditions in a table's properties by itself: in them, a literal that is a
/// double among decimals was written as a decimal.
fn coerce_to_double(operands: &mut [&mut Expr], columns: &DFSchema) {
    let literal = |e: &Expr| match e {
        Expr::Literal(ScalarValue::Float64(Some(x)), _) => as_decimal(*x),
        _ => None,
    };
    let is_double = |e: &Expr| e.get_type(columns).is_ok_and(|t| t.is_floating());
    if operands.iter().all(|e| !is_double(e) || literal(e).is_some()) {
        for operand in operands.iter_mut() {
            if let Some(decimal) = literal(operand) {
                **operand = Expr::Literal(decimal, None);
            }
        }
        return;
    }
    for operand in operands.iter_mut() {
        match operand {
            // Not by a division, which rounds a second time.
            Expr::Literal(ScalarValue::Decimal128(Some(units), _, scale), _) => {
                let value = decimal::to_json(*units, *scale).parse().ok();
                **operand = Expr::Literal(ScalarValue::Float64(value), None);
            }
            e if e.get_type(columns).is_ok_and(|t| t.is_decimal()) => {
                spell_decimal(e, columns);
                cast(e, DataType::Float64);
            }
            _ => {}
        }
    }
}

/// A decimal to be converted to a double is spelled as text, unless it has so few digits that the division by which it
/// is converted rounds only once. Returns whether it was spelled.
fn spell_decimal(decimal: &mut Expr, columns: &DFSchema) -> bool {
    let long = match decimal.get_type(columns) {
        Ok(DataType::Decimal128(precision, scale)) => precision > 15 || scale > 22,
        Ok(t) => t.is_decimal(),
        Err(_) => false,
    };
    if long {
        cast(decimal, DataType::Utf8);
    }
    long
}

/// Decimals without a common decimal type of 38 digits: if an operand is compared with fewer digits than it has, the
/// comparison fails (datafusion#4072).
fn coerce_decimals(operands: &mut [&mut Expr], columns: &DFSchema) -> bool {
    let digits = |e: &Expr| match e.get_type(columns) {
        Ok(DataType::Decimal128(precision, scale)) => Some((i16::from(precision) - i16::from(scale), i16::from(scale))),
        _ => None,
    };
    let Some(all) = operands.iter().map(|e| digits(e)).collect::<Option<Vec<_>>>() else { return false };
    let whole = all.iter().map(|(whole, _)| *whole).max().unwrap_or(0);
    let scale = all.iter().map(|(_, scale)| *scale).max().unwrap_or(0);
    let (Ok(precision), Ok(scale)) = (u8::try_from(whole + scale), i8::try_from(scale)) else { return false };
    if usize::from(precision) <= MAX_DIGITS {
        return false;
    }
    operands.iter_mut().for_each(|operand| cast(operand, DataType::Decimal256(precision, scale)));
    true
}

/// The decimal with the text of a double, if it is not too long.
fn as_decimal(x: f64) -> Option<ScalarValue> {
    let text = x.to_string();
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let precision = text.bytes().filter(u8::is_ascii_digit).count();
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    let short = usize::from(precision) <= MAX_DIGITS;
    ScalarValue::try_from_string(text, &DataType::Decimal128(precision, scale)).ok().filter(|_| short)
}

fn cast(operand: &mut Expr, to: DataType) {
    let inner = std::mem::take(operand);
    *operand = Expr::Cast(Cast::new(Box::new(inner), to));
}
