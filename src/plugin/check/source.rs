//! Files, folders and standard input, and the documents in them.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::yaml::Place;

/// A manifest is refused above 1.5 MiB by etcd and 3 MiB by the API server; a file may hold many.
const LARGEST: u64 = 64 << 20;

/// A file as it was read, or why it was not.
#[derive(Debug)]
pub struct Source {
    /// As messages name it.
    pub name: String,
    pub content: Result<String, String>,
}

/// A document within a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    pub text: &'a str,
    /// The lines before it.
    pub lines_before: usize,
    /// What stands behind `---` on its line, which kubectl does not read.
    pub behind_separator: Option<(&'a str, Place)>,
}

/// All files that the paths name, as kubectl takes them: `-` is standard input, and of folders those that end in .json,
/// .yaml and .yml.
pub fn gather(paths: &[PathBuf], recursive: bool) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let content = read(io::stdin().lock()).map_err(|error| format!("cannot be read: {error}")).and_then(decode);
            sources.push(Source { name: "stdin".to_owned(), content });
        } else if path.is_dir() {
            folder(path, recursive, &mut sources);
        } else {
            sources.push(file(path));
        }
    }
    sources
}

fn folder(path: &Path, recursive: bool, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => {
            let content = Err(format!("cannot be read: {error}"));
            return sources.push(Source { name: path.display().to_string(), content });
        }
    };
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            // A link may lead back up.
            if recursive && !path.is_symlink() {
                folder(&path, recursive, sources);
            }
        } else if matches!(extension, Some("yaml" | "yml" | "json")) && !is_endless(&path) {
            sources.push(file(&path));
        }
    }
}

/// A pipe or a device, which waits for somebody or never ends: a folder has it for others. By its own name it is read, as
/// of `-f <(helm template ...)`.
fn is_endless(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

fn file(path: &Path) -> Source {
    let content = fs::File::open(path).and_then(read);
    let content = content.map_err(|error| format!("cannot be read: {error}")).and_then(decode);
    Source { name: path.display().to_string(), content }
}

/// No more than tells that it is too much: a device says nothing of its size.
fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is larger than {} MiB: this is no manifest", LARGEST >> 20));
    }
    if matches!(bytes.get(..2), Some([0xff, 0xfe] | [0xfe, 0xff])) {
        return Err("is UTF-16: save it as UTF-8".to_owned());
    }
    if bytes.contains(&0) {
        return Err("is a binary file, not YAML or JSON".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        format!("is not UTF-8 text (line {line}): save it as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The documents of a file. A JSON file may hold several objects, one after the other.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    json_parts(text).unwrap_or_else(|| yaml_parts(text))
}

fn json_parts(text: &str) -> Option<Vec<Part<'_>>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let (mut parts, mut start) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        value.ok()?;
        let part = &text[start..values.byte_offset()];
        // A part begins on the line of its brace, wherever in it that is.
        let skipped = part.len() - part.trim_start().len();
        let begin = text[..start + skipped].rfind('\n').map_or(0, |at| at + 1).max(start);
        let lines_before = text[..begin].matches('\n').count();
        parts.push(Part { text: &text[begin..values.byte_offset()], lines_before, behind_separator: None });
        start = values.byte_offset();
    }
    Some(parts)
}

/// As kubectl's reader: a line that begins with `---` ends a document.
fn yaml_parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut lines_before, mut behind_separator) = (0, 0, None);
    let (mut at, mut line_number) = (0, 0);
    for line in text.split_inclusive('\n') {
        line_number += 1;
        let end = at + line.len();
        if let Some(behind) = line.strip_prefix("---") {
            parts.push(Part { text: &text[start..at], lines_before, behind_separator });
            let behind = behind.trim();
            let place = Place { line: line_number, column: 4 };
            behind_separator = (!behind.is_empty() && !behind.starts_with('#')).then_some((behind, place));
            (start, lines_before) = (end, line_number);
        }
        at = end;
    }
    parts.push(Part { text: &text[start..], lines_before, behind_separator });
    parts
}

/// Whether it is a template of Helm, Jinja or the like, which only becomes YAML once it is rendered. Braces in a value's
/// text are none.
pub fn template_line(text: &str) -> Option<usize> {
    let is_template = |line: &str| {
        let code = line.trim_start();
        !code.starts_with('#')
            && (code.starts_with("{{") || code.starts_with("- {{") || code.contains(": {{") || code.starts_with("{%"))
    };
    text.lines().position(is_template).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, usize)]) {
        let got: Vec<_> = parts(text).into_iter().map(|part| (part.text, part.lines_before)).collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn documents_end_at_three_hyphens() {
        check("a: 1\n---\nb: 2\n", &[("a: 1\n", 0), ("b: 2\n", 2)]);
        check("a: |\n  ---\n--- # next\n\nb: 2", &[("a: |\n  ---\n", 0), ("\nb: 2", 3)]);
        check("", &[("", 0)]);
    }

    #[test]
    fn json_objects_may_follow_one_another() {
        check("{\"a\": 1}\n{\"b\":\n 2}\n", &[("{\"a\": 1}", 0), ("{\"b\":\n 2}", 1)]);
        check("{\"a\": 1}{\"b\": 2}", &[("{\"a\": 1}", 0), ("{\"b\": 2}", 0)]);
    }

    #[test]
    fn templates_are_told_from_text_with_braces() {
        assert_eq!(template_line("a: 1\nname: {{ .Values.name }}\n"), Some(2));
        assert_eq!(template_line("# {{ x }}\nnote: a{{b}}\n"), None);
    }
}
