//! Markdown as GitHub shows it.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

/// The text of a page without its blocks of code.
pub fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchor that GitHub gives a heading: lower case, hyphens for spaces, no other punctuation.
pub fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    heading.to_lowercase().replace(|c: char| !kept(c), "").replace(' ', "-")
}
