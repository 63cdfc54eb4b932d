//! All refusals of a config.json, not only the first: the code that `run` asks is asked again with each refused part taken out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Finding, Verdict};
use crate::container::{Prepared, Wishes, prepare};
use crate::error::{Error, Kind};
use crate::spec::{self, Config};

/// Rounds; each takes something out.
const MOST: usize = 200;

/// A config.json that gets smaller.
pub struct Peeler {
    text: Vec<u8>,
    value: Value,
    /// By array, in the coordinates of the file: which of its elements are left.
    left: BTreeMap<String, Vec<usize>>,
    /// What was taken out, in the coordinates of the file, and how often.
    taken: BTreeMap<String, usize>,
    findings: Vec<Finding>,
}

/// A step from a JSON value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Key(String),
    Index(usize),
}

/// Where a field is now.
struct Place {
    tokens: Vec<Token>,
    /// In the coordinates of the file.
    original: String,
    /// The same, with the words for people.
    shown: String,
    /// The whole field was found, not only its beginning.
    whole: bool,
}

impl Peeler {
    /// Reads the file.
    pub fn new(text: &[u8]) -> Result<Peeler, Finding> {
        let wrong = |text: String| Finding { field: "config.json".into(), verdict: Verdict::Wrong, text };
        let value: Value = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
        if !value.is_object() {
            return Err(wrong("is not a JSON object".into()));
        }
        Ok(Peeler { text: text.to_vec(), value, left: BTreeMap::new(), taken: BTreeMap::new(), findings: Vec::new() })
    }

    /// Until the rest can be prepared; None if there is no such rest.
    pub fn run(&mut self, bundle: &Path, id: &str, wishes: &Wishes) -> Option<Prepared> {
        for _ in 0..MOST {
            let (field, finding) = match self.parse() {
                Err(refusal) => refusal,
                Ok(config) => match prepare(config, bundle, id, wishes) {
                    Ok(prepared) => return Some(prepared),
                    Err(error) => {
                        let finding = Finding::of(&error);
                        // A cgroup controller that is not there concerns the one limit that wants it.
                        if error.kind() == Kind::System {
                            self.report(&finding.field.clone(), finding);
                            return None;
                        }
                        (finding.field.clone(), finding)
                    }
                },
            };
            if !self.refuse(&field, finding) {
                return None;
            }
        }
        None
    }

    /// The findings so far.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// A field as it is called in the file.
    pub fn original(&self, field: &str) -> String {
        self.place(field).shown
    }

    fn parse(&self) -> Result<Config, (String, Finding)> {
        if self.taken.is_empty() {
            // From the text itself, for line and column.
            return spec::parse::<Config>(&self.text, "config.json").map_err(|error| {
                let Error::Config { field, problem } = error else { return (String::new(), Finding::of(&error)) };
                let field = field.strip_prefix("config.json: ").unwrap_or("").to_owned();
                (field.clone(), Finding { field, verdict: Verdict::Wrong, text: problem })
            });
        }
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let field = error.path().to_string();
            let field = if field == "." { String::new() } else { field };
            (field.clone(), Finding { field, verdict: Verdict::Wrong, text: error.inner().to_string() })
        })
    }

    fn report(&mut self, field: &str, mut finding: Finding) {
        finding.field = match self.original(field) {
            field if field.is_empty() => "config.json".into(),
            field => field,
        };
        self.findings.push(finding);
    }

    /// Notes a refusal and takes out what was refused. False if that is not possible.
    fn refuse(&mut self, field: &str, finding: Finding) -> bool {
        // serde names the struct that lacks a field: what is missing is below it.
        let missing = finding.text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
        let place = self.place(field);
        // A refusal of what surrounds something that is already out is our doing, not the file's.
        let name = if place.whole { &place.original } else { field };
        let consequence = !name.is_empty() && self.taken.keys().any(|t| t == name || surrounds(name, t));
        if !consequence {
            self.report(field, finding);
        }
        match missing {
            Some(name) if place.tokens.is_empty() => {
                let fill = substitute(&name);
                let known = fill.is_some();
                self.put(&[Token::Key(name.clone())], fill.unwrap_or(Value::Null));
                *self.taken.entry(name).or_default() += 1;
                known
            }
            _ => self.take_out(field, place),
        }
    }

    fn take_out(&mut self, field: &str, place: Place) -> bool {
        if field == "linux.namespaces" && !self.taken.contains_key(field) {
            // A namespace that has to be there: it is put there.
            *self.taken.entry(field.to_owned()).or_default() += 1;
            let mut list = self.value.pointer("/linux/namespaces").and_then(Value::as_array).cloned().unwrap_or_default();
            list.push(json!({"type": "mount"}));
            self.put(&[Token::Key("linux".into()), Token::Key("namespaces".into())], list.into());
            return true;
        }
        let name = if place.whole { place.original.clone() } else { field.to_owned() };
        let times = self.taken.entry(name.clone()).or_default();
        *times += 1;
        let times = *times;
        if let Some(value) = substitute(&name).filter(|_| times == 1) {
            let tokens: Vec<Token> = name.split('.').map(|key| Token::Key(key.to_owned())).collect();
            self.put(&tokens, value);
            return true;
        }
        if !place.whole || place.tokens.is_empty() {
            return false;
        }
        if times > 2 || !self.remove(&place.tokens) {
            // It is not there, and still it is refused: what is around it goes.
            return place.tokens.len() > 1 && self.remove(&place.tokens[..place.tokens.len() - 1]);
        }
        true
    }

    fn put(&mut self, tokens: &[Token], value: Value) {
        let mut at = &mut self.value;
        for token in tokens {
            let Token::Key(key) = token else { return };
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[key.as_str()];
        }
        *at = value;
    }

    fn remove(&mut self, tokens: &[Token]) -> bool {
        let Some((last, parents)) = tokens.split_last() else { return false };
        let mut at = &mut self.value;
        let mut original = String::new();
        for token in parents {
            match token {
                Token::Key(key) => {
                    at = &mut at[key.as_str()];
                    push_key(&mut original, key);
                }
                Token::Index(i) => {
                    let shown = self.left.get(&original).and_then(|left| left.get(*i)).copied().unwrap_or(*i);
                    at = &mut at[*i];
                    original.push_str(&format!("[{shown}]"));
                }
            }
        }
        match (last, at) {
            (Token::Key(key), Value::Object(object)) => object.remove(key).is_some(),
            (Token::Index(i), Value::Array(list)) if *i < list.len() => {
                let left = self.left.entry(original).or_insert_with(|| (0..list.len()).collect());
                left.remove(*i);
                list.remove(*i);
                true
            }
            _ => false,
        }
    }

    /// Finds a field: `mounts[3] (/data)`, `linux.sysctl.net.ipv4.ip_forward`, `hooks.prestart[0].path`. What stands in brackets after
    /// a space, and anything after a colon, is for people.
    fn place(&self, field: &str) -> Place {
        let mut place = Place { tokens: Vec::new(), original: String::new(), shown: String::new(), whole: false };
        let mut at = &self.value;
        let mut rest = field;
        loop {
            if rest.starts_with(" (") {
                let words = rest.find(')').map_or(rest.len(), |end| end + 1);
                place.shown.push_str(&rest[..words]);
                rest = &rest[words..];
            }
            if rest.is_empty() || rest.starts_with(": ") {
                place.whole = !place.tokens.is_empty();
                break;
            }
            if let Some((index, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                if let Some((key, inner)) = at.as_object().and_then(|o| o.get_key_value(index.trim_matches('"'))) {
                    push_key(&mut place.original, key);
                    place.shown.push_str(&rest[..index.len() + 2]);
                    place.tokens.push(Token::Key(key.clone()));
                    (at, rest) = (inner, after);
                    continue;
                }
                let Some((i, inner)) = index.parse::<usize>().ok().and_then(|i| Some((i, at.get(i)?))) else { break };
                let number = self.left.get(&place.original).and_then(|left| left.get(i)).copied().unwrap_or(i);
                place.original.push_str(&format!("[{number}]"));
                place.shown.push_str(&format!("[{number}]"));
                place.tokens.push(Token::Index(i));
                (at, rest) = (inner, after);
                continue;
            }
            // Keys may hold dots: the longest that fits.
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let fits = |key: &str| {
                name.strip_prefix(key).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[', ':']) || r.starts_with(" ("))
            };
            let object = at.as_object().into_iter().flatten();
            let Some((key, inner)) = object.filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.len()) else { break };
            push_key(&mut place.original, key);
            let used = rest.len() - name.len() + key.len();
            place.shown.push_str(&rest[..used]);
            place.tokens.push(Token::Key(key.clone()));
            (at, rest) = (inner, &rest[used..]);
        }
        place.shown.push_str(rest);
        place
    }
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Is `inner` a part of `outer`?
fn surrounds(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// What takes the place of a field that has to be there.
fn substitute(field: &str) -> Option<Value> {
    Some(match field {
        "ociVersion" => json!("1.3.0"),
        "process" => json!({"args": ["true"], "cwd": "/"}),
        "process.args" => json!(["true"]),
        "process.cwd" => json!("/"),
        "root" => json!({"path": "rootfs"}),
        "linux.uidMappings" | "linux.gidMappings" => json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(config: Value) -> (Vec<(String, String)>, bool) {
        let mut peeler = Peeler::new(config.to_string().as_bytes()).unwrap();
        let prepared = peeler.run(Path::new("/nowhere"), "id", &Wishes::default());
        let findings = peeler.take_findings().into_iter().map(|f| (f.field, f.text)).collect();
        (findings, prepared.is_some())
    }

    fn fields(config: Value) -> Vec<String> {
        let (findings, whole) = refusals(config);
        assert!(whole, "{findings:?}");
        findings.into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn an_empty_object_lacks_what_every_bundle_has() {
        assert_eq!(fields(json!({})), ["config.json", "process", "root", "linux.namespaces"]);
        let linux = json!({"namespaces": [{"type": "mount"}]});
        let empty = json!({"ociVersion": "1.0.2", "process": {}, "root": {"path": "x"}, "linux": linux});
        assert_eq!(fields(empty), ["process.args", "process.cwd"]);
    }

    #[test]
    fn every_refusal_is_found_under_its_own_name() {
        let config = json!({
            "ociVersion": "7", "root": {"path": "rootfs"}, "hostname": "h",
            "process": {"args": [], "cwd": "x", "rlimits": [
                {"type": "RLIMIT_NO", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
            "mounts": [{"destination": ""}, {"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "bind"}],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}], "sysctl": {"kernel.panic": "1", "vm.x": "2"},
                "resources": {"cpu": {"idle": 7}, "pids": {"limit": 5}}}
        });
        let mut found = fields(config);
        found.sort();
        let mut wanted = vec![
            "hostname",
            "linux.namespaces[1] (mount)",
            "linux.resources.cpu.idle",
            "linux.sysctl.kernel.panic",
            "linux.sysctl.vm.x",
            "mounts[0] ()",
            "mounts[2] (/b)",
            "ociVersion",
            "process.args",
            "process.cwd",
            "process.rlimits[0] (RLIMIT_NO)",
            "process.rlimits[2] (RLIMIT_CPU)",
        ];
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn types_that_do_not_fit_are_all_found_once() {
        let config = json!({
            "ociVersion": "1.0.2", "root": {"path": 5}, "process": {"args": ["a", 7], "cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": "x", "hard": 1}]},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "what"}]}
        });
        let mut found = fields(config);
        found.sort();
        assert_eq!(found, ["linux.namespaces[1].type", "process.args[1]", "process.rlimits[0].soft", "root.path"]);
    }

    #[test]
    fn what_is_no_object_is_one_finding() {
        assert_eq!(Peeler::new(b"[]").err().map(|f| f.field).as_deref(), Some("config.json"));
        let broken = Peeler::new(b"{\n \"a\": }").err();
        assert!(broken.is_some_and(|f| f.text.contains("line 2")));
    }
}
