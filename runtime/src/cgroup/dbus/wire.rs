//! Values and messages as bytes (D-Bus specification, "Marshaling" and "Message Format"); little-endian only, which is what
//! we send and what every bus on such a machine answers in.

pub(super) const METHOD_CALL: u8 = 1;
pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// A value of a D-Bus type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the types'")]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(String),
    Path(String),
    Signature(String),
    /// Element type, elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(crate) fn str(text: impl Into<String>) -> Self {
        Value::Str(text.into())
    }

    pub(crate) fn variant(self) -> Self {
        Value::Variant(Box::new(self))
    }

    /// `ay`.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect())
    }

    /// Its type ("Signature strings").
    pub(crate) fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::I16(_) => "n".into(),
            Value::U16(_) => "q".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::F64(_) => "d".into(),
            Value::Str(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(fields) => format!("({})", fields.iter().map(Value::signature).collect::<String>()),
            Value::Variant(_) => "v".into(),
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) | Value::Path(s) => Some(s),
            Value::Variant(v) => v.as_str(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |f: &mut std::fmt::Formatter<'_>, open, items: &[Value], close| {
            f.write_str(open)?;
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
            }
            f.write_str(close)
        };
        match self {
            Value::Byte(v) => write!(f, "{v}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::I16(v) => write!(f, "{v}"),
            Value::U16(v) => write!(f, "{v}"),
            Value::I32(v) => write!(f, "{v}"),
            Value::U32(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::U64(u64::MAX) => f.write_str("infinity"),
            Value::U64(v) => write!(f, "{v}"),
            Value::F64(v) => write!(f, "{v}"),
            Value::Str(v) | Value::Path(v) | Value::Signature(v) => write!(f, "{v:?}"),
            Value::Array(_, items) => list(f, "[", items, "]"),
            Value::Struct(fields) => list(f, "(", fields, ")"),
            Value::Variant(v) => write!(f, "{v}"),
        }
    }
}

pub(super) fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// Alignment of a type, by the first letter of its signature.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(') => 8,
        _ => 4,
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    pad(out, 4);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

pub(super) fn marshal(value: &Value, out: &mut Vec<u8>) {
    pad(out, alignment(&value.signature()));
    match value {
        Value::Byte(v) => out.push(*v),
        Value::Bool(v) => out.extend(u32::from(*v).to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Str(v) | Value::Path(v) => string(out, v),
        Value::Signature(v) => {
            out.push(v.len() as u8);
            out.extend(v.as_bytes());
            out.push(0);
        }
        Value::Array(element, items) => {
            let at = out.len();
            out.extend([0; 4]);
            // The length does not count the padding before the first element, which is there even without elements.
            pad(out, alignment(element));
            let start = out.len();
            for item in items {
                marshal(item, out);
            }
            let len = (out.len() - start) as u32;
            out[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        Value::Struct(fields) => fields.iter().for_each(|f| marshal(f, out)),
        Value::Variant(inner) => {
            marshal(&Value::Signature(inner.signature()), out);
            marshal(inner, out);
        }
    }
}

/// Reads values off a message; None for anything that is not well-formed.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        self.align(8);
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u16(&mut self) -> Option<u16> {
        self.align(2);
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn text(&mut self, len: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(len)?).ok()?.to_owned();
        (self.take(1)? == [0]).then_some(text)
    }

    /// One value of the complete type at the start of `signature`, and the rest of the signature. `depth` bounds nesting.
    fn value<'s>(&mut self, signature: &'s str, depth: u8) -> Option<(Value, &'s str)> {
        if depth == 0 {
            return None;
        }
        let (kind, rest) = signature.split_at_checked(1)?;
        let value = match kind {
            "y" => Value::Byte(self.take(1)?[0]),
            "b" => Value::Bool(self.u32()? != 0),
            "n" => Value::I16(self.u16()? as i16),
            "q" => Value::U16(self.u16()?),
            "i" => Value::I32(self.u32()? as i32),
            "u" | "h" => Value::U32(self.u32()?),
            "x" => Value::I64(self.u64()? as i64),
            "t" => Value::U64(self.u64()?),
            "d" => Value::F64(f64::from_bits(self.u64()?)),
            "s" | "o" => {
                let len = self.u32()? as usize;
                let text = self.text(len)?;
                if kind == "s" { Value::Str(text) } else { Value::Path(text) }
            }
            "g" => {
                let len = self.take(1)?[0].into();
                Value::Signature(self.text(len)?)
            }
            "v" => {
                let len = self.take(1)?[0].into();
                let inner = self.text(len)?;
                let (value, rest) = self.value(&inner, depth - 1)?;
                if !rest.is_empty() {
                    return None;
                }
                value.variant()
            }
            "a" => {
                let len = self.u32()? as usize;
                self.align(alignment(rest));
                let end = self.at.checked_add(len).filter(|e| *e <= self.bytes.len())?;
                let element = &rest[..complete_type(rest)?];
                let mut items = Vec::new();
                while self.at < end {
                    let before = self.at;
                    items.push(self.value(element, depth - 1)?.0);
                    // An element without content ("()") would never get to the end.
                    if self.at == before {
                        return None;
                    }
                }
                return Some((Value::Array(element.to_owned(), items), &rest[element.len()..]));
            }
            // A dictionary entry is a struct of two.
            "(" | "{" => {
                self.align(8);
                let mut fields = Vec::new();
                let mut rest = rest;
                while !rest.starts_with([')', '}']) {
                    let (field, after) = self.value(rest, depth - 1)?;
                    fields.push(field);
                    rest = after;
                }
                return Some((Value::Struct(fields), &rest[1..]));
            }
            _ => return None,
        };
        Some((value, rest))
    }
}

/// Length of the first complete type of a signature.
fn complete_type(signature: &str) -> Option<usize> {
    let bytes = signature.as_bytes();
    let mut depth = 0;
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'a' => continue,
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

/// A message that came in.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(super) kind: u8,
    pub(super) reply_to: u32,
    /// Of a signal.
    pub(crate) member: String,
    pub(super) error: String,
    /// Arguments.
    pub(crate) body: Vec<Value>,
}

/// A whole message; the body starts at `start`.
pub(super) fn parse(bytes: &[u8], start: usize) -> Option<Message> {
    let mut m = Message { kind: bytes[1], ..Message::default() };
    let (fields, _) = Reader { bytes, at: 12 }.value("a(yv)", 8)?;
    let Value::Array(_, fields) = fields else { return None };
    let mut signature = String::new();
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = &pair[..] else { return None };
        match (code, &**value) {
            (3, Value::Str(member)) => m.member.clone_from(member),
            (4, Value::Str(error)) => m.error.clone_from(error),
            (5, Value::U32(serial)) => m.reply_to = *serial,
            (8, Value::Signature(s)) => signature.clone_from(s),
            _ => {}
        }
    }
    // Alignment counts from the start of the message, and the body starts at a multiple of 8.
    let mut reader = Reader { bytes: &bytes[start..], at: 0 };
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (value, after) = reader.value(rest, 32)?;
        m.body.push(value);
        rest = after;
    }
    Some(m)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) {
        // At every offset, as the alignment of what follows depends on it.
        for before in 0..8usize {
            let mut bytes = vec![0xff; before];
            marshal(value, &mut bytes);
            let mut reader = Reader { bytes: &bytes, at: before };
            let signature = value.signature();
            reader.align(alignment(&signature));
            let (read, rest) = reader.value(&signature, 32).unwrap();
            assert_eq!((&read, rest, reader.at), (value, "", bytes.len()), "{signature} at {before}");
        }
    }

    #[test]
    fn values_come_back() {
        let strings = Value::Array("s".into(), vec![Value::str("a"), Value::str(""), Value::str("äöü")]);
        let pairs = Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::str("/dev/null"), Value::str("rwm")])]);
        let property = Value::Struct(vec![Value::str("MemoryMax"), Value::U64(u64::MAX).variant()]);
        let all = [
            Value::Byte(7),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(65535),
            Value::I32(-1),
            Value::U32(1),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F64(0.5),
            Value::Path("/a/b".into()),
            Value::Signature("a(sv)".into()),
            strings.clone(),
            pairs.clone(),
            Value::Array("(ss)".into(), vec![]),
            Value::Array("(sv)".into(), vec![property.clone(), Value::Struct(vec![Value::str("x"), pairs.variant()])]),
            Value::Array("(sa(sv))".into(), vec![]),
            Value::bytes(vec![3, 0, 1]),
            strings.variant().variant(),
        ];
        for value in &all {
            round_trip(value);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut out = vec![];
        marshal(&Value::Struct(vec![Value::Byte(1), Value::U32(2).variant()]), &mut out);
        assert_eq!(out, [1, 1, b'u', 0, 2, 0, 0, 0]);
        let mut out = vec![];
        marshal(&Value::Array("t".into(), vec![Value::U64(5)]), &mut out);
        assert_eq!(out, [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let mut out = vec![];
        marshal(&Value::str("foo"), &mut out);
        assert_eq!(out, [3, 0, 0, 0, b'f', b'o', b'o', 0]);
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let read = |bytes: &[u8], signature: &str| Reader { bytes, at: 0 }.value(signature, 8).is_some();
        assert!(!read(&[255, 255, 255, 255, 0], "s"), "longer than the message");
        assert!(!read(&[1, 0, 0, 0, b'a', 1], "s"), "no NUL at the end");
        assert!(!read(&[1, 0, 0, 0, 0xff, 0], "s"), "not UTF-8");
        assert!(!read(&[0; 64], "((((((((((y))))))))))"), "nested too deeply");
        assert!(!read(&[200, 0, 0, 0, 1], "ay"), "an array longer than the message");
        assert!(!read(&[0; 8], "(yy"), "an open struct");
        assert!(!read(&[8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], "a()"), "elements of nothing");
        assert!(!read(&[1, b'?', 0, 0], "v") && !read(&[], "y") && !read(&[0; 4], "a"));
        // Every cut of a good message, and every byte of it changed, is an error or another message, not a panic.
        let mut good = vec![b'l', SIGNAL, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0];
        let fields = vec![Value::Struct(vec![Value::Byte(8), Value::Signature("s".into()).variant()])];
        marshal(&Value::Array("(yv)".into(), fields), &mut good);
        pad(&mut good, 8);
        let start = good.len();
        marshal(&Value::str("unit"), &mut good);
        assert_eq!(parse(&good, start).unwrap().body, [Value::str("unit")]);
        for cut in start..good.len() {
            assert!(parse(&good[..cut], start).is_none(), "{cut}");
        }
        for at in 0..good.len() {
            for byte in [0, 1, 7, 8, b'a', b'(', 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = parse(&bad, start);
            }
        }
    }
}
