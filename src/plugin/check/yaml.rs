//! YAML as kubectl reads it, with the place of every value.
//!
//! kubectl reads YAML 1.1 (sigs.k8s.io/yaml over yaml.v2): `yes` and `on` are booleans, `010` is eight, `5_000` is five
//! thousand, an unquoted date is text, and a decimal without a fraction reaches the API server as an integer.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use jiff::civil::Date;
use serde_json::Value;

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A value and where it begins.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub data: Data,
    /// What an unquoted value looks like in the file.
    pub typed: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Data {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

/// A document, and the keys that it has twice: kubectl takes the last and says nothing.
#[derive(Debug)]
pub struct Document {
    pub root: Node,
    pub duplicates: Vec<(Place, String)>,
}

/// Why a document cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub place: Place,
    pub message: String,
}

/// What aliases may repeat before a document counts as an attack.
const MOST_NODES: usize = 1_000_000;
/// JSON has no limit for what stands before a colon, and neither has libyaml in braces.
const LONGEST_KEY: usize = 1 << 20;

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value at a path of keys; indices stand in brackets: `a.b[0].c`.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split(['.', '[']).filter(|step| !step.is_empty()).try_fold(self, |node, step| {
            match step.strip_suffix(']') {
                Some(index) => node.items().get(index.parse::<usize>().ok()?),
                None => node.get(step),
            }
        })
    }

    /// The dates in it that are not in quotes, in order: text for kubectl, points in time for other readers of YAML.
    pub fn unquoted_dates(&self) -> Vec<Place> {
        match &self.data {
            Data::Map(entries) => entries.iter().flat_map(|entry| entry.value.unquoted_dates()).collect(),
            Data::List(items) => items.iter().flat_map(Node::unquoted_dates).collect(),
            Data::Text(text) if self.typed.is_some() && text.parse::<Date>().is_ok() => vec![self.place],
            _ => Vec::new(),
        }
    }

    /// What kubectl would send.
    pub fn json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(bool) => (*bool).into(),
            Data::Integer(integer) => (*integer).into(),
            Data::Float(float) => (*float).into(),
            Data::Text(text) => text.as_str().into(),
            Data::List(items) => items.iter().map(Node::json).collect(),
            Data::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect())
            }
        }
    }

    /// As a message names it.
    pub fn shown(&self) -> String {
        const LONGEST: usize = 40;
        match (&self.data, &self.typed) {
            (Data::List(_), _) => "a list".to_owned(),
            (Data::Map(_), _) => "a mapping".to_owned(),
            (Data::Null, _) => "nothing".to_owned(),
            (Data::Text(text), _) if text.chars().count() > LONGEST => {
                format!("{:?}...", text.chars().take(LONGEST).collect::<String>())
            }
            (Data::Text(text), _) => format!("{text:?}"),
            (_, Some(typed)) => typed.clone(),
            (Data::Bool(bool), None) => bool.to_string(),
            (Data::Integer(integer), None) => integer.to_string(),
            (Data::Float(float), None) => float.to_string(),
        }
    }
}

/// Reads one document that so many lines precede. None where it holds nothing but comments.
pub fn read(text: &str, lines_before: usize) -> Result<Option<Document>, Unreadable> {
    let mut options = granit_parser::Options::default();
    options.simple_key_max_lookahead = LONGEST_KEY;
    options.set_emit_comments(false);
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        duplicates: Vec::new(),
        lines_before,
        nodes: 0,
    };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                let node = reader.node(event, span)?;
                // yaml.v2 reads the first document of a text and no more.
                root = root.or(Some(node));
            }
            _ => {}
        }
    }
    let is_empty = |node: &Node| matches!(node.data, Data::Null);
    let duplicates = reader.duplicates;
    Ok(root.filter(|root| !is_empty(root)).map(|root| Document { root, duplicates }))
}

struct Reader<'text> {
    parser: Parser<'text, granit_parser::StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    duplicates: Vec<(Place, String)>,
    lines_before: usize,
    nodes: usize,
}

impl<'text> Reader<'text> {
    fn next(&mut self) -> Result<(Event<'text>, Span), Unreadable> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let place = self.place(error.marker());
                Err(Unreadable { place, message: error.info() })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'text>, span: Span) -> Result<Node, Unreadable> {
        let place = self.place(&span.start);
        self.count(1, place)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (data, is_plain) =
                    scalar(&text, style, tag.as_deref()).map_err(|message| Unreadable { place, message })?;
                (Node { place, data, typed: is_plain.then(|| text.into_owned()) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (Node { place, data: Data::List(items), typed: None }, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                (Node { place, data: Data::Map(self.entries()?), typed: None }, anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let message = || "an alias within what it stands for".to_owned();
                let node = node.ok_or_else(|| Unreadable { place, message: message() })?;
                self.count(size(&node), place)?;
                (Node { place, ..node }, 0)
            }
            _ => (Node { place, data: Data::Null, typed: None }, 0),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn place(&self, marker: &Marker) -> Place {
        Place { line: self.lines_before + marker.line().max(1), column: marker.col() + 1 }
    }

    fn count(&mut self, more: usize, place: Place) -> Result<(), Unreadable> {
        self.nodes += more;
        let message = || "too many values, or aliases that repeat too much".to_owned();
        if self.nodes > MOST_NODES { Err(Unreadable { place, message: message() }) } else { Ok(()) }
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Unreadable> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key_node = self.node(event, span)?;
            let place = key_node.place;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if key_node.typed.as_deref() == Some("<<") {
                let sources = if let Data::List(items) = value.data { items } else { vec![value] };
                for source in sources {
                    if let Data::Map(more) = source.data {
                        merged.extend(more);
                    }
                }
                continue;
            }
            let key = key_text(&key_node).map_err(|message| Unreadable { place, message })?;
            let entry = Entry { key: key.clone(), place, value };
            match index.get(&key).and_then(|&at| entries.get_mut(at)) {
                Some(earlier) => {
                    *earlier = entry;
                    self.duplicates.push((place, key));
                }
                None => {
                    index.insert(key, entries.len());
                    entries.push(entry);
                }
            }
        }
        for entry in merged {
            if !index.contains_key(&entry.key) {
                index.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

fn size(node: &Node) -> usize {
    let children = node.items().iter().chain(node.entries().iter().map(|entry| &entry.value));
    1 + children.map(size).sum::<usize>()
}

/// JSON's keys are text.
fn key_text(node: &Node) -> Result<String, String> {
    match &node.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Bool(bool) => Ok(bool.to_string()),
        Data::Integer(integer) => Ok(integer.to_string()),
        Data::Float(float) => Ok(float.to_string()),
        Data::Null => Err("a key is missing before the colon".to_owned()),
        Data::List(_) | Data::Map(_) => {
            Err("a key must be text: quote it, and put a template's braces into quotes".to_owned())
        }
    }
}

/// The value of a scalar, and whether it stands there without quotes.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<(Data, bool), String> {
    let is_plain = style == ScalarStyle::Plain;
    let data = match tag.and_then(Tag::core_suffix) {
        Some("str") => Data::Text(text.to_owned()),
        Some(kind @ ("int" | "float" | "bool" | "null")) => {
            let data = resolve(text);
            let fits = matches!(
                (kind, &data),
                ("int", Data::Integer(_))
                    | ("float", Data::Integer(_) | Data::Float(_))
                    | ("bool", Data::Bool(_))
                    | ("null", Data::Null)
            );
            if !fits {
                return Err(format!("{text:?} is not of the kind that !!{kind} says"));
            }
            data
        }
        _ if is_plain => resolve(text),
        _ => Data::Text(text.to_owned()),
    };
    if matches!(data, Data::Float(float) if !float.is_finite()) {
        return Err(format!("{text} is no number that JSON knows"));
    }
    Ok((data, is_plain))
}

/// As yaml.v2's resolve.go.
fn resolve(text: &str) -> Data {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Data::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Data::Bool(false);
        }
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Data::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Data::Text(text.to_owned());
    }
    let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(integer) = integer(&plain) {
        return i64::try_from(integer).map_or(Data::Float(integer as f64), Data::Integer);
    }
    match is_float(&plain).then(|| plain.parse::<f64>()) {
        // Go's ParseFloat calls a number beyond the largest an error, which leaves text.
        Some(Ok(float)) if float.is_finite() => from_float(float),
        _ => Data::Text(text.to_owned()),
    }
}

/// The API server reads what Go wrote: without a fraction, and below 2^63, it is an integer again.
fn from_float(float: f64) -> Data {
    let is_integer = float.fract() == 0.0 && float.abs() < 9.2e18;
    if is_integer { Data::Integer(float as i64) } else { Data::Float(float) }
}

/// Go's ParseInt with base 0, and ParseUint above it.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("-", rest)) => (-1, rest),
        Some(("+", rest)) => (1, rest),
        _ => (1, text),
    };
    let based = |prefixes: [&str; 2]| prefixes.into_iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, base) = if let Some(digits) = based(["0x", "0X"]) {
        (digits, 16)
    } else if let Some(digits) = based(["0b", "0B"]) {
        (digits, 2)
    } else if let Some(digits) = based(["0o", "0O"]) {
        (digits, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    };
    if !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let value = sign * i128::from_str_radix(digits, base).ok()?;
    let unsigned = !text.starts_with(['-', '+']);
    let fits = i64::try_from(value).is_ok() || (unsigned && u64::try_from(value).is_ok());
    fits.then_some(value)
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let some_digits = |text: &str| !text.is_empty() && digits(text);
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => some_digits(fraction),
        Some((whole, fraction)) => some_digits(whole) && digits(fraction),
        None => some_digits(mantissa),
    };
    mantissa && exponent.is_none_or(some_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, Value)]) {
        for (text, want) in cases {
            let document = read(&format!("a: {text}"), 0).unwrap().unwrap();
            assert_eq!(&document.root.json()["a"], want, "{text}");
        }
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        check(&[
            ("yes", true.into()),
            ("Off", false.into()),
            ("n", false.into()),
            ("\"no\"", "no".into()),
            ("010", 8.into()),
            ("08", 8.into()),
            ("0o17", 15.into()),
            ("0x1F", 31.into()),
            ("5_000", 5000.into()),
            ("5,000", "5,000".into()),
            ("5000.0", 5000.into()),
            ("1e3", 1000.into()),
            ("99.95", 99.95.into()),
            (".5", 0.5.into()),
            ("2026-01-01", "2026-01-01".into()),
            ("12:30:45", "12:30:45".into()),
            ("~", Value::Null),
            ("!!str 5", "5".into()),
            ("'99.95'", "99.95".into()),
        ]);
    }

    #[test]
    fn every_value_has_a_place() {
        let document = read("a:\n  b: [1, x]\n  a-b: é\n", 0).unwrap().unwrap();
        let place = |path: &str| document.root.at(path).map(|node| (node.place.line, node.place.column));
        assert_eq!(place("a.b[1]"), Some((2, 10)));
        assert_eq!(place("a.a-b"), Some((3, 8)));
        assert_eq!(place("a.c"), None);
    }

    #[test]
    fn a_key_given_twice_is_told_of() {
        let document = read("a: 1\nb: {c: 1, c: 2}\na: 2\n", 0).unwrap().unwrap();
        assert_eq!(document.root.json(), serde_json::json!({"a": 2, "b": {"c": 2}}));
        let places: Vec<_> = document.duplicates.iter().map(|(place, key)| (place.line, key.as_str())).collect();
        assert_eq!(places, [(2, "c"), (3, "a")]);
    }

    #[test]
    fn aliases_and_merges_stand_for_what_they_name() {
        let document = read("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\n", 0).unwrap().unwrap();
        assert_eq!(document.root.json()["b"], serde_json::json!({"x": 1, "true": 2}));
        assert_eq!(document.root.json()["c"], serde_json::json!({"x": 1, "true": 3}));
    }
}
