//! Strict reading of a body, with errors that can be shown to anybody.

use std::fmt;

use serde::de::value::Error as Probe;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

use crate::Fields;

/// Why a body could not be read. Made of our own words alone: nothing of the body is repeated, so it is safe in
/// logs and pages whatever was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The field that is wrong, when it is one that we know.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub what: String,
}

/// Reads `body` as JSON of the shape `T`, and nothing behind it.
///
/// # Errors
/// [`Malformed`] on invalid UTF-8 or JSON, a nesting deeper than 128, unknown, repeated or missing fields, and values
/// of the wrong type or out of range.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let text = str::from_utf8(body).map_err(|error| Malformed {
        field: None,
        what: format!("invalid UTF-8 byte={}", error.valid_up_to()),
    })?;
    // Serde would also take the fields from an array, by their places.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Malformed { field: None, what: "an object is expected".to_owned() });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| malformed::<T>(&error))?;
    reader.end().map_err(|error| syntax("something follows the JSON value", &error))?;
    Ok(value)
}

fn malformed<T: DeserializeOwned>(error: &serde_path_to_error::Error<serde_json::Error>) -> Malformed {
    use serde_json::error::Category;
    let cause = error.inner();
    match cause.classify() {
        Category::Eof => return syntax("the JSON ends too early", cause),
        Category::Syntax | Category::Io => return syntax("malformed JSON", cause),
        Category::Data => {}
    }
    let known = fields_of::<T>();
    let text = cause.to_string();
    if text.starts_with("unknown field") {
        return Malformed { field: None, what: format!("an unknown field; known are {}", known.join(" ")) };
    }
    for field in known {
        if text.starts_with(&format!("missing field `{field}`")) {
            return Malformed { field: Some(field), what: "it is missing".to_owned() };
        }
        if text.starts_with(&format!("duplicate field `{field}`")) {
            return Malformed { field: Some(field), what: "it is given twice".to_owned() };
        }
    }
    let path = error.path().to_string();
    let head = path.split(['.', '[']).next().unwrap_or_default();
    let field = known.iter().copied().find(|field| *field == head);
    let what = match field {
        Some("holder") => "an object of strings is expected, each key once",
        Some(_) => "the value has the wrong type or is out of range",
        None => "an object is expected",
    };
    Malformed { field, what: what.to_owned() }
}

fn syntax(what: &str, error: &serde_json::Error) -> Malformed {
    Malformed { field: None, what: format!("{what} line={} column={}", error.line(), error.column()) }
}

/// The fields of a struct, as its `Deserialize` states them.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = Probe;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probe> {
            Err(Probe::custom("only structs are asked for their fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Probe> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // It always fails: what it is for happened on the way.
    let _ = T::deserialize(Ask(&mut fields));
    fields
}

/// Reads a map of strings in which no key comes twice.
pub(crate) fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    struct Once;

    impl<'de> Visitor<'de> for Once {
        type Value = Fields;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
            let mut fields = Fields::new();
            while let Some((key, value)) = map.next_entry()? {
                if fields.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key twice"));
                }
            }
            Ok(fields)
        }
    }

    deserializer.deserialize_map(Once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AcquireRequest, RenewRequest};

    fn refusal(body: &str) -> Malformed {
        parse::<AcquireRequest>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_error_never_repeats_what_was_sent() {
        let bodies = [
            r#"{"EVIL":1}"#,
            r#"{"name":{"EVIL":1}}"#,
            r#"{"ttl_ms":"EVIL"}"#,
            r#"{"mode":"EVIL"}"#,
            r#"{"holder":{"EVIL":1}}"#,
            r#"{"holder":{"EVIL":"a","EVIL":"b"}}"#,
            r#"{"name":"a"} EVIL"#,
            "EVIL",
            r#""EVIL""#,
            r#"["EVIL"]"#,
            r#"{"names":["a",{"EVIL":0}]}"#,
            r#"{"unknown field `a`, expected EVIL":1}"#,
        ];
        for body in bodies {
            let refused = refusal(body);
            assert!(!format!("{refused:?}").contains("EVIL"), "{refused:?}");
        }
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(refusal(r#"{"ttl_ms":-1}"#).field, Some("ttl_ms"));
        assert_eq!(refusal(r#"{"ttl_ms":1.5}"#).field, Some("ttl_ms"));
        assert_eq!(refusal(r#"{"names":["a",1]}"#).field, Some("names"));
        assert_eq!(refusal(r#"{"mode":"none"}"#).field, Some("mode"));
        assert_eq!(refusal(r#"{"name":"a","name":"b"}"#).field, Some("name"));
        assert_eq!(refusal(r#"{"holder":{"a":"1","a":"2"}}"#).field, Some("holder"));
        assert_eq!(parse::<RenewRequest>(b"{}").unwrap_err().field, Some("lease"));
    }

    #[test]
    fn deep_nesting_and_invalid_utf_8_are_refused() {
        assert!(refusal(&"[".repeat(100_000)).field.is_none());
        assert!(refusal(&format!("{{\"holder\":{}", "{\"a\":".repeat(100_000))).what.contains("expected"));
        assert!(parse::<AcquireRequest>(b"{\"name\":\"\xff\"}").unwrap_err().what.contains("UTF-8"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let ask = AcquireRequest { name: Some("a".into()), ttl_ms: Some(100), ..AcquireRequest::default() };
        let text = serde_json::to_vec(&ask).unwrap();
        assert_eq!(parse::<AcquireRequest>(&text).unwrap(), ask);
    }
}
