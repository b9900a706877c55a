//! Which named parameters a query mentions, and what they are bound to. Nothing is ever pasted into a query.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};

use crate::api::{BigQuerySource, ParameterType, Period};

/// A named parameter with its value, as it is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub name: String,
    pub kind: ParameterType,
    pub value: String,
}

/// The names after `@` outside strings, quoted identifiers and comments, in lower case: BigQuery takes names in either
/// case. `@@` marks a system variable and is left out.
pub fn mentioned(query: &str) -> BTreeSet<String> {
    let code = code(query);
    let mut names = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some((_, after)) = rest.split_once('@') {
        if let Some(after) = after.strip_prefix('@') {
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if end > 0 {
            names.insert(after[..end].to_ascii_lowercase());
        }
        rest = &after[end..];
    }
    names
}

/// The query without what stands in strings, quoted identifiers and comments: `''` and a space stand for them.
///
/// Source: GoogleSQL's lexical structure (quoted and raw strings, triple quotes, three kinds of comment).
pub fn code(query: &str) -> String {
    let mut code = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let (stands, after) = match first {
            '\'' | '"' | '`' => ("''", after_quoted(rest)),
            '#' => (" ", after(rest, "\n")),
            '-' if rest.starts_with("--") => (" ", after(rest, "\n")),
            '/' if rest.starts_with("/*") => (" ", after(&rest[2..], "*/")),
            other => rest.split_at(other.len_utf8()),
        };
        code.push_str(stands);
        rest = after;
    }
    code
}

/// Everything after the next `end`, or nothing.
fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Everything after the string or quoted identifier that `text` begins with.
fn after_quoted(text: &str) -> &str {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let end = if quote != "`" && text.starts_with(&triple) { triple.as_str() } else { quote };
    let mut rest = &text[end.len()..];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        // A backslash keeps the next character from ending the string. In a raw string it stays a character of its
        // own, but still cannot stand right before the closing quote.
        let mut characters = rest.chars();
        if characters.next() == Some('\\') {
            characters.next();
        }
        rest = characters.as_str();
    }
    rest
}

/// What the parameters that `source` mentions are bound to.
pub fn bind(source: &BigQuerySource, period: Option<&Period>, today: Date, now: Timestamp) -> Vec<Bound> {
    let mentioned = mentioned(&source.query);
    let built_in = [
        ("period_start", ParameterType::Date, period.map(|period| period.start_date.to_string())),
        ("period_end", ParameterType::Date, period.map(|period| period.end_date.to_string())),
        ("today", ParameterType::Date, Some(today.to_string())),
        ("now", ParameterType::Timestamp, Some(now.to_string())),
    ];
    let built_in = built_in
        .into_iter()
        .filter_map(|(name, kind, value)| Some(Bound { name: name.to_owned(), kind, value: value? }));
    let own = source.parameters.iter().map(|parameter| Bound {
        name: parameter.name.clone(),
        kind: parameter.kind,
        value: parameter.value.clone(),
    });
    built_in.chain(own).filter(|bound| mentioned.contains(&bound.name.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, want: &[&str]) {
        assert_eq!(mentioned(query).iter().map(String::as_str).collect::<Vec<_>>(), want, "{query}");
    }

    #[test]
    fn parameters_are_found_as_tokens() {
        check("SELECT @today, @Period_Start+@n1", &["n1", "period_start", "today"]);
        check("SELECT x@y", &["y"]);
        check("SELECT @é, @", &[]);
    }

    #[test]
    fn strings_hide_parameters() {
        check("SELECT '@a', \"@b\", `@c`, @d", &["d"]);
        check(r"SELECT 'it\'s @a', @b", &["b"]);
        check("SELECT '''it's @a''', @b", &["b"]);
        check(r#"SELECT """say "@a" """, @b"#, &["b"]);
        check(r"SELECT r'\'@a', @b", &["b"]);
        check("SELECT '', @b", &["b"]);
        check("SELECT 'unclosed @a", &[]);
    }

    #[test]
    fn comments_hide_parameters() {
        check("SELECT 1 -- @a\n+ @b", &["b"]);
        check("SELECT 1 # @a\n+ @b", &["b"]);
        check("SELECT 1 /* @a * / '@x */ + @b", &["b"]);
        check("SELECT 1 /*/ @a */ + @b", &["b"]);
        check("SELECT 10 - @a / @b", &["a", "b"]);
    }

    #[test]
    fn system_variables_are_not_parameters() {
        check("SELECT @@time_zone, @b", &["b"]);
    }
}
