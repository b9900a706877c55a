//! The rules of the CRDs: what the API server refuses of a spec, said so that it helps.
//!
//! The one source is [`crd::all`], as for the API server. Types, lengths, ranges, formats, lists and unknown fields are
//! looked at here, in the way of apiextensions-apiserver; the rules in CEL are kube-cel's.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use regex::Regex;
use serde_json::{Map, Value};

use crate::api::crd;

use super::{
    words,
    yaml::{Data, Entry, Node, Place},
};

/// One thing that the API server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub place: Place,
    pub message: String,
    /// A rule in CEL says the same of this field in better words.
    soft: bool,
    /// The field that was meant, where another name was written.
    meant: Option<String>,
}

impl Problem {
    pub fn new(field: &str, place: Place, message: String) -> Self {
        Self { field: field.to_owned(), place, message, soft: false, meant: None }
    }
}

/// The rules of one kind.
pub struct Kind {
    pub crd: CustomResourceDefinition,
    schema: JSONSchemaProps,
    rules: CompiledSchema,
}

/// The rules of all kinds, compiled once.
pub struct Kinds {
    pub all: Vec<Kind>,
    validator: Validator,
    forms: Forms,
}

/// The forms of text by their patterns: each with the words of its rule.
type Forms = HashMap<String, (Regex, String)>;

impl Kinds {
    pub fn compiled() -> &'static Self {
        static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::compile);
        &KINDS
    }

    fn compile() -> Self {
        let mut forms = Forms::new();
        let all = crd::all().into_iter().filter_map(|crd| {
            let version = crd.spec.versions.first()?;
            let schema = version.schema.as_ref()?.open_api_v3_schema.clone()?;
            let mut evaluated = schema.clone();
            take_forms(&mut evaluated, &mut forms);
            let rules = compile_schema(&serde_json::to_value(&evaluated).ok()?);
            Some(Kind { crd, schema, rules })
        });
        Self { all: all.collect(), validator: Validator::new(), forms }
    }

    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.all.iter().find(|kind| kind.name() == name)
    }

    /// What the API server refuses of the object beside its metadata.
    pub fn check(&self, kind: &Kind, root: &Node, name_place: Place) -> Vec<Problem> {
        let mut walk = Walk { problems: Vec::new(), schema: &kind.schema, forms: &self.forms };
        let object = walk.object(root, name_place, &kind.schema, "", false);
        let mut problems = walk.problems;
        let refused = match self.validator.validate_compiled(&kind.rules, &object, None) {
            Ok(()) => Vec::new(),
            Err(refused) => refused.into_vec(),
        };
        let failed: Vec<Problem> =
            refused.iter().filter(|error| !follows(error, &problems)).map(|error| of_rule(error, root)).collect();
        problems.retain(|problem| !(problem.soft && refused.iter().any(|error| error.field_path == problem.field)));
        problems.extend(failed);
        problems
    }
}

impl Kind {
    pub fn name(&self) -> &str {
        &self.crd.spec.names.kind
    }

    pub fn api_version(&self) -> String {
        let version = self.crd.spec.versions.first().map(|version| version.name.as_str()).unwrap_or_default();
        format!("{}/{version}", self.crd.spec.group)
    }
}

/// Whether a rule fails only because of what is said already: it cannot be evaluated with a value of another type, or it
/// looks at a field that is wrong or misspelt.
fn follows(error: &ValidationError, problems: &[Problem]) -> bool {
    let evaluated = matches!(error.kind, ErrorKind::ValidationFailure);
    problems.iter().any(|problem| {
        let Some(below) = problem.field.strip_prefix(error.field_path.as_str()) else { return false };
        if below.is_empty() {
            return !problem.soft;
        }
        if !below.starts_with(['.', '[']) && !error.field_path.is_empty() {
            return false;
        }
        // Of a list: an item that is there twice.
        if below.starts_with('[') && below.ends_with(']') {
            return true;
        }
        let mut steps = below.split(['.', '[', ']']).filter(|step| !step.is_empty());
        let is_mentioned = |name: &str| error.rule.contains(&format!(".{name}"));
        let is_direct = below.matches(['.', '[']).count() <= 1;
        !evaluated
            || steps.any(|step| step.parse::<usize>().is_err() && is_mentioned(step))
            || (is_direct && problem.meant.as_deref().is_some_and(is_mentioned))
    })
}

fn of_rule(error: &ValidationError, root: &Node) -> Problem {
    let mut field = error.field_path.clone();
    let (_, mut place) = locate(root, &field);
    let node = root.at(&field);
    let mut message = match error.kind {
        ErrorKind::ValidationFailure => error.message.clone(),
        _ => format!("the rule {} cannot be applied: {}", error.rule, error.message),
    };
    // The field that the sentence begins with is the one to change.
    let choice = message.starts_with("set exactly one of");
    let words = message.split(|c: char| !c.is_alphanumeric()).find_map(|word| node?.entry(word)).filter(|_| !choice);
    if let Some(entry) = words {
        place = value_place(entry);
        field = if field.is_empty() { entry.key.clone() } else { format!("{field}.{}", entry.key) };
    }
    let is_value = |node: &&Node| !matches!(node.data, Data::Map(_) | Data::List(_));
    if let Some(node) = node.filter(is_value).filter(|node| node.text().is_none_or(|text| !text.trim().is_empty())) {
        message = format!("{} {}", node.shown(), verb(&message));
    }
    Problem::new(&field, place, message)
}

/// "must be ..." goes after the value; another sentence stands by itself.
fn verb(message: &str) -> String {
    if message.starts_with("must") { message.to_owned() } else { format!("cannot be: {message}") }
}

/// What to write in place of text that has not the form of its pattern.
fn advice(pattern: &str, node: &Node) -> Option<String> {
    if is_decimal(pattern) {
        words::decimal(node)
    } else if is_duration(pattern) {
        words::duration(node)
    } else {
        None
    }
}

/// The two forms are told by what they alone have.
fn is_decimal(pattern: &str) -> bool {
    pattern.starts_with("^-?[0-9]")
}

fn is_duration(pattern: &str) -> bool {
    pattern.ends_with("s)?$")
}

/// Takes the rules for the forms of text out of the schema, and what other rules say first for text of another form: each
/// of them makes CEL compile a regular expression anew, which would take most of the time. [`Walk`] looks at the forms
/// itself, and [`follows`] drops what fails because of them.
fn take_forms(schema: &mut JSONSchemaProps, forms: &mut Forms) {
    let own = schema.pattern.as_deref().map(|pattern| format!("matches(r'{pattern}')"));
    if let Some(rules) = &mut schema.x_kubernetes_validations {
        for rule in rules.iter_mut() {
            // `!FORM || !FORM || (RULE)`
            if let Some((_, guarded)) = rule.rule.rsplit_once("$') || (").filter(|_| rule.rule.ends_with(')')) {
                rule.rule = guarded[..guarded.len() - 1].to_owned();
            }
        }
        rules.retain(|rule| {
            let is_form = own.as_deref().is_some_and(|own| rule.rule.ends_with(own) && !rule.rule.starts_with('!'));
            if let (true, Some(pattern)) = (is_form, &schema.pattern) {
                // Go's \s is ASCII.
                let regex = Regex::new(&pattern.split(r"[^\s]").collect::<Vec<_>>().join(r"[^\t\n\x0C\r ]"));
                let words = rule.message.clone().unwrap_or_default();
                let regex = regex.expect("a pattern that the API server takes is one here");
                forms.insert(pattern.clone(), (regex, words));
            }
            !is_form
        });
    }
    schema.properties.iter_mut().flatten().for_each(|(_, field)| take_forms(field, forms));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        take_forms(items, forms);
    }
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// The value at a path, and where to look for it: a mapping by its key, and what is not there by what it would be in.
pub fn locate<'a>(root: &'a Node, path: &str) -> (&'a Node, Place) {
    let (mut node, mut place) = (root, root.place);
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match step.strip_suffix(']') {
            Some(index) => {
                index.parse::<usize>().ok().and_then(|index| node.items().get(index)).map(|item| (item, item.place))
            }
            None => node.entry(step).map(|entry| (&entry.value, value_place(entry))),
        };
        let Some(next) = next else { break };
        (node, place) = next;
    }
    (node, place)
}

/// What a value is found by: itself, or the key of a list or mapping.
pub fn value_place(entry: &Entry) -> Place {
    match entry.value.data {
        Data::List(_) | Data::Map(_) | Data::Null => entry.place,
        Data::Bool(_) | Data::Integer(_) | Data::Float(_) | Data::Text(_) => entry.value.place,
    }
}

struct Walk<'a> {
    problems: Vec<Problem>,
    /// Of the whole object, to find where a misplaced field belongs.
    schema: &'a JSONSchemaProps,
    forms: &'a Forms,
}

impl Walk<'_> {
    fn say(&mut self, field: &str, place: Place, message: String) {
        self.problems.push(Problem::new(field, place, message));
    }

    fn say_softly(&mut self, field: &str, place: Place, message: String) {
        self.problems.push(Problem { soft: true, ..Problem::new(field, place, message) });
    }

    /// The value as the API server would go on with it: without unknown fields and nulls. Of a status only the names of
    /// its fields count, as the rest is dropped.
    fn value(&mut self, node: &Node, place: Place, schema: &JSONSchemaProps, path: &str, is_status: bool) -> Value {
        if !is_status && !self.has_type(node, place, schema, path) {
            return node.json();
        }
        match &node.data {
            Data::Map(_) => self.object(node, place, schema, path, is_status),
            Data::List(list) => {
                if !is_status {
                    self.check_list(list, place, schema, path);
                }
                let Some(of_item) = items(schema) else { return node.json() };
                let item = |(index, item): (usize, &Node)| {
                    self.value(item, item.place, of_item, &format!("{path}[{index}]"), is_status)
                };
                list.iter().enumerate().map(item).collect()
            }
            Data::Text(text) => {
                if !is_status {
                    self.check_text(text, node, schema, path);
                }
                node.json()
            }
            Data::Integer(integer) => {
                if !is_status && self.has_form(&integer.to_string(), node, schema, path) {
                    self.check_range(*integer as f64, node, schema, path);
                }
                node.json()
            }
            Data::Float(_) | Data::Bool(_) | Data::Null => node.json(),
        }
    }

    fn object(&mut self, node: &Node, place: Place, schema: &JSONSchemaProps, path: &str, is_status: bool) -> Value {
        let mut object = Map::new();
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let known = schema.properties.as_ref();
        for entry in node.entries() {
            let field = join(&entry.key);
            let of_field = known.and_then(|known| known.get(&entry.key));
            let of_rest = match &schema.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(rest)) => Some(rest.as_ref()),
                Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
            };
            let is_root_field = path.is_empty() && matches!(entry.key.as_str(), "apiVersion" | "kind" | "metadata");
            match of_field.or(of_rest) {
                _ if is_root_field => {}
                Some(of_field) => {
                    // Nulls mean that the field is not there.
                    if matches!(entry.value.data, Data::Null) && of_field.nullable != Some(true) {
                        continue;
                    }
                    let is_status = is_status || (path.is_empty() && entry.key == "status");
                    let value = self.value(&entry.value, value_place(entry), of_field, &field, is_status);
                    if !(path.is_empty() && entry.key == "status") {
                        object.insert(entry.key.clone(), value);
                    }
                }
                None => {
                    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    self.unknown(entry, &field, path, &names);
                }
            }
        }
        if !is_status {
            for required in schema.required.iter().flatten().filter(|required| !object.contains_key(*required)) {
                let misspelt = self
                    .problems
                    .iter()
                    .any(|problem| problem.meant.as_deref() == Some(required) && parent(&problem.field) == path);
                if !misspelt {
                    let of_field = known.and_then(|known| known.get(required));
                    let message = format!("is missing{}", what_it_is(of_field));
                    self.say(&join(required), place, message);
                }
            }
        }
        Value::Object(object)
    }

    fn unknown(&mut self, entry: &Entry, field: &str, path: &str, names: &[&str]) {
        let key = &entry.key;
        let place_name = if path.is_empty() { "the top level" } else { path };
        // One that is there already was not meant.
        let mut problem = Problem::new(field, entry.place, String::new());
        let elsewhere = path_of(self.schema, key, "", path);
        // `from` of a period and `value` of a measure are fields of their own elsewhere; the close name counts first.
        problem.message = if let Some(name) = words::close(key, names.iter().copied()) {
            problem.meant = Some(name.to_owned());
            format!("there is no field {key}: write {name}")
        } else if let Some(elsewhere) = elsewhere {
            format!("there is no field {key} in {place_name}: it belongs to {elsewhere}")
        } else if names.is_empty() {
            format!("there is no field {key}: {place_name} has no fields, write {place_name}: {{}}")
        } else {
            format!("there is no field {key} in {place_name}, but {}", names.join(", "))
        };
        self.problems.push(problem);
    }

    fn has_type(&mut self, node: &Node, place: Place, schema: &JSONSchemaProps, path: &str) -> bool {
        let is_integer_or_text = schema.x_kubernetes_int_or_string == Some(true);
        let wanted = schema.type_.as_deref().unwrap_or_default();
        let fits = match &node.data {
            Data::Text(_) => is_integer_or_text || matches!(wanted, "string" | ""),
            Data::Integer(_) => is_integer_or_text || matches!(wanted, "integer" | "number" | ""),
            Data::Float(_) => !is_integer_or_text && matches!(wanted, "number" | ""),
            Data::Bool(_) => !is_integer_or_text && matches!(wanted, "boolean" | ""),
            Data::List(_) => !is_integer_or_text && matches!(wanted, "array" | ""),
            Data::Map(_) => !is_integer_or_text && matches!(wanted, "object" | ""),
            Data::Null => schema.nullable == Some(true),
        };
        if !fits {
            let message = if is_integer_or_text {
                not_a_decimal(node, schema)
            } else {
                match wanted {
                    "string" => not_text(node, schema),
                    "integer" | "number" => not_a_number(node),
                    "boolean" => format!("must be true or false without quotes, not {}", node.shown()),
                    "object" => not_a_mapping(node, schema, path),
                    "array" => {
                        format!("must be a list, each item on a line of its own after a hyphen, not {}", node.shown())
                    }
                    _ => format!("{} is of another type than {wanted}", node.shown()),
                }
            };
            self.say(path, place, message);
        }
        fits
    }

    fn has_form(&mut self, text: &str, node: &Node, schema: &JSONSchemaProps, path: &str) -> bool {
        let form = schema.pattern.as_ref().and_then(|pattern| Some((pattern, self.forms.get(pattern)?)));
        let Some((pattern, (_, words))) = form.filter(|(_, (regex, _))| !regex.is_match(text)) else { return true };
        let message = match advice(pattern, node) {
            Some(advice) => format!("write {advice} instead of {}: it {words}", node.shown()),
            None if text.trim().is_empty() => words.clone(),
            None => format!("{} {}", node.shown(), verb(words)),
        };
        self.say(path, node.place, message);
        false
    }

    fn check_text(&mut self, text: &str, node: &Node, schema: &JSONSchemaProps, path: &str) {
        if !self.has_form(text, node, schema, path) {
            return;
        }
        let length = text.chars().count() as i64;
        if let Some(most) = schema.max_length.filter(|most| length > *most) {
            let message = format!("is {length} characters long: shorten it to at most {most}");
            self.say_softly(path, node.place, message);
        }
        if schema.min_length.is_some_and(|least| length < least) {
            self.say_softly(path, node.place, format!("{} is too short{}", node.shown(), what_it_is(Some(schema))));
        }
        if schema.format.as_deref() == Some("date") && !words::is_date(text) {
            let message = match words::date(node) {
                Some(date) => format!("write \"{date}\" instead of {}: dates are written year-month-day", node.shown()),
                None => format!("{} is no day of the calendar as YYYY-MM-DD, such as \"2026-12-31\"", node.shown()),
            };
            self.say(path, node.place, message);
        }
        let is_date_time = schema.format.as_deref() == Some("date-time");
        if is_date_time && text.parse::<jiff::Timestamp>().is_err() {
            self.say(path, node.place, format!("{} is no time such as 2026-12-31T12:00:00Z", node.shown()));
        }
        self.check_enum(node, schema, path);
    }

    fn check_enum(&mut self, node: &Node, schema: &JSONSchemaProps, path: &str) {
        let Some(allowed) = &schema.enum_ else { return };
        if allowed.iter().any(|allowed| allowed.0 == node.json()) {
            return;
        }
        let names: Vec<&str> = allowed.iter().filter_map(|allowed| allowed.0.as_str()).collect();
        let alike = node.text().and_then(|text| words::close(text, names.iter().copied()));
        let message = match alike {
            Some(name) => format!("write {name} instead of {}", node.shown()),
            None => format!("must be one of {}, not {}", names.join(", "), node.shown()),
        };
        self.say(path, node.place, message);
    }

    fn check_range(&mut self, number: f64, node: &Node, schema: &JSONSchemaProps, path: &str) {
        let least = schema.minimum.filter(|least| number < *least);
        let most = schema.maximum.filter(|most| number > *most);
        if least.is_none() && most.is_none() {
            return;
        }
        let message = match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) => format!("must be from {least} to {most}, not {}", node.shown()),
            (Some(least), None) => format!("must be at least {least}, not {}", node.shown()),
            _ => format!("must be at most {}, not {}", most.unwrap_or_default(), node.shown()),
        };
        self.say(path, node.place, message);
    }

    fn check_list(&mut self, list: &[Node], place: Place, schema: &JSONSchemaProps, path: &str) {
        let count = list.len() as i64;
        if let Some(most) = schema.max_items.filter(|most| count > *most) {
            self.say(path, place, format!("has {count} items: at most {most} are allowed"));
        }
        if let Some(least) = schema.min_items.filter(|least| count < *least) {
            self.say(path, place, format!("has {count} items: write at least {least}, or leave the field out"));
        }
        let keys: &[String] = match schema.x_kubernetes_list_type.as_deref() {
            Some("map") => schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default(),
            Some("set") => &[],
            _ => return,
        };
        let mut seen = HashSet::new();
        for (index, item) in list.iter().enumerate() {
            let key: Vec<Option<String>> = if keys.is_empty() {
                vec![Some(item.json().to_string())]
            } else {
                keys.iter().map(|key| item.get(key).map(|value| value.json().to_string())).collect()
            };
            if !seen.insert(key) {
                let what = keys.first().map(|key| format!("another item has the same {key}: "));
                let message = format!("{}remove one of the two", what.unwrap_or("is there twice: ".to_owned()));
                self.say(&format!("{path}[{index}]"), item.place, message);
            }
        }
    }
}

/// The path of what a field is in.
fn parent(field: &str) -> &str {
    field.rfind(['.', '[']).map_or("", |at| &field[..at])
}

/// Where in the spec a field of this name is, first of all near `path`.
fn path_of(schema: &JSONSchemaProps, name: &str, at: &str, path: &str) -> Option<String> {
    if at == "status" || at == "metadata" {
        return None;
    }
    let properties = schema.properties.as_ref()?;
    let join = |child: &str| if at.is_empty() { child.to_owned() } else { format!("{at}.{child}") };
    if properties.contains_key(name) && at != path && !at.is_empty() {
        return Some(at.to_owned());
    }
    properties.iter().find_map(|(child, schema)| path_of(schema, name, &join(child), path))
}

/// The first sentence of a field's description.
fn what_it_is(schema: Option<&JSONSchemaProps>) -> String {
    let description = schema.and_then(|schema| schema.description.as_deref()).unwrap_or_default();
    let end = description.find(". ").unwrap_or(description.len());
    let sentence = description[..end].trim_end_matches('.');
    if sentence.is_empty() {
        return ": write it".to_owned();
    }
    let first_lower: String =
        sentence.chars().take(1).flat_map(char::to_lowercase).chain(sentence.chars().skip(1)).collect();
    // An abbreviation or a name keeps its capitals.
    let keeps = sentence.chars().nth(1).is_some_and(char::is_uppercase) || sentence.starts_with("BigQuery");
    format!(": write {}", if keeps { sentence.to_owned() } else { first_lower })
}

fn not_a_decimal(node: &Node, schema: &JSONSchemaProps) -> String {
    let pattern = schema.pattern.as_deref().unwrap_or_default();
    match &node.data {
        Data::Float(_) if is_decimal(pattern) => match words::decimal(node) {
            Some(text) => {
                format!("write {text}, in quotes: an unquoted decimal would be rounded before anybody reads it")
            }
            None => format!("{} must be an integer or a quoted decimal such as \"99.95\"", node.shown()),
        },
        Data::Bool(_) => format!("{} is read as true or false: write a number", node.shown()),
        Data::Map(_) | Data::List(_) => format!("must be one value such as 5000 or \"99.95\", not {}", node.shown()),
        _ => format!("{} must be an integer or text in quotes, such as 5000 or \"99.95\"", node.shown()),
    }
}

fn not_text(node: &Node, schema: &JSONSchemaProps) -> String {
    let shown = node.shown();
    if schema.format.as_deref() == Some("date") {
        return match words::date(node) {
            Some(date) => format!("write \"{date}\" instead of {shown}: dates are written year-month-day"),
            None => format!("must be a date such as \"2026-12-31\", not {shown}"),
        };
    }
    if schema.pattern.as_deref().is_some_and(is_duration) {
        return match words::duration(node) {
            Some(text) => format!("{shown} has no unit: write {text}"),
            None => format!("must be hours, minutes and seconds such as 1h30m, not {shown}"),
        };
    }
    match (&node.data, &node.typed) {
        (Data::Bool(bool), Some(typed)) if typed != "true" && typed != "false" => {
            format!("YAML reads {typed} as {bool}: write it in quotes, \"{typed}\"")
        }
        (Data::Bool(_) | Data::Integer(_) | Data::Float(_), Some(typed)) => {
            format!("must be text: write it in quotes, \"{typed}\"")
        }
        _ => format!("must be text, not {shown}"),
    }
}

fn not_a_number(node: &Node) -> String {
    let number = words::decimal(node).filter(|number| !number.starts_with('"'));
    match number {
        Some(number) => format!("must be a whole number without quotes: write {number}"),
        None => format!("must be a whole number, not {}", node.shown()),
    }
}

fn not_a_mapping(node: &Node, schema: &JSONSchemaProps, path: &str) -> String {
    let own = path.rsplit(['.', ']']).next().unwrap_or(path);
    let typed = node.text().map(str::to_owned).or(node.typed.clone());
    let fields = schema.properties.as_ref();
    let Some(typed) = typed.filter(|typed| typed.len() <= 80) else {
        return format!("must be a mapping, not {}", node.shown());
    };
    if fields.is_some_and(|fields| fields.contains_key(&typed)) {
        return format!("write {own}: {{{typed}: {{}}}}");
    }
    match schema.required.iter().flatten().next() {
        Some(field) => format!("write {own}: {{{field}: {typed}}}"),
        None if fields.is_none_or(|fields| fields.is_empty()) => format!("write {own}: {{}}"),
        None => format!("must be a mapping, not {}", node.shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The patterns of a schema.
    fn patterns<'a>(schema: &'a JSONSchemaProps, found: &mut Vec<&'a str>) {
        found.extend(schema.pattern.as_deref());
        schema.properties.iter().flatten().for_each(|(_, field)| patterns(field, found));
        found.extend(items(schema).into_iter().flat_map(|items| {
            let mut below = Vec::new();
            patterns(items, &mut below);
            below
        }));
    }

    #[test]
    fn every_form_is_looked_at_and_no_rule_is_lost() {
        let kinds = Kinds::compiled();
        for kind in &kinds.all {
            let mut found = Vec::new();
            patterns(&kind.schema, &mut found);
            assert!(!found.is_empty());
            assert!(found.into_iter().all(|pattern| kinds.forms.contains_key(pattern)));
            assert!(!kind.rules.has_errors(), "{}: {:?}", kind.name(), kind.rules.compilation_errors());
        }
    }
}
