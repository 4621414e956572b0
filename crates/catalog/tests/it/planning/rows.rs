//! Evaluates predicates row by row, in three-valued logic.

use deltalakedb_log::Predicate;
use deltalakedb_log::predicate::{Comparison, Literal};

/// The possible results of a predicate in a row: more than one where engines differ or the result is undefined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct May(u8);

impl May {
    const TRUE: May = May(1);
    const FALSE: May = May(2);
    const NULL: May = May(4);
    const ANY: May = May(7);

    pub(super) fn of(b: bool) -> Self {
        if b { May::TRUE } else { May::FALSE }
    }

    pub(super) fn is_true(self) -> bool {
        self.0 & 1 != 0
    }

    fn each(self) -> impl Iterator<Item = May> {
        [May::TRUE, May::FALSE, May::NULL].into_iter().filter(move |one| self.0 & one.0 != 0)
    }

    fn not(self) -> Self {
        May(self.0 & 4 | (self.0 & 1) << 1 | (self.0 & 2) >> 1)
    }

    /// Three-valued AND of all possible results.
    fn and(self, other: May) -> Self {
        let mut all = 0;
        for a in self.each() {
            for b in other.each() {
                let one = match (a, b) {
                    (May::FALSE, _) | (_, May::FALSE) => May::FALSE,
                    (May::NULL, _) | (_, May::NULL) => May::NULL,
                    _ => May::TRUE,
                };
                all |= one.0;
            }
        }
        May(all)
    }

    fn or(self, other: May) -> Self {
        self.not().and(other.not()).not()
    }
}

/// The index of the column of that name: columns are called c0, c1 and so on, in either case.
pub(super) fn position(name: &str) -> Option<usize> {
    name[1..].parse().ok()
}

pub(super) fn may_be(p: &Predicate, row: &[Option<Literal>]) -> May {
    let value = |name: &str| position(name).map(|at| row[at].as_ref());
    let of = |name: &str, f: &dyn Fn(&Literal) -> May| match value(name) {
        None => May::ANY,
        Some(None) => May::NULL,
        Some(Some(v)) => f(v),
    };
    match p {
        Predicate::Unknown => May::ANY,
        Predicate::Constant(b) => May::of(*b),
        Predicate::IsNull(c) => value(c).map_or(May(3), |v| May::of(v.is_none())),
        Predicate::IsNotNull(c) => value(c).map_or(May(3), |v| May::of(v.is_some())),
        Predicate::Compare(c, op, literal) => of(c, &|v| compare(v, *op, literal)),
        Predicate::In(c, literals) => {
            of(c, &|v| literals.iter().map(|l| compare(v, Comparison::Eq, l)).fold(May::FALSE, May::or))
        }
        Predicate::StartsWith(c, prefix) => of(c, &|v| match v {
            Literal::String(text) => May::of(text.starts_with(prefix)),
            _ => May::ANY,
        }),
        Predicate::And(all) => all.iter().map(|p| may_be(p, row)).fold(May::TRUE, May::and),
        Predicate::Or(any) => any.iter().map(|p| may_be(p, row)).fold(May::FALSE, May::or),
        Predicate::Not(p) => may_be(p, row).not(),
    }
}

/// NaN equals itself and is greater than every number; the zeros are equal, or the negative one is less.
fn compare(value: &Literal, op: Comparison, literal: &Literal) -> May {
    use std::cmp::Ordering;
    let order = match (value, literal) {
        (Literal::Double(a), Literal::Double(b)) if *a == 0.0 && *b == 0.0 && a.to_bits() != b.to_bits() => {
            return May(3);
        }
        (Literal::Double(a), Literal::Double(b)) => match (a.is_nan(), b.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => a.partial_cmp(b).unwrap(),
        },
        (Literal::Decimal(a, s), Literal::Decimal(b, t)) => decimal_parts(*a, *s).cmp(&decimal_parts(*b, *t)),
        // Another type: how engines convert it is undefined.
        _ => match value.partial_cmp(literal) {
            Some(order) => order,
            None => return May::ANY,
        },
    };
    May::of(match op {
        Comparison::Eq => order.is_eq(),
        Comparison::NotEq => order.is_ne(),
        Comparison::Lt => order.is_lt(),
        Comparison::LtEq => order.is_le(),
        Comparison::Gt => order.is_gt(),
        Comparison::GtEq => order.is_ge(),
    })
}

/// The integer part and the fraction in units of 10^-38, which have the order of the numbers.
fn decimal_parts(n: i128, scale: i8) -> (i128, i128) {
    let scale = u32::try_from(scale).unwrap();
    let unit = 10_i128.pow(scale);
    (n.div_euclid(unit), n.rem_euclid(unit) * 10_i128.pow(38 - scale))
}
