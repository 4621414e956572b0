//! Bounds in file statistics that may be wrong as written, and their safe replacements.

use serde_json::value::RawValue;

use crate::decimal::{Bound, parse_bound, to_json};
use crate::error::{Result, TxnLogError};
use crate::object::Object;
use crate::schema::PrimitiveType;

/// How many digits of a decimal survive a double.
const DIGITS_OF_A_DOUBLE: u8 = 15;

/// The columns of a table, including nested ones, whose bounds in statistics may be wrong as written: long decimals,
/// which a writer may have rounded, and columns whose type has changed, because an old bound may be spelled like a
/// value of the new type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InexactBounds(Vec<InexactBound>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct InexactBound {
    /// The physical path of the column: the names of its parents, then its own.
    path: Vec<String>,
    /// Precision and scale of a decimal; `None` for a column whose type has changed.
    decimal: Option<(u8, i8)>,
}

impl InexactBounds {
    /// The columns of a `schemaString`.
    pub fn of(schema_string: &str) -> Result<Self> {
        // Most schemas have no such column and are not parsed.
        if !schema_string.contains("decimal(") && !schema_string.contains(TYPE_CHANGES) {
            return Ok(Self::default());
        }
        let schema: Object = serde_json::from_str(schema_string)
            .map_err(|e| TxnLogError::corrupt(format!("the table's schema cannot be read: {e}")))?;
        let mut found = Vec::new();
        collect(&schema, &mut Vec::new(), &mut found);
        Ok(Self(found))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Statistics with bounds that exclude no value of a row; `None` when they already are.
    pub fn made_safe(&self, stats: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut edited: Object = serde_json::from_str(stats).ok()?;
        for InexactBound { path, decimal } in &self.0 {
            for (key, bound) in [("minValues", Bound::Lower), ("maxValues", Bound::Upper)] {
                edit(&mut edited, key, path, &|old| {
                    let (precision, scale) = (*decimal)?;
                    parse_bound(&text_of(old), precision, scale, bound).map(|units| to_json(units, scale))
                });
            }
        }
        Some(edited.to_json()).filter(|edited| edited != stats)
    }
}

/// The metadata of a column whose type has changed (PROTOCOL.md, "Type Widening").
const TYPE_CHANGES: &str = "delta.typeChanges";

/// Replaces the minimum and maximum of a column, given by its physical path, in statistics that have bounds of it. A
/// bound without a value is removed.
pub fn set_bounds(stats: &mut Object, path: &[String], least: Option<String>, greatest: Option<String>) {
    for (key, value) in [("minValues", least), ("maxValues", greatest)] {
        edit(stats, key, path, &|_| value.clone());
    }
}

/// Replaces the value at `key` and then along `path`, if it exists; `None` makes it null.
fn edit(object: &mut Object, key: &str, path: &[String], new: &dyn Fn(&RawValue) -> Option<String>) {
    let Some(old) = object.raw(key).filter(|raw| raw.get() != "null") else { return };
    match path {
        [] => {
            let json = new(old).and_then(|json| RawValue::from_string(json).ok());
            if json.as_ref().map_or("null", |json| json.get()) != old.get() {
                object.set(key, json);
            }
        }
        [next, rest @ ..] => {
            let Some(mut within) = object.get::<Object>(key) else { return };
            edit(&mut within, next, rest, new);
            object.set(key, within);
        }
    }
}

/// The text of a number, which some writers quote.
fn text_of(json: &RawValue) -> String {
    serde_json::from_str::<String>(json.get()).unwrap_or_else(|_| json.get().to_string())
}

fn collect(of: &Object, path: &mut Vec<String>, found: &mut Vec<InexactBound>) {
    for field in of.get::<Vec<Object>>("fields").unwrap_or_default() {
        let metadata = field.get::<Object>("metadata").unwrap_or_default();
        let physical = metadata.get::<String>("delta.columnMapping.physicalName").or_else(|| field.get("name"));
        let Some(name) = physical else { continue };
        path.push(name);
        let primitive = field.get::<String>("type").and_then(|name| PrimitiveType::parse(&name));
        if let Some(within) = field.get::<Object>("type") {
            collect(&within, path, found);
        } else if metadata.raw(TYPE_CHANGES).is_some() {
            found.push(InexactBound { path: path.clone(), decimal: None });
        } else if let Some(PrimitiveType::Decimal(precision, scale)) = primitive
            && precision > DIGITS_OF_A_DOUBLE
        {
            found.push(InexactBound { path: path.clone(), decimal: Some((precision, scale)) });
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_inexact_columns_are_widened() {
        let schema = r#"{"type":"struct","fields":[
            {"name":"id","type":"long","nullable":true,"metadata":{}},
            {"name":"d","type":"decimal(18,0)","nullable":true,"metadata":{"delta.columnMapping.physicalName":"col-1"}},
            {"name":"short","type":"decimal(9,2)","nullable":true,"metadata":{}},
            {"name":"s","type":{"type":"struct","fields":[
                {"name":"x","type":"decimal(20,2)","nullable":true,"metadata":{}},
                {"name":"w","type":"double","nullable":true,"metadata":{"delta.typeChanges":[{"fromType":"float","toType":"double"}]}}]},"nullable":true,"metadata":{}},
            {"name":"a","type":{"type":"array","elementType":"decimal(20,2)","containsNull":true},"nullable":true,"metadata":{}}]}"#;
        let columns = InexactBounds::of(schema).unwrap();
        let stats = r#"{"numRecords":2,"minValues":{"id":1,"col-1":-1000000000000000000,"short":1.10,"s":{"x":1.5,"w":0.1}},"maxValues":{"id":2,"col-1":1e18,"short":1.10,"s":{"x":12345678901234568}},"nullCount":{"col-1":0}}"#;
        let want = r#"{"numRecords":2,"minValues":{"id":1,"col-1":-999999999999999999,"short":1.10,"s":{"x":1.50,"w":null}},"maxValues":{"id":2,"col-1":999999999999999999,"short":1.10,"s":{"x":12345678901234578.96}},"nullCount":{"col-1":0}}"#;
        assert_eq!(columns.made_safe(stats).as_deref(), Some(want));
        assert_eq!(InexactBounds::of(r#"{"fields":[{"name":"d","type":"decimal(9,2)"}]}"#).unwrap().0, []);
        let mut stats: Object = serde_json::from_str(stats).unwrap();
        set_bounds(&mut stats, &["s".into(), "x".into()], Some("0.01".into()), None);
        assert!(
            stats.to_json().contains(r#""s":{"x":0.01,"w":0.1}},"#) && stats.to_json().contains(r#""s":{"x":null}}"#)
        );
        set_bounds(&mut stats, &["s".into(), "y".into()], Some("1".into()), None);
        assert!(!stats.to_json().contains("\"y\""));
    }
}
