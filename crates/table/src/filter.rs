//! Turns filters that users write into predicates that select files.
//!
//! A predicate only has to be true for every file with a matching row; DataFusion filters the rows themselves. So an
//! expression that cannot be translated becomes [`Predicate::Unknown`].

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::{Predicate, Result};

use crate::delta_rs::{Columns, Condition, Merge, MergeSource};
use crate::error::Explain;

/// The part of a SQL condition that can select files, over columns of `schema`; the rest of it is
/// [`Predicate::Unknown`]. A column that does not exist and SQL that cannot be parsed are errors that name it.
///
/// ```
/// # use arrow::datatypes::{DataType, Field, Schema};
/// use deltalakedb_log::Predicate;
/// use deltalakedb_log::predicate::{Comparison, Literal};
/// use deltalakedb_table::predicate_from_sql;
///
/// let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
/// let predicate = predicate_from_sql("id > 7", &schema).unwrap();
/// assert_eq!(predicate, Predicate::Compare("id".into(), Comparison::Gt, Literal::Long(7)));
/// ```
pub fn predicate_from_sql(sql: &str, schema: &Schema) -> Result<Predicate> {
    Ok(Filter::parse(sql, &SchemaRef::new(schema.clone()))?.predicate)
}

/// The part of the conjunction of conditions that can select files, over columns of `schema`; the rest of it is
/// [`Predicate::Unknown`]. The conditions are those of a plan, such as the filters that a table provider gets: their
/// types are coerced and their constants folded. An expression that is not translated selects every file.
///
/// ```
/// # use arrow::datatypes::{DataType, Field, Schema};
/// use deltalakedb_log::Predicate;
/// use deltalakedb_log::predicate::{Comparison, Literal};
/// use deltalakedb_table::datafusion::prelude::{col, lit};
/// use deltalakedb_table::predicate_of;
///
/// let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
/// let predicate = predicate_of(&[col("id").gt(lit(7_i64))], &schema);
/// assert_eq!(predicate, Predicate::And(vec![Predicate::Compare("id".into(), Comparison::Gt, Literal::Long(7))]));
/// ```
pub fn predicate_of(filters: &[Expr], schema: &Schema) -> Predicate {
    let predicates = filters.iter().map(|filter| Translation { schema }.predicate(filter));
    let known: Vec<_> = predicates.filter(|p| *p != Predicate::Unknown).collect();
    if known.is_empty() { Predicate::Unknown } else { Predicate::And(known) }
}

/// A condition that is resolved against a table's columns.
pub(crate) struct Filter {
    sql: String,
    columns: Columns,
    /// The condition with coerced types.
    pub(crate) expr: Expr,
    /// The condition with folded constants.
    simplified: Expr,
    predicate: Predicate,
}

impl Filter {
    pub(crate) fn parse(sql: &str, schema: &SchemaRef) -> Result<Self> {
        let columns = Columns::of(schema)?;
        let expr = columns.parse(FILTER, sql)?;
        Self::of(sql, expr, columns, schema)
    }

    /// A filter from an expression that was parsed from `sql`.
    fn of(sql: &str, expr: Expr, columns: Columns, schema: &SchemaRef) -> Result<Self> {
        let expr = columns.typed(FILTER, sql, expr)?;
        columns.check_condition(FILTER, sql, &expr)?;
        let simplified = columns.simplified(FILTER, sql, expr.clone())?;
        let predicate = Translation { schema }.predicate(&simplified);
        Ok(Self { sql: sql.into(), columns, expr, simplified, predicate })
    }

    /// The text that was parsed.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// Its predicate for data skipping.
    pub(crate) fn predicate(&self) -> Predicate {
        self.predicate.clone()
    }

    /// The condition for an operation that changes the rows that satisfy it.
    pub(crate) fn condition(self) -> Result<Condition> {
        self.columns.condition(&self.sql, self.simplified, self.predicate)
    }
}

const FILTER: &str = "filter";

/// The predicate for the files of the table (with the columns `table`) in which a row may match a source row, from the
/// merge condition and the source rows.
pub(crate) fn join_predicate(merge: &Merge, table: &SchemaRef, source: &MergeSource) -> Result<Predicate> {
    let sql = merge.on.as_str();
    let failed = || format!("the filter {sql:?} cannot choose files");
    let on = Columns::of_merge(merge, table, &source.schema)?.parse(FILTER, sql)?;
    let of_target = |c: &Column| c.relation.as_ref().is_some_and(|r| r.table() == merge.target_alias);
    let mut parts = Vec::new();
    for part in split_conjunction(&on) {
        if part.column_refs().iter().all(|c| of_target(c)) {
            let unqualified = part.clone().transform(|e| match e {
                Expr::Column(c) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(c.name)))),
                e => Ok(Transformed::no(e)),
            });
            let filter = Filter::of(sql, unqualified.explain(failed)?.data, Columns::of(table)?, table)?;
            parts.push(filter.predicate);
        } else if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part
            && let (Expr::Column(a), Expr::Column(b)) = (left.as_ref(), right.as_ref())
        {
            let (column, key) = if of_target(a) { (a, b) } else { (b, a) };
            if of_target(column) && !of_target(key) {
                parts.push(within(&column.name, table, &key.name, source).explain(failed)?);
            }
        }
    }
    Ok(if parts.is_empty() { Predicate::Unknown } else { Predicate::And(parts) })
}

/// A column of the table is between the minimum and the maximum of a column of the source rows.
fn within(column: &str, table: &Schema, key: &str, source: &MergeSource) -> Result<Predicate, DataFusionError> {
    use DataType as T;
    let (target_type, source_type) =
        (table.field_with_name(column)?.data_type(), source.schema.field_with_name(key)?.data_type());
    let comparable = match (target_type, source_type) {
        (a, b) if a.is_integer() && b.is_integer() => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View) => true,
        (T::Timestamp(TimeUnit::Microsecond, a), T::Timestamp(TimeUnit::Microsecond, b)) => a.is_some() == b.is_some(),
        (T::Date32, T::Date32) => true,
        (T::Decimal128(..), b) => target_type == b,
        _ => false,
    };
    if !comparable {
        return Ok(Predicate::Unknown);
    }
    let (mut least, mut greatest) = (MinAccumulator::try_new(source_type)?, MaxAccumulator::try_new(source_type)?);
    for batch in &source.batches {
        if let Some(values) = batch.column_by_name(key) {
            least.update_batch(std::slice::from_ref(values))?;
            greatest.update_batch(std::slice::from_ref(values))?;
        }
    }
    let (least, greatest) = (least.evaluate()?, greatest.evaluate()?);
    if least.is_null() {
        // Null equals nothing, so no row of the table matches.
        return Ok(Predicate::Constant(false));
    }
    let compare = |op, value: &ScalarValue| {
        literal(value).map_or(Predicate::Unknown, |value| Predicate::Compare(column.into(), op, value))
    };
    Ok(Predicate::And(vec![compare(Comparison::GtEq, &least), compare(Comparison::LtEq, &greatest)]))
}

struct Translation<'a> {
    schema: &'a Schema,
}

impl Translation<'_> {
    fn predicate(&self, expr: &Expr) -> Predicate {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Predicate::And(vec![self.predicate(left), self.predicate(right)])
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Predicate::Or(vec![self.predicate(left), self.predicate(right)])
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right),
            Expr::Not(inner) => Predicate::Not(Box::new(self.predicate(inner))),
            Expr::IsNull(inner) => self.column(inner).map_or(Predicate::Unknown, Predicate::IsNull),
            Expr::IsNotNull(inner) => self.column(inner).map_or(Predicate::Unknown, Predicate::IsNotNull),
            // True where the inner one is true, but false, not null, elsewhere: its negation does not follow.
            Expr::IsTrue(inner) => Predicate::And(vec![self.predicate(inner), Predicate::Unknown]),
            Expr::Between(Between { expr, negated, low, high }) => {
                let within = Predicate::And(vec![
                    self.comparison(expr, Operator::GtEq, low),
                    self.comparison(expr, Operator::LtEq, high),
                ]);
                negate_if(*negated, within)
            }
            Expr::InList(list) => {
                let literals = list.list.iter().map(|e| self.literal(&list.expr, e)).collect::<Option<Vec<_>>>();
                match (self.column(&list.expr), literals) {
                    (Some(column), Some(literals)) => negate_if(list.negated, Predicate::In(column, literals)),
                    _ => Predicate::Unknown,
                }
            }
            Expr::Like(like) => negate_if(like.negated, self.like(like)),
            Expr::Literal(ScalarValue::Boolean(Some(b)), _) => Predicate::Constant(*b),
            // Null selects no row, and the negation of a null condition is not true in any row either.
            Expr::Literal(value, _) if value.is_null() => Predicate::Constant(false),
            Expr::Column(_) => match self.column(expr) {
                Some(column) => Predicate::Compare(column, Comparison::Eq, Literal::Boolean(true)),
                None => Predicate::Unknown,
            },
            _ => Predicate::Unknown,
        }
    }

    fn comparison(&self, left: &Expr, op: Operator, right: &Expr) -> Predicate {
        let (column, op, value) = match (self.column(left), op.swap()) {
            (Some(column), _) => (column, op, self.literal(left, right)),
            (None, Some(swapped)) => match self.column(right) {
                Some(column) => (column, swapped, self.literal(right, left)),
                None => return Predicate::Unknown,
            },
            (None, None) => return Predicate::Unknown,
        };
        let op = match op {
            Operator::Eq => Comparison::Eq,
            Operator::NotEq => Comparison::NotEq,
            Operator::Lt => Comparison::Lt,
            Operator::LtEq => Comparison::LtEq,
            Operator::Gt => Comparison::Gt,
            Operator::GtEq => Comparison::GtEq,
            _ => return Predicate::Unknown,
        };
        value.map_or(Predicate::Unknown, |value| Predicate::Compare(column, op, value))
    }

    fn like(&self, like: &Like) -> Predicate {
        let (Some(column), Expr::Literal(pattern, _)) = (self.column(&like.expr), like.pattern.as_ref()) else {
            return Predicate::Unknown;
        };
        let Some(Literal::String(pattern)) = literal(pattern) else {
            return Predicate::Unknown;
        };
        if like.case_insensitive || like.escape_char.is_some() || pattern.contains('\\') {
            return Predicate::Unknown;
        }
        match pattern.find(['%', '_']) {
            None => Predicate::Compare(column, Comparison::Eq, Literal::String(pattern)),
            Some(0) => Predicate::Unknown,
            Some(at) if &pattern[at..] == "%" => Predicate::StartsWith(column, pattern[..at].to_string()),
            Some(at) => {
                Predicate::And(vec![Predicate::StartsWith(column, pattern[..at].to_string()), Predicate::Unknown])
            }
        }
    }

    /// The column of an expression, through casts that keep every value and the order.
    fn column(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Column(column) => Some(column.name.clone()),
            Expr::Cast(cast) => {
                let column = self.column(&cast.expr)?;
                let from = self.schema.field_with_name(&column).ok()?.data_type();
                keeps_order(from, cast.field.data_type()).then_some(column)
            }
            _ => None,
        }
    }

    /// The literal of `value`, if it can be compared with the statistics of the column in `of`.
    fn literal(&self, of: &Expr, value: &Expr) -> Option<Literal> {
        let column = self.column(of)?;
        let Expr::Literal(value, _) = value else {
            return None;
        };
        match self.schema.field_with_name(&column).ok()?.data_type() {
            // Writers encode single-precision bounds in several ways; none compares exactly with a double.
            DataType::Float16 | DataType::Float32 => None,
            _ => literal(value),
        }
    }
}

fn negate_if(negated: bool, predicate: Predicate) -> Predicate {
    if negated { Predicate::Not(Box::new(predicate)) } else { predicate }
}

fn keeps_order(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let text = |t: &T| matches!(t, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let bits = |t: &T| match t {
        T::Int8 => Some(8),
        T::Int16 => Some(16),
        T::Int32 => Some(32),
        T::Int64 => Some(64),
        _ => None,
    };
    match (from, to) {
        (T::Dictionary(_, values), to) => keeps_order(values, to),
        (from, to) if text(from) && text(to) => true,
        (from, to) => from == to || matches!((bits(from), bits(to)), (Some(a), Some(b)) if a <= b),
    }
}

fn literal(value: &ScalarValue) -> Option<Literal> {
    use ScalarValue as S;
    let micros = |v: i64, unit: TimeUnit| match unit {
        TimeUnit::Second => v.checked_mul(1_000_000),
        TimeUnit::Millisecond => v.checked_mul(1_000),
        TimeUnit::Microsecond => Some(v),
        TimeUnit::Nanosecond => (v % 1_000 == 0).then_some(v / 1_000),
    };
    Some(match value {
        S::Boolean(Some(b)) => Literal::Boolean(*b),
        S::Int8(Some(v)) => Literal::Long((*v).into()),
        S::Int16(Some(v)) => Literal::Long((*v).into()),
        S::Int32(Some(v)) => Literal::Long((*v).into()),
        S::Int64(Some(v)) => Literal::Long(*v),
        S::UInt8(Some(v)) => Literal::Long((*v).into()),
        S::UInt16(Some(v)) => Literal::Long((*v).into()),
        S::UInt32(Some(v)) => Literal::Long((*v).into()),
        S::UInt64(Some(v)) => Literal::Long(i64::try_from(*v).ok()?),
        S::Float64(Some(v)) => Literal::Double(*v),
        S::Decimal128(Some(v), _, scale) => Literal::Decimal(*v, *scale),
        S::Utf8(Some(s)) | S::LargeUtf8(Some(s)) | S::Utf8View(Some(s)) => Literal::String(s.clone()),
        S::Date32(Some(days)) => Literal::Date(*days),
        S::TimestampSecond(Some(v), _) => Literal::Timestamp(micros(*v, TimeUnit::Second)?),
        S::TimestampMillisecond(Some(v), _) => Literal::Timestamp(micros(*v, TimeUnit::Millisecond)?),
        S::TimestampMicrosecond(Some(v), _) => Literal::Timestamp(*v),
        S::TimestampNanosecond(Some(v), _) => Literal::Timestamp(micros(*v, TimeUnit::Nanosecond)?),
        S::Dictionary(_, inner) => literal(inner)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use deltalakedb_log::ErrorKind;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("n", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("d", DataType::Date32, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("x", DataType::Float64, true),
            Field::new("f", DataType::Float32, true),
            Field::new("m", DataType::Decimal128(10, 2), true),
            Field::new("Flag", DataType::Boolean, true),
        ])
    }

    fn check(sql: &str, want: Predicate) {
        assert_eq!(predicate_from_sql(sql, &schema()).unwrap(), want, "{sql}");
    }

    fn cmp(c: &str, op: Comparison, l: Literal) -> Predicate {
        Predicate::Compare(c.into(), op, l)
    }

    #[test]
    fn conditions_become_predicates() {
        use Comparison::*;
        check("id = 5", cmp("id", Eq, Literal::Long(5)));
        check("5 < n", cmp("n", Gt, Literal::Long(5)));
        check("d = '2024-02-03'", cmp("d", Eq, Literal::Date(19756)));
        check("t >= '2024-01-01T00:00:00Z'", cmp("t", GtEq, Literal::Timestamp(1_704_067_200_000_000)));
        check("m < 1.5", cmp("m", Lt, Literal::Decimal(150, 2)));
        check("x > 1", cmp("x", Gt, Literal::Double(1.0)));
        check("f > 0.1", Predicate::Unknown);
        check("Flag", cmp("Flag", Eq, Literal::Boolean(true)));
        check("s LIKE 'ab%'", Predicate::StartsWith("s".into(), "ab".into()));
        check("s LIKE 'a%b'", Predicate::And(vec![Predicate::StartsWith("s".into(), "a".into()), Predicate::Unknown]));
        check("s IS NULL", Predicate::IsNull("s".into()));
        check(
            "id BETWEEN 1 AND 3",
            Predicate::And(vec![cmp("id", GtEq, Literal::Long(1)), cmp("id", LtEq, Literal::Long(3))]),
        );
        check("n IN (1, 2, 3, 4)", Predicate::In("n".into(), [1, 2, 3, 4].map(Literal::Long).into()));
        check("id = 1 AND upper(s) = 'A'", Predicate::And(vec![cmp("id", Eq, Literal::Long(1)), Predicate::Unknown]));
        check("1 = 1", Predicate::Constant(true));
        check("n = NULL", Predicate::Constant(false));
        check("n = 1 OR NULL", Predicate::Or(vec![cmp("n", Eq, Literal::Long(1)), Predicate::Constant(false)]));
    }

    #[test]
    fn conditions_that_do_not_parse_are_named() {
        let check = |sql: &str, want: &str| {
            let e = predicate_from_sql(sql, &schema()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Invalid);
            let message = e.to_string();
            assert!(message.contains(want) && !message.contains('\n'), "{message}");
        };
        check("nosuch = 1", "unknown column \"nosuch\", expected one of id, n, s");
        check("id = ", "invalid filter \"id = \": Expected: an expression");
        check("id = 'x'", "invalid filter \"id = 'x'\": Cannot cast string 'x'");
        check("coz(id) = 1", "invalid filter \"coz(id) = 1\": Invalid function 'coz'. Did you mean");
        check("id + 1", "expected a condition, found an expression of type Int64");
    }
}
