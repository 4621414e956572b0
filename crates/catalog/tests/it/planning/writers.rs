//! Statistics and partition values as different writers render them, with their different precision.

use std::fmt::Write as _;

use deltalakedb_log::predicate::Literal;
use deltalakedb_log::time;
use fastrand::Rng;

use super::story::Kind;

/// The members of a JSON object, each value as its text.
#[derive(Default)]
pub(super) struct Members(pub(super) String);

impl Members {
    pub(super) fn push(&mut self, name: &str, value: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let name = serde_json::Value::from(name);
        write!(self.0, "{comma}{name}:{value}").unwrap();
    }

    pub(super) fn object(self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Min and max as JSON text, as some writer renders them; `None` if it writes none.
pub(super) fn statistics(rng: &mut Rng, kind: Kind, values: &[&Literal]) -> (Option<String>, Option<String>) {
    let mut ordered: Vec<&Literal> =
        values.iter().copied().filter(|v| !matches!(v, Literal::Double(x) if x.is_nan())).collect();
    ordered.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let (Some(least), Some(most)) = (ordered.first(), ordered.last()) else { return (None, None) };
    let quotes = rng.u8(0..8) == 0;
    let short = rng.bool();
    let text = |value: &Literal, up: bool| match value {
        Literal::Boolean(b) => Some(b.to_string()),
        Literal::Long(n) => Some(n.to_string()),
        Literal::Double(x) if x.is_infinite() => {
            let name = if *x > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" };
            quotes.then(|| name.to_string())
        }
        // The shortest text that identifies the float among floats.
        Literal::Double(x) if kind == Kind::Float && short => Some(format!("{:e}", *x as f32)),
        Literal::Double(x) => Some(if quotes { format!("{x:e}") } else { x.to_string() }),
        Literal::Decimal(n, scale) if !quotes => match kind {
            // Converted through a double, as many writers do.
            Kind::Decimal(_, _) if up => Some((*n as f64 / 10_f64.powi((*scale).into())).to_string()),
            _ => Some(decimal_text(*n, *scale)),
        },
        Literal::Decimal(n, scale) => Some(quoted(&decimal_text(*n, *scale))),
        Literal::Date(days) => Some(quoted(&date_text(*days))),
        Literal::Timestamp(micros) => {
            let zone = if kind == Kind::Timestamp { "Z" } else { "" };
            Some(quoted(&(timestamp_text(*micros, quotes) + zone)))
        }
        Literal::String(text) if up => Some(quoted(&truncated_max(text, quotes))),
        Literal::String(text) => Some(quoted(&text.chars().take(32).collect::<String>())),
    };
    (text(least, false), text(most, true))
}

/// The first 32 characters and a suffix greater than any; or with the last character incremented.
fn truncated_max(text: &str, round_up: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 32 {
        return text.into();
    }
    let next = |c: char| (c as u32 + 1..=0x10_ffff).find_map(char::from_u32);
    if round_up && let Some(at) = (0..32).rev().find(|i| next(chars[*i]).is_some()) {
        return chars[..at].iter().copied().chain(next(chars[at])).collect();
    }
    match (32..chars.len()).find(|i| chars[*i] < '\u{10ffff}') {
        Some(at) => chars[..at].iter().copied().chain(['\u{10ffff}']).collect(),
        None => text.into(),
    }
}

fn decimal_text(n: i128, scale: i8) -> String {
    Literal::Decimal(n, scale).to_string()
}

fn date_text(days: i32) -> String {
    let midnight = time::format_ms(i64::from(days) * 86_400_000);
    midnight.split_once('T').unwrap().0.into()
}

/// Without a zone; with milliseconds, or in full.
fn timestamp_text(micros: i64, whole: bool) -> String {
    let text = time::format_ms(micros.div_euclid(1000));
    let text = text.trim_end_matches('Z');
    if whole { format!("{text}{:03}", micros.rem_euclid(1000)) } else { text.into() }
}

pub(super) fn partition_text(rng: &mut Rng, kind: Kind, value: &Literal) -> String {
    match value {
        Literal::Boolean(b) => b.to_string(),
        Literal::Long(n) => n.to_string(),
        Literal::Double(x) if x.is_infinite() => if *x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Literal::Double(x) if kind == Kind::Float => (*x as f32).to_string(),
        Literal::Double(x) => x.to_string(),
        Literal::Decimal(n, scale) => decimal_text(*n, *scale),
        Literal::Date(days) => date_text(*days),
        Literal::Timestamp(micros) => {
            if rng.bool() {
                timestamp_text(*micros, true) + "Z"
            } else {
                timestamp_text(*micros, true).replace('T', " ")
            }
        }
        Literal::String(text) => text.clone(),
    }
}
