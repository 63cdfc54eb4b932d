//! A tree of names and values, printed as a table for people or as JSON.

use std::fmt::Write as _;

/// One value of the report.
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(u64),
    /// Several values of one kind.
    List(Vec<Value>),
    /// Named values, in the order in which they are shown.
    Group(Vec<(&'static str, Value)>),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

impl Value {
    /// The tree as one line of JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.json(&mut out);
        out.push('\n');
        out
    }

    fn json(&self, out: &mut String) {
        match self {
            Value::Text(text) => quote(text, out),
            Value::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Value::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.json(out);
                }
                out.push(']');
            }
            Value::Group(members) => {
                out.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    value.json(out);
                }
                out.push('}');
            }
        }
    }

    /// The tree as a table: a heading for each group, a line for each value, a list below its name when it has long entries.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        if let Value::Group(sections) = self {
            for (name, section) in sections {
                let _ = writeln!(out, "{name}");
                section.rows(&mut out);
            }
        }
        out
    }

    fn rows(&self, out: &mut String) {
        match self {
            Value::Group(members) => {
                for (name, value) in members {
                    let _ = writeln!(out, "  {name:<16} {}", value.on_one_line());
                }
            }
            Value::List(items) if !items.is_empty() => {
                for item in items {
                    let _ = writeln!(out, "  {}", item.on_one_line());
                }
            }
            other => {
                let _ = writeln!(out, "  {}", other.on_one_line());
            }
        }
    }

    fn on_one_line(&self) -> String {
        match self {
            Value::Text(text) if text.is_empty() => "-".to_owned(),
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::List(items) if items.is_empty() => "none".to_owned(),
            Value::List(items) => items.iter().map(Value::on_one_line).collect::<Vec<_>>().join(" "),
            // The first member is the name of the thing: it needs no label.
            Value::Group(members) => {
                let words = members.iter().enumerate().map(|(n, (name, value))| match n {
                    0 => format!("{:<16}", value.on_one_line()),
                    _ => format!("{name} {}", value.on_one_line()),
                });
                words.collect::<Vec<_>>().join("  ")
            }
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let mounts = vec![Value::Group(vec![("point", "/a \"b\"\n".into()), ("kind", "tmpfs".into())])];
        Value::Group(vec![
            ("process", Value::Group(vec![("pid", 1.into()), ("groups", Vec::<String>::new().into())])),
            ("mounts", mounts.into()),
        ])
    }

    #[test]
    fn json_escapes_and_keeps_the_order() {
        assert_eq!(
            sample().to_json(),
            "{\"process\":{\"pid\":1,\"groups\":[]},\"mounts\":[{\"point\":\"/a \\\"b\\\"\\u000a\",\"kind\":\"tmpfs\"}]}\n"
        );
    }

    #[test]
    fn the_table_has_a_heading_for_each_group() {
        let table = sample().to_table();
        assert!(table.starts_with("process\n  pid              1\n  groups           none\nmounts\n"), "{table}");
    }
}
