//! Generated columns: their values are computed from other columns.
//!
//! delta-rs converts column names to lower case when it computes and checks such values, because it parses them as SQL
//! (<https://github.com/delta-io/delta-rs/pull/4407> fixed that elsewhere). So generated columns are hidden from it
//! ([`hide`]): their values are computed, and given values checked, before delta-rs gets the rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{and, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Column, DataFusionError, Result as PlanResult, ScalarValue, TableReference};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Value as SqlValue,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use deltalake_core::DeltaTableError;
use deltalakedb_log::Result;
use deltalakedb_log::action::Metadata;
use serde_json::Value;

use super::Columns;
use crate::error::Explain;
use crate::identifiers::{quoted, unquoted};

/// The entry of a column's metadata with its generation expression.
const EXPRESSION: &str = "delta.generationExpression";

/// The generated columns of a table.
pub(super) struct Generated {
    /// All columns of the table; empty if none is generated.
    schema: SchemaRef,
    columns: Vec<GeneratedColumn>,
}

struct GeneratedColumn {
    name: String,
    data_type: DataType,
    sql: String,
    /// The expression for its value, over the columns of the table.
    value: Expr,
}

impl Generated {
    /// The generated columns of a table. `schema` returns its columns in Arrow types, and is called only if needed.
    pub(super) fn of(metadata: &Metadata, schema: impl FnOnce() -> Result<SchemaRef>) -> Result<Self> {
        let generated = expressions(&metadata.schema_string);
        if generated.is_empty() {
            return Ok(Self { schema: Arc::new(Schema::empty()), columns: Vec::new() });
        }
        let schema = schema()?;
        let readable = Columns::of(&schema)?;
        let mut columns = Vec::with_capacity(generated.len());
        for (name, sql) in generated {
            let data_type = schema.field_with_name(&name).explain(|| format!("no column {name:?}"))?.data_type();
            let value = cast(readable.read("generation expression", &without_trunc(&sql))?, data_type);
            columns.push(GeneratedColumn { name, data_type: data_type.clone(), sql, value });
        }
        Ok(Self { schema, columns })
    }

    /// Adds missing generated columns to rows to be written, and checks given values.
    pub(super) fn complete_rows(&self, rows: LogicalPlan) -> Result<LogicalPlan> {
        if self.columns.is_empty() {
            return Ok(rows);
        }
        let given = rows.schema().inner().clone();
        let mut all: Vec<Expr> = given
            .fields()
            .iter()
            .map(|field| match self.columns.iter().find(|column| column.name == *field.name()) {
                Some(column) => column.checked(existing(None, field.name()), column.value.clone()).alias(field.name()),
                None => existing(None, field.name()),
            })
            .collect();
        let missing = self.columns.iter().filter(|column| given.field_with_name(&column.name).is_err());
        all.extend(missing.map(|column| column.value.clone().alias(&column.name)));
        let plan = LogicalPlanBuilder::from(rows).project(all).and_then(LogicalPlanBuilder::build);
        plan.explain(|| "the generated columns cannot be computed".into())
    }

    /// The assignments of an update, with those of dependent generated columns. The table's name is `alias`.
    pub(super) fn complete_update(
        &self,
        set: Vec<(String, Expr)>,
        alias: Option<&TableReference>,
    ) -> Result<Vec<(String, Expr)>> {
        let kept = |name: &str| Ok(existing(alias, name));
        self.complete(set, kept, |value, is_set| value.column_refs().iter().any(|column| is_set(&column.name)))
    }

    /// The values of a new row, with those of all generated columns.
    pub(super) fn complete_insert(&self, set: Vec<(String, Expr)>) -> Result<Vec<(String, Expr)>> {
        let null =
            |name: &str| {
                let field = self.schema.field_with_name(name).explain(|| format!("no column {name:?}"))?;
                Ok(lit(ScalarValue::try_new_null(field.data_type())
                    .explain(|| format!("the column {name:?} is not null"))?))
            };
        self.complete(set, null, |_, _| true)
    }

    /// `unset` is the value of a column without an assignment; `must_follow` whether a generated column without one
    /// gets one.
    fn complete(
        &self,
        mut set: Vec<(String, Expr)>,
        unset: impl Fn(&str) -> Result<Expr>,
        must_follow: impl Fn(&Expr, &dyn Fn(&str) -> bool) -> bool,
    ) -> Result<Vec<(String, Expr)>> {
        if self.columns.is_empty() {
            return Ok(set);
        }
        let values: Vec<(String, Expr)> = set.iter().map(|(key, value)| (unquoted(key), value.clone())).collect();
        let value_of = |name: &str| values.iter().find(|(set, _)| set == name).map(|(_, value)| value);
        let becomes = |column: &Column| -> Result<Expr> {
            match (value_of(&column.name), self.schema.field_with_name(&column.name)) {
                (Some(value), Ok(field)) => Ok(cast(value.clone(), field.data_type())),
                _ => unset(&column.name),
            }
        };
        for column in &self.columns {
            let given = values.iter().position(|(name, _)| *name == column.name);
            if given.is_none() && !must_follow(&column.value, &|name| value_of(name).is_some()) {
                continue;
            }
            let value = column.value.clone().transform_up(|e| match e {
                Expr::Column(c) => Ok(Transformed::yes(becomes(&c).map_err(|e| DataFusionError::External(e.into()))?)),
                e => Ok(Transformed::no(e)),
            });
            let value = value.explain(|| format!("the column {:?} cannot be computed", column.name))?.data;
            match given {
                Some(n) => set[n].1 = column.checked(set[n].1.clone(), value),
                None => set.push((quoted(&column.name), value)),
            }
        }
        Ok(set)
    }
}

/// The columns of a table in Arrow types, with a mark on generated ones.
pub(crate) fn marked(metadata: &Metadata, schema: SchemaRef) -> SchemaRef {
    let generated = expressions(&metadata.schema_string);
    if generated.is_empty() {
        return schema;
    }
    let mark = |field: &Arc<Field>| {
        let mut field = field.as_ref().clone();
        if let Some((_, sql)) = generated.iter().find(|(name, _)| name == field.name()) {
            field.metadata_mut().insert(EXPRESSION.into(), sql.clone());
        }
        field
    };
    let fields: Vec<_> = schema.fields().iter().map(mark).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Whether a column has the mark.
pub(crate) fn is_generated(column: &Field) -> bool {
    column.metadata().contains_key(EXPRESSION)
}

impl GeneratedColumn {
    /// The computed value; an error if the given one differs.
    fn checked(&self, given: Expr, computed: Expr) -> Expr {
        let function = Checked {
            column: self.name.clone(),
            sql: self.sql.clone(),
            data_type: self.data_type.clone(),
            signature: Signature::any(2, Volatility::Immutable),
        };
        ScalarUDF::new_from_impl(function).call(vec![cast(given, &self.data_type), computed])
    }
}

fn existing(relation: Option<&TableReference>, name: &str) -> Expr {
    Expr::Column(Column::new(relation.cloned(), name))
}

fn cast(value: Expr, data_type: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(value), data_type.clone()))
}

/// A schema without generation expressions.
pub(super) fn remove_expressions(schema: &str) -> String {
    if !schema.contains(EXPRESSION) {
        return schema.into();
    }
    edited(schema, |_, metadata| {
        metadata.remove(EXPRESSION);
    })
}

/// The schema, with the generation expressions of another for columns that both have.
pub(super) fn restore_expressions(schema: &str, source: &str) -> String {
    let generated = expressions(source);
    if generated.is_empty() {
        return schema.into();
    }
    edited(schema, |name, metadata| {
        if let Some((_, sql)) = generated.iter().find(|(generated, _)| generated == name) {
            metadata.insert(EXPRESSION.into(), sql.as_str().into());
        }
    })
}

/// The generated columns in a schema, with their SQL expressions.
fn expressions(schema: &str) -> Vec<(String, String)> {
    if !schema.contains(EXPRESSION) {
        return Vec::new();
    }
    // An invalid schema is reported by the code that reads it.
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return Vec::new() };
    let text = |value: &Value| value.as_str().map(String::from);
    let generated = |field: &Value| Some((text(&field["name"])?, text(&field["metadata"][EXPRESSION])?));
    schema["fields"].as_array().into_iter().flatten().filter_map(generated).collect()
}

fn edited(schema: &str, edit: impl Fn(&str, &mut serde_json::Map<String, Value>)) -> String {
    // An invalid schema is reported by the code that reads it.
    let Ok(mut parsed) = serde_json::from_str::<Value>(schema) else { return schema.into() };
    for field in parsed["fields"].as_array_mut().into_iter().flatten() {
        let Some(name) = field["name"].as_str().map(String::from) else { continue };
        if let Some(metadata) = field["metadata"].as_object_mut() {
            edit(&name, metadata);
        }
    }
    parsed.to_string()
}

/// An expression with Spark's `TRUNC(date, 'MM')` replaced by DataFusion's function.
fn without_trunc(sql: &str) -> String {
    // An expression that cannot be parsed is reported by the code that evaluates it.
    let Ok(mut parsed) = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr())
    else {
        return sql.into();
    };
    let mut changed = false;
    let _: ControlFlow<()> = visit_expressions_mut(&mut parsed, |e| {
        if let SqlExpr::Function(function) = e
            && let Some(unit) = truncated_to(function)
            && let FunctionArguments::List(list) = &mut function.args
        {
            list.args.reverse();
            list.args[0] = FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(
                SqlValue::SingleQuotedString(unit.into()).into(),
            )));
            function.name = ObjectName::from(vec![Ident::new("date_trunc")]);
            changed = true;
        }
        ControlFlow::Continue(())
    });
    if changed { parsed.to_string() } else { sql.into() }
}

/// The unit of a call of Spark's `TRUNC` on a date.
fn truncated_to(function: &Function) -> Option<&'static str> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(unit)))] = list.args.as_slice() else {
        return None;
    };
    let SqlValue::SingleQuotedString(unit) = &unit.value else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("trunc") {
        return None;
    }
    match unit.to_ascii_uppercase().as_str() {
        "YEAR" | "YYYY" | "YY" => Some("year"),
        "QUARTER" => Some("quarter"),
        "MONTH" | "MON" | "MM" => Some("month"),
        "WEEK" => Some("week"),
        _ => None,
    }
}

/// Returns its second argument. The first must be equal or null, because rows from JSON have null for a missing value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    column: String,
    sql: String,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        "checked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let rows = arguments.number_rows;
        let [given, computed] = take_function_args(self.name(), arguments.args)?;
        let (given, computed) = (given.into_array(rows)?, computed.into_array(rows)?);
        let is_another = and(&distinct(&given, &computed)?, &is_not_null(&given)?)?;
        if is_another.true_count() > 0 {
            // The text that delta-rs uses for rows that violate a constraint.
            let message = format!(
                "Invalid data found: the column {:?} is generated as {}, and a row has another value: nothing was written",
                self.column, self.sql
            );
            return Err(DataFusionError::External(DeltaTableError::InvalidData { message }.into()));
        }
        Ok(ColumnarValue::Array(computed))
    }
}
