//! Names as Kubernetes writes them. How long they may be is for the caller to say.

/// Lower-case letters, digits and hyphens, the first and last no hyphen: an RFC 1123 label, such as a namespace's name.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Letters, digits, hyphens, dots and underscores, the first and last a letter or digit: a label's name or value.
pub fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    edge(text.chars().next()) && edge(text.chars().next_back()) && text.chars().all(inner)
}
