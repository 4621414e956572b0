//! Predicates over rows, and whether a file may contain a matching row.
//!
//! A predicate prunes: [`Predicate::may_match`] is false only when no row of the file can satisfy it. Where statistics
//! are missing, truncated or of another type than expected, the answer is true.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use crate::action::Add;
use crate::literal::quoted;
use crate::schema::Schema;
use crate::stats::{ColumnRange, FileStats};

pub use crate::literal::Literal;

/// How a column is compared with a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

/// A predicate over the rows of a table, by *logical* top-level column name. Three-valued as in SQL: a comparison
/// with null is unknown, and only true rows match.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// Unknown: may match any row. An expression that cannot be translated becomes this.
    Unknown,
    /// The same for every row.
    Constant(bool),
    /// A comparison of a column with a literal.
    Compare(String, Comparison, Literal),
    /// The column is one of the literals.
    In(String, Vec<Literal>),
    /// The column is null.
    IsNull(String),
    /// The column is not null.
    IsNotNull(String),
    /// The column, text, starts with the prefix.
    StartsWith(String, String),
    /// All are true.
    And(Vec<Predicate>),
    /// One is true.
    Or(Vec<Predicate>),
    /// The predicate is false.
    Not(Box<Predicate>),
}

impl Predicate {
    /// The names of its columns.
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.visit(&mut |name| {
            names.insert(name);
        });
        names
    }

    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str)) {
        match self {
            Predicate::Unknown | Predicate::Constant(_) => {}
            Predicate::Compare(c, ..) | Predicate::In(c, _) | Predicate::StartsWith(c, _) => f(c),
            Predicate::IsNull(c) | Predicate::IsNotNull(c) => f(c),
            Predicate::And(all) | Predicate::Or(all) => all.iter().for_each(|p| p.visit(f)),
            Predicate::Not(p) => p.visit(f),
        }
    }

    /// Whether a row of `file` may satisfy the predicate. Sound: never false for a file with a matching row.
    pub fn may_match(&self, schema: &Schema, file: &Add) -> bool {
        FileStats::new(schema, file).may_be(self, true)
    }
}

impl fmt::Display for Predicate {
    /// The predicate as SQL, with `?` for unknown parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Predicate::Unknown => f.write_str("?"),
            Predicate::Constant(b) => write!(f, "{b}"),
            Predicate::Compare(c, op, literal) => write!(f, "{c} {op} {literal}"),
            Predicate::In(c, literals) => {
                let literals: Vec<_> = literals.iter().map(Literal::to_string).collect();
                write!(f, "{c} IN ({})", literals.join(", "))
            }
            Predicate::IsNull(c) => write!(f, "{c} IS NULL"),
            Predicate::IsNotNull(c) => write!(f, "{c} IS NOT NULL"),
            Predicate::StartsWith(c, prefix) => write!(f, "starts_with({c}, {})", quoted(prefix)),
            Predicate::And(all) => f.write_str(&joined(all, " AND ", |p| matches!(p, Predicate::Or(_)))),
            Predicate::Or(any) => f.write_str(&joined(any, " OR ", |p| matches!(p, Predicate::And(_)))),
            Predicate::Not(p) => write!(f, "NOT ({p})"),
        }
    }
}

fn joined(parts: &[Predicate], by: &str, in_brackets: fn(&Predicate) -> bool) -> String {
    let text = |p: &Predicate| if in_brackets(p) { format!("({p})") } else { p.to_string() };
    parts.iter().map(text).collect::<Vec<_>>().join(by)
}

impl Comparison {
    /// The comparison that is true where this one is false.
    pub fn negated(self) -> Self {
        match self {
            Comparison::Eq => Comparison::NotEq,
            Comparison::NotEq => Comparison::Eq,
            Comparison::Lt => Comparison::GtEq,
            Comparison::LtEq => Comparison::Gt,
            Comparison::Gt => Comparison::LtEq,
            Comparison::GtEq => Comparison::Lt,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Eq => "=",
            Comparison::NotEq => "<>",
            Comparison::Lt => "<",
            Comparison::LtEq => "<=",
            Comparison::Gt => ">",
            Comparison::GtEq => ">=",
        })
    }
}

impl FileStats<'_> {
    /// Whether `p` can evaluate to `want` for some row.
    fn may_be(&self, p: &Predicate, want: bool) -> bool {
        match p {
            Predicate::Unknown => true,
            Predicate::Constant(b) => *b == want,
            Predicate::Not(p) => self.may_be(p, !want),
            Predicate::And(all) if want => all.iter().all(|p| self.may_be(p, true)),
            Predicate::And(all) => all.iter().any(|p| self.may_be(p, false)),
            Predicate::Or(any) if want => any.iter().any(|p| self.may_be(p, true)),
            Predicate::Or(any) => any.iter().all(|p| self.may_be(p, false)),
            Predicate::IsNull(c) => self.column(c).is_none_or(|k| if want { !k.no_null } else { !k.all_null }),
            Predicate::IsNotNull(c) => self.column(c).is_none_or(|k| if want { !k.all_null } else { !k.no_null }),
            Predicate::Compare(c, op, literal) => {
                let op = if want { *op } else { op.negated() };
                self.column(c).is_none_or(|k| !k.all_null && k.may_compare(op, literal))
            }
            Predicate::In(c, literals) if want => {
                self.column(c).is_none_or(|k| !k.all_null && literals.iter().any(|l| k.may_compare(Comparison::Eq, l)))
            }
            Predicate::In(c, literals) => self
                .column(c)
                .is_none_or(|k| !k.all_null && literals.iter().all(|l| k.may_compare(Comparison::NotEq, l))),
            Predicate::StartsWith(c, prefix) => self.column(c).is_none_or(|k| !k.all_null && k.may_start(prefix, want)),
        }
    }
}

impl ColumnRange {
    /// Whether some value between the bounds can satisfy `op` with the literal.
    fn may_compare(&self, op: Comparison, literal: &Literal) -> bool {
        let cmp = |bound: &Option<Literal>| bound.as_ref().and_then(|b| b.partial_cmp(literal));
        let (min, max) = (cmp(&self.min), cmp(&self.max));
        let below = |o: Option<Ordering>| o == Some(Ordering::Less);
        let above = |o: Option<Ordering>| o == Some(Ordering::Greater);
        // Some engines order -0.0 before 0.0: a bound that equals zero does not say which zero it is.
        let zero = matches!(literal, Literal::Double(x) if *x == 0.0);
        let equal = |o: Option<Ordering>| o == Some(Ordering::Equal) && !zero;
        // NaN is greater than every number and not included in the bounds: only an upper bound on floats is unsafe.
        let float = matches!(literal, Literal::Double(_));
        match op {
            Comparison::Eq => !(above(min) || (below(max) && !float)),
            Comparison::NotEq => float || !(equal(min) && equal(max)),
            Comparison::Lt => !(above(min) || equal(min)) || matches!(literal, Literal::Double(x) if x.is_nan()),
            Comparison::LtEq => !above(min),
            Comparison::Gt => float || !(below(max) || equal(max)),
            Comparison::GtEq => float || !below(max),
        }
    }

    fn may_start(&self, prefix: &str, want: bool) -> bool {
        let text = |l: &Option<Literal>| match l {
            Some(Literal::String(s)) => Some(s.clone()),
            _ => None,
        };
        let (min, max) = (text(&self.min), text(&self.max));
        if want {
            let before = max.is_some_and(|max| max.as_str() < prefix);
            let after = min.is_some_and(|min| min.as_str() > prefix && !min.starts_with(prefix));
            !(before || after)
        } else {
            !(min.is_some_and(|s| s.starts_with(prefix)) && max.is_some_and(|s| s.starts_with(prefix)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    fn schema() -> Schema {
        let fields = [
            ("id", "long"),
            ("x", "double"),
            ("s", "string"),
            ("t", "timestamp"),
            ("d", "decimal(10,2)"),
            ("p", "date"),
        ];
        let fields: Vec<_> = fields
            .iter()
            .map(|(n, t)| format!(r#"{{"name":"{n}","type":"{t}","nullable":true,"metadata":{{}}}}"#))
            .collect();
        let json = format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","));
        Schema::parse(&json, &["p".to_string()]).unwrap()
    }

    fn file(stats: &str, p: &str) -> Add {
        let line = format!(
            r#"{{"add":{{"path":"f","partitionValues":{{"p":{p}}},"size":1,"modificationTime":1,"dataChange":true,"stats":{}}}}}"#,
            serde_json::to_string(stats).unwrap()
        );
        match Action::parse_line(&line).unwrap().remove(0) {
            Action::Add(add) => std::sync::Arc::unwrap_or_clone(add),
            other => panic!("{other:?}"),
        }
    }

    fn check(p: Predicate, want: bool) {
        let f = file(
            r#"{"numRecords":10,"minValues":{"id":5,"x":1.5,"s":"bb","t":"2024-01-01T00:00:00.000Z","d":1.10},"maxValues":{"id":9,"x":2.5,"s":"dd","t":"2024-01-01T00:00:01.000Z","d":9.90},"nullCount":{"id":0,"x":3,"s":10}}"#,
            r#""2024-02-03""#,
        );
        assert_eq!(p.may_match(&schema(), &f), want, "{p:?}");
    }

    fn cmp(c: &str, op: Comparison, l: Literal) -> Predicate {
        Predicate::Compare(c.into(), op, l)
    }

    #[test]
    fn bounds_skip_only_files_that_cannot_match() {
        use Comparison::*;
        use Literal::*;
        check(cmp("id", Eq, Long(7)), true);
        check(cmp("id", Eq, Long(4)), false);
        check(cmp("id", Eq, Long(10)), false);
        check(cmp("id", Lt, Long(5)), false);
        check(cmp("id", LtEq, Long(5)), true);
        check(cmp("id", Gt, Long(9)), false);
        check(cmp("x", Gt, Double(100.0)), true); // there may be a NaN
        check(cmp("x", Lt, Double(1.0)), false);
        check(cmp("t", Eq, Timestamp(1_704_067_201_000_999)), true); // truncated to ms
        check(cmp("t", Eq, Timestamp(1_704_067_201_001_000)), false);
        check(cmp("d", Gt, Decimal(990, 2)), false);
        check(cmp("d", GtEq, Decimal(99, 1)), true);
        check(cmp("p", Eq, Date(19756)), true); // 2024-02-03
        check(cmp("p", Eq, Date(19757)), false);
        check(cmp("s", Eq, String("cc".into())), false); // all null
        check(cmp("nosuch", Eq, Long(1)), true);
        check(cmp("id", Eq, String("7".into())), true); // types differ: nothing concluded
    }

    #[test]
    fn a_predicate_is_displayed_as_sql() {
        use Comparison::*;
        let check = |p: Predicate, want: &str| assert_eq!(p.to_string(), want);
        let low = cmp("id", Lt, Literal::Long(2));
        let day = cmp("s", Eq, Literal::String("it's".into()));
        check(Predicate::And(vec![low.clone(), day.clone()]), "id < 2 AND s = 'it''s'");
        check(Predicate::And(vec![Predicate::Or(vec![low, day]), Predicate::Unknown]), "(id < 2 OR s = 'it''s') AND ?");
        check(cmp("p", GtEq, Literal::Date(19756)), "p >= DATE '2024-02-03'");
        check(cmp("t", Gt, Literal::Timestamp(1_500_000)), "t > TIMESTAMP '1970-01-01T00:00:01.500Z'");
        check(cmp("d", NotEq, Literal::Decimal(-5, 2)), "d <> -0.05");
        let two = [1, 2].map(Literal::Long).into();
        check(Predicate::Not(Box::new(Predicate::In("id".into(), two))), "NOT (id IN (1, 2))");
        check(Predicate::StartsWith("s".into(), "a".into()), "starts_with(s, 'a')");
    }

    #[test]
    fn predicates_use_three_valued_logic() {
        use Comparison::*;
        let low = cmp("id", Lt, Literal::Long(5));
        check(Predicate::Not(Box::new(low.clone())), true);
        check(Predicate::Not(Box::new(cmp("id", GtEq, Literal::Long(5)))), false);
        check(Predicate::Or(vec![low.clone(), Predicate::Constant(true)]), true);
        check(Predicate::And(vec![low, Predicate::Unknown]), false);
        check(Predicate::IsNull("id".into()), false);
        check(Predicate::IsNull("x".into()), true);
        check(Predicate::IsNotNull("s".into()), false);
        check(Predicate::Not(Box::new(Predicate::Unknown)), true);
    }

    #[test]
    fn an_empty_partition_value_is_null() {
        let f = file("{}", r#""""#);
        assert!(Predicate::IsNull("p".into()).may_match(&schema(), &f));
        assert!(!cmp("p", Comparison::Eq, Literal::Date(0)).may_match(&schema(), &f));
        // Some readers take such a text for null, others for an empty text.
        let text = Schema::parse(
            r#"{"type":"struct","fields":[{"name":"p","type":"string","nullable":true,"metadata":{}}]}"#,
            &["p".into()],
        )
        .unwrap();
        for p in [
            cmp("p", Comparison::Eq, Literal::String(String::new())),
            Predicate::IsNull("p".into()),
            Predicate::IsNotNull("p".into()),
        ] {
            assert!(p.may_match(&text, &f), "{p:?}");
        }
    }
}
