//! The API server's rules for `metadata`: names, labels, annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{is_dns_label, is_label_name};

use super::{
    manifest::without_nulls,
    schema::{Problem, value_place},
    words,
    yaml::{Data, Entry, Node, Place},
};

const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Of all keys and values together: apimachinery's TotalAnnotationSizeLimitB.
const ANNOTATIONS: usize = 256 << 10;

/// What the API server refuses of an object's metadata.
pub fn check(root: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(entry) = root.entry("metadata").filter(|entry| !matches!(entry.value.data, Data::Null)) else {
        let message = "is missing: write metadata: {name: ..., namespace: ...}".to_owned();
        return vec![Problem::new("metadata", root.place, message)];
    };
    let metadata = &entry.value;
    if !matches!(metadata.data, Data::Map(_)) {
        let message = format!("must be a mapping with a name, not {}", metadata.shown());
        return vec![Problem::new("metadata", value_place(entry), message)];
    }
    for field in metadata.entries() {
        check_field(field, entry.place, &mut problems);
    }
    let is_set = |name: &str| {
        metadata.get(name).is_some_and(|node| !matches!(&node.data, Data::Null) && node.text() != Some(""))
    };
    if !is_set("name") && !is_set("generateName") {
        let misspelt = problems.iter().any(|problem| problem.message.ends_with("write name"));
        if !misspelt {
            let message = "is missing: write a name in lower case, such as converted-leads".to_owned();
            problems.push(Problem::new("metadata.name", entry.place, message));
        }
    }
    if problems.is_empty()
        && let Err(error) = serde_json::from_value::<ObjectMeta>(without_nulls(metadata.json()))
    {
        problems.push(Problem::new("metadata", entry.place, format!("has a field of another type: {error}")));
    }
    problems
}

fn check_field(field: &Entry, place: Place, problems: &mut Vec<Problem>) {
    let path = format!("metadata.{}", field.key);
    let mut say = |path: &str, place: Place, message: String| problems.push(Problem::new(path, place, message));
    if !FIELDS.contains(&field.key.as_str()) {
        let message = match words::close(&field.key, FIELDS) {
            Some(name) => format!("there is no field {}: write {name}", field.key),
            None => format!("there is no field {} in metadata: a label or an annotation may be meant", field.key),
        };
        return say(&path, field.place, message);
    }
    let value = &field.value;
    if matches!(value.data, Data::Null) {
        return;
    }
    match field.key.as_str() {
        "name" | "generateName" | "namespace" | "uid" | "resourceVersion" | "selfLink" => {
            let Some(text) = value.text() else {
                let message = match &value.typed {
                    Some(typed) => format!("must be text: write it in quotes, \"{typed}\""),
                    None => format!("must be text, not {}", value.shown()),
                };
                return say(&path, value_place(field), message);
            };
            let wrong = match field.key.as_str() {
                "name" if !text.is_empty() => subdomain(text),
                "generateName" if !text.is_empty() => subdomain(text.trim_end_matches(['-', '.'])),
                "namespace" if !text.is_empty() => label(text),
                _ => None,
            };
            if let Some(message) = wrong {
                say(&path, value.place, message);
            }
        }
        "labels" | "annotations" => {
            if !matches!(value.data, Data::Map(_)) {
                return say(&path, place, format!("must be a mapping of text to text, not {}", value.shown()));
            }
            let is_label = field.key == "labels";
            let mut size = 0;
            for entry in value.entries() {
                let path = format!("{path}.{}", entry.key);
                // Annotations' keys are compared in lower case.
                let key = if is_label { entry.key.clone() } else { entry.key.to_lowercase() };
                if let Some(message) = qualified(&key) {
                    say(&path, entry.place, message);
                }
                match (&entry.value.data, &entry.value.typed) {
                    (Data::Text(text), _) => {
                        size += entry.key.len() + text.len();
                        if let Some(message) = is_label.then(|| label_value(text)).flatten() {
                            say(&path, entry.value.place, message);
                        }
                    }
                    (Data::Null, _) => {}
                    (_, Some(typed)) => {
                        say(&path, entry.value.place, format!("must be text: write it in quotes, \"{typed}\""));
                    }
                    (_, None) => say(&path, value_place(entry), format!("must be text, not {}", entry.value.shown())),
                }
            }
            if !is_label && size > ANNOTATIONS {
                say(&path, field.place, format!("hold {size} bytes: at most {ANNOTATIONS} are allowed in sum"));
            }
        }
        "finalizers" => {
            for (index, item) in value.items().iter().enumerate() {
                let wrong = item.text().map_or(Some("must be text".to_owned()), qualified);
                if let Some(message) = wrong {
                    say(&format!("{path}[{index}]"), item.place, message);
                }
            }
        }
        "ownerReferences" => {
            for (index, item) in value.items().iter().enumerate() {
                for name in ["apiVersion", "kind", "name", "uid"] {
                    if item.get(name).and_then(Node::text).is_none_or(str::is_empty) {
                        say(&format!("{path}[{index}].{name}"), item.place, "is missing: write it".to_owned());
                    }
                }
            }
        }
        _ => {}
    }
}

/// An RFC 1123 label.
fn label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(format!("is {} characters long: shorten it to at most 63", text.len()));
    }
    (!is_dns_label(text))
        .then(|| named(text, "lower-case letters, digits and hyphens, the first and last no hyphen", false))
}

/// An RFC 1123 subdomain.
fn subdomain(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(format!("is {} characters long: shorten it to at most 253", text.len()));
    }
    let words = "lower-case letters, digits, hyphens and dots, the first and last a letter or digit";
    (!text.split('.').all(is_dns_label)).then(|| named(text, words, true))
}

/// With a name that would do.
fn named(text: &str, words: &str, dots: bool) -> String {
    let mapped: String = text
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || (dots && c == '.') { c } else { '-' })
        .collect();
    let parts: Vec<&str> = mapped.split('-').filter(|part| !part.is_empty()).collect();
    let proposal = parts.join("-");
    let fits = if dots { proposal.split('.').all(is_dns_label) } else { is_dns_label(&proposal) };
    if fits {
        format!("write {proposal} instead of {text:?}: {words}")
    } else {
        format!("{text:?} may have only {words}")
    }
}

/// A label's or annotation's key: a name, with or without a domain before it.
fn qualified(key: &str) -> Option<String> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let domain_fits = domain.is_none_or(|domain| subdomain(domain).is_none());
    let fits = domain_fits && is_label_name(name) && name.len() <= 63;
    (!fits).then(|| format!("{key:?} cannot be a key: write letters, digits, hyphens, dots and underscores, at most 63, with or without a domain and / before them"))
}

fn label_value(text: &str) -> Option<String> {
    let fits = text.is_empty() || (text.len() <= 63 && is_label_name(text));
    (!fits).then(|| format!("{text:?} cannot be a label's value: write at most 63 letters, digits, hyphens, dots and underscores, or make it an annotation"))
}
