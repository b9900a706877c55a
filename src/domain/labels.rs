//! Labels on BigQuery jobs, by which a bill can be told apart.

use std::collections::BTreeMap;

use super::hash;

/// BigQuery's bound for a label's value.
const LONGEST: usize = 63;

/// The labels of a key result's jobs.
pub fn of(namespace: &str, name: &str) -> BTreeMap<String, String> {
    [("managed-by", "okr-operator"), ("namespace", namespace), ("name", name)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value_of(value)))
        .collect()
}

/// Characters that BigQuery refuses become `-`; what is too long is cut and ended by 8 characters of a hash.
fn value_of(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let value: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    if value.len() <= LONGEST {
        return value;
    }
    format!("{}-{}", &value[..LONGEST - 9], hash::hex(&[text], 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_what_bigquery_takes() {
        assert_eq!(value_of("sales.leads"), "sales-leads");
        let long = value_of(&"a.b".repeat(84));
        assert_eq!(long.len(), 63);
        assert_ne!(long, value_of(&"a-b".repeat(84)), "the hash tells cut names apart");
    }
}
