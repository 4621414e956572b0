//! Lossless JSON objects: members keep their order and the exact text of their values.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An ordered JSON object of raw values. Numbers are never parsed as floats, so large integers and decimals stay exact.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_ref()))
    }

    /// The raw value of `key`; of duplicate keys the last one counts, as in every common parser.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }

    /// The value of `key` as a `T`; `None` when absent, null or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.raw(key).and_then(|v| serde_json::from_str::<Option<T>>(v.get()).ok().flatten())
    }

    /// Sets `key`, in its position if it exists, else at the end.
    pub fn set(&mut self, key: &str, value: impl Serialize) {
        // Serializing plain data cannot fail; if it did, the member would be left out, not written in part.
        if let Ok(raw) = serde_json::value::to_raw_value(&value) {
            match self.0.iter_mut().find(|(k, _)| k == key) {
                Some((_, v)) => *v = raw,
                None => self.0.push((key.to_string(), raw)),
            }
        }
    }

    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|(k, v)| (k, v.get())).eq(other.iter().map(|(k, v)| (k, v.get())))
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (k, v) in &self.0 {
            map.serialize_entry(k, v)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push(entry);
                }
                Ok(Object(members))
            }
        }
        d.deserialize_map(Members)
    }
}

/// The members of a borrowed object, taken one by one; the members that are not taken are the rest.
pub(crate) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    pub(crate) fn parse(raw: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(raw)
    }

    /// Takes `key` as a `T`; null counts as absent.
    pub(crate) fn take<T: Deserialize<'a>>(&mut self, key: &str) -> Result<Option<T>, String> {
        let mut found = None;
        self.0.retain(|(k, v)| {
            let here = k == key;
            if here {
                found = Some(*v);
            }
            !here
        });
        match found {
            None => Ok(None),
            Some(v) => serde_json::from_str::<Option<T>>(v.get()).map_err(|e| format!("field {key:?}: {e}")),
        }
    }

    /// Takes `key`, which must exist and not be null.
    pub(crate) fn need<T: Deserialize<'a>>(&mut self, key: &str) -> Result<T, String> {
        self.take(key)?.ok_or_else(|| format!("field {key:?} is missing"))
    }

    pub(crate) fn rest(self) -> Object {
        Object(self.0.into_iter().map(|(k, v)| (k, v.to_owned())).collect())
    }

    pub(crate) fn into_members(self) -> Vec<(String, &'a RawValue)> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut members = Vec::with_capacity(12);
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(entry);
                }
                Ok(Fields(members))
            }
        }
        d.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_and_text() {
        let text = r#"{"b":12345678901234567890123,"a":1.10,"c":{"x": 1},"b":2}"#;
        let o: Object = serde_json::from_str(text).unwrap();
        assert_eq!(o.to_json(), text);
        assert_eq!(o.get::<i64>("b"), Some(2), "the last of a repeated key counts");
        assert_eq!(o.get::<i64>("zz"), None);
    }

    #[test]
    fn set_replaces_in_place() {
        let mut o: Object = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        o.set("a", "x");
        o.set("c", 3);
        assert_eq!(o.to_json(), r#"{"a":"x","b":2,"c":3}"#);
    }
}
