//! `org.systemd.property.NAME` annotations: further properties of the container's unit, their values in GVariant's text
//! format (runc, docs/systemd.md, "Auxiliary properties"). Scalars and arrays of them; what else there is, is refused.

use super::dbus::Value;
use crate::error::{Error, Result};

/// Start of the annotation's name; with the dot at its end that is how `rrun features` tells of it.
pub const PREFIX: &str = "org.systemd.property.";

/// The properties that `annotations` ask for. Other annotations are not looked at.
///
/// # Errors
/// A name that is none, or a value that cannot be read.
pub(crate) fn properties<'a>(annotations: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let bad = |problem: String| Error::config(format!("annotations[{key:?}]"), problem);
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(bad(format!("{name:?} is not the name of a systemd property: letters only, three or more")));
        }
        let value = parse(text).map_err(&bad)?;
        // Documented with Sec (TimeoutStopSec=), but microseconds with USec on the bus.
        let seconds = name.strip_suffix("Sec").filter(|n| n.ends_with(|c: char| c.is_ascii_lowercase()));
        all.push(match seconds {
            Some(stem) => (format!("{stem}USec"), microseconds(&value).ok_or_else(|| bad(format!("{text:?} is no number")))?),
            None => (name.to_owned(), value),
        });
    }
    Ok(all)
}

fn microseconds(value: &Value) -> Option<Value> {
    let whole = |n: u64| n.checked_mul(1_000_000).map(Value::U64);
    match value {
        Value::Byte(n) => whole((*n).into()),
        Value::U16(n) => whole((*n).into()),
        Value::U32(n) => whole((*n).into()),
        Value::U64(n) => whole(*n),
        Value::I16(n) => whole((*n).try_into().ok()?),
        Value::I32(n) => whole((*n).try_into().ok()?),
        Value::I64(n) => whole((*n).try_into().ok()?),
        Value::F64(n) if *n >= 0.0 => Some(Value::U64((n * 1e6) as u64)),
        _ => None,
    }
}

/// GVariant text: `uint64 5`, `'text'`, `true`, `['a', 'b']`, `@as []`.
fn parse(text: &str) -> Result<Value, String> {
    let mut rest = text.trim();
    let value = value(&mut rest, None).ok_or_else(|| {
        format!("{text:?} is no value that is understood here: a number (uint64 5), 'text', true, or a list of one of them")
    })?;
    if rest.trim().is_empty() { Ok(value) } else { Err(format!("{text:?}: {:?} after the value", rest.trim())) }
}

/// Keywords before a value, with the type that they give it.
const TYPES: [(&str, &str); 10] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
];

fn value(rest: &mut &str, wanted: Option<&str>) -> Option<Value> {
    *rest = rest.trim_start();
    if let Some(after) = rest.strip_prefix('@') {
        let (kind, after) = after.split_once(' ')?;
        *rest = after;
        return value(rest, Some(kind));
    }
    if let Some(after) = rest.strip_prefix('[') {
        *rest = after;
        return array(rest, wanted.map(|w| w.strip_prefix('a').ok_or(())).transpose().ok()?);
    }
    if rest.starts_with(['\'', '"']) {
        let text = quoted(rest)?;
        return match wanted {
            None | Some("s") => Some(Value::Str(text)),
            Some("o") => Some(Value::Path(text)),
            _ => None,
        };
    }
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']')).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == word) {
        return value(rest, Some(kind));
    }
    if word == "objectpath" {
        return value(rest, Some("o"));
    }
    if matches!(word, "true" | "false") {
        return matches!(wanted, None | Some("b")).then_some(Value::Bool(word == "true"));
    }
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse::<i128>().ok(),
    };
    Some(match wanted {
        // A bare number is an int32, or a double if it has a point.
        None if number(word).is_none() => Value::F64(word.parse().ok()?),
        None | Some("i") => Value::I32(number(word)?.try_into().ok()?),
        Some("y") => Value::Byte(number(word)?.try_into().ok()?),
        Some("n") => Value::I16(number(word)?.try_into().ok()?),
        Some("q") => Value::U16(number(word)?.try_into().ok()?),
        Some("u") => Value::U32(number(word)?.try_into().ok()?),
        Some("x") => Value::I64(number(word)?.try_into().ok()?),
        Some("t") => Value::U64(number(word)?.try_into().ok()?),
        Some("d") => Value::F64(word.parse().ok()?),
        _ => return None,
    })
}

fn array(rest: &mut &str, element: Option<&str>) -> Option<Value> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            *rest = after;
            break;
        }
        if !items.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        // The first element says what the others are.
        let kind = element.map(str::to_owned).or_else(|| items.first().map(Value::signature));
        items.push(value(rest, kind.as_deref())?);
    }
    // Without an element nor a type there is no knowing.
    let kind = items.first().map(Value::signature).or(element.map(str::to_owned))?;
    (kind.len() == 1).then_some(Value::Array(kind, items))
}

/// A quoted text, with its escapes undone.
fn quoted(rest: &mut &str) -> Option<String> {
    let mut chars = rest.char_indices();
    let (_, quote) = chars.next()?;
    let mut text = String::new();
    while let Some((i, c)) = chars.next() {
        match c {
            c if c == quote => {
                *rest = &rest[i + c.len_utf8()..];
                return Some(text);
            }
            '\\' => text.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            }),
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<(String, Value)> {
        let annotation = (format!("{PREFIX}{name}"), text.to_owned());
        properties(std::iter::once((&annotation.0, &annotation.1))).map(|mut all| all.remove(0))
    }

    #[test]
    fn values() {
        let table = [
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::str("inactive-or-failed")),
            ("TimeoutStopUSec", "uint64 123456789", "TimeoutStopUSec", Value::U64(123_456_789)),
            ("TimeoutStopSec", "456", "TimeoutStopUSec", Value::U64(456_000_000)),
            ("TimeoutStopSec", "uint16 234", "TimeoutStopUSec", Value::U64(234_000_000)),
            ("TimeoutStopSec", "0.5", "TimeoutStopUSec", Value::U64(500_000)),
            ("ACSec", "true", "ACSec", Value::Bool(true)),
            ("TasksAccounting", "false", "TasksAccounting", Value::Bool(false)),
            ("Nice", "-5", "Nice", Value::I32(-5)),
            (
                "After",
                "['a.service', \"b\\\"\"]",
                "After",
                Value::Array("s".into(), vec![Value::str("a.service"), Value::str("b\"")]),
            ),
            ("After", "@as []", "After", Value::Array("s".into(), vec![])),
            ("Bytes", "[byte 0x1, 2]", "Bytes", Value::bytes(vec![1, 2])),
            ("Where", "objectpath '/a'", "Where", Value::Path("/a".into())),
        ];
        for (name, text, expected, value) in table {
            assert_eq!(one(name, text).unwrap(), (expected.to_owned(), value), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, text) in [
            ("Timeout-Stop", "1"),
            ("ab", "1"),
            ("TimeoutStopSec", "'soon'"),
            ("TimeoutStopSec", "-1"),
            ("CollectMode", "inactive"),
            ("CollectMode", "'open"),
            ("Nice", "5 6"),
            ("Nice", "uint16 70000"),
            ("After", "[]"),
            ("After", "['a' 'b']"),
            ("After", "['a', 5]"),
            ("After", "[['a']]"),
            ("After", ""),
            ("After", "<5>"),
        ] {
            let e = one(name, text).unwrap_err().to_string();
            assert!(e.starts_with("annotations[\"org.systemd.property."), "{name} {text}: {e}");
        }
    }

    #[test]
    fn other_annotations_are_none_of_ours() {
        let other = ("org.systemd.properties.X".to_owned(), "junk".to_owned());
        assert!(properties(std::iter::once((&other.0, &other.1))).unwrap().is_empty());
    }
}
